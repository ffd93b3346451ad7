//! `RevocationService`.

use std::sync::Arc;

use futures::{StreamExt as _, stream::BoxStream};
use mesh::{Ctx, Error, identity::Purpose};
use proto::auth::v1::{
    Revocation, WatchRevocationsRequest, WatchRevocationsResponse,
    revocation_service_server::RevocationService,
};
use tonic::{Request, Response, Status};

use crate::{
    app::{self, App, Watcher},
    domain::revocation::kind,
    store::FeedPage,
};

/// Serves `RevocationService`.
pub(crate) struct Revocations(pub Arc<App>);

#[tonic::async_trait]
impl RevocationService for Revocations {
    type WatchRevocationsStream = BoxStream<'static, Result<WatchRevocationsResponse, Status>>;

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let ctx = Ctx::of(&request)?;
        if !ctx.identity()?.is_service_for(Purpose::FollowRevocations) {
            return Err(
                Error::denied("Only services that follow revocations may watch them").into(),
            );
        }
        let watcher =
            app::feed::watch_revocations(&self.0, request.get_ref().after_position.max(0));
        let messages = futures::stream::unfold(watcher, next);
        Ok(Response::new(messages.boxed()))
    }
}

async fn next(mut watcher: Watcher) -> Option<(Result<WatchRevocationsResponse, Status>, Watcher)> {
    let page = watcher.next().await?;
    Some((page.map(message).map_err(Status::from), watcher))
}

fn message(page: FeedPage) -> WatchRevocationsResponse {
    let rows = page.rows.into_iter().map(|row| Revocation {
        position: row.position,
        kind: kind(&row.kind).into(),
        subject: row.subject,
    });
    WatchRevocationsResponse {
        revocations: rows.collect(),
        position: page.position,
    }
}
