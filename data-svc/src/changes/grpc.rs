//! `ChangeService`: what has changed, for those who follow.

use std::sync::Arc;

use futures::{StreamExt as _, stream::BoxStream};
use mesh::Ctx;
use proto::data::v1::{
    Change, WatchChangesRequest, WatchChangesResponse, change_service_server::ChangeService,
};
use tonic::{Request, Response, Status};

use super::{Batch, Changes, Follower, store::Entry};

/// Serves changes to the services that follow them.
pub struct ChangesApi {
    /// The changes of this database.
    pub changes: Arc<Changes>,
}

#[tonic::async_trait]
impl ChangeService for ChangesApi {
    type WatchChangesStream = BoxStream<'static, Result<WatchChangesResponse, Status>>;

    async fn watch_changes(
        &self,
        request: Request<WatchChangesRequest>,
    ) -> Result<Response<Self::WatchChangesStream>, Status> {
        Ctx::of(&request)?.identity()?;
        let request = request.into_inner();
        let (after, from_now) = (request.after_position, request.from_now);
        let follow = self.changes.follow(after, from_now, request.objects);
        let follower = follow.await?;
        let messages = futures::stream::unfold(follower, next);
        Ok(Response::new(messages.boxed()))
    }
}

async fn next(mut follower: Follower) -> Option<(Result<WatchChangesResponse, Status>, Follower)> {
    let batch = follower.next().await?;
    Some((batch.map(message).map_err(Status::from), follower))
}

fn message(batch: Batch) -> WatchChangesResponse {
    WatchChangesResponse {
        changes: batch.entries.into_iter().map(change).collect(),
        position: batch.position,
    }
}

fn change(entry: Entry) -> Change {
    // The platform's own writes name a reason where others name a user.
    let is_platform = entry.user_id.starts_with("system:");
    Change {
        position: entry.position,
        object: entry.object,
        record_id: entry.record_id,
        operation: entry.operation,
        record_version: entry.record_version,
        before: entry.before.unwrap_or_default().into(),
        after: entry.after.unwrap_or_default().into(),
        user_id: if is_platform {
            String::new()
        } else {
            entry.user_id
        },
        request_id: entry.request_id,
        at_ms: i64::try_from(entry.at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX),
    }
}
