//! What the fake data-svc streams: its metadata, a snapshot for each revision, and the changes of its records.

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use mesh::{Ctx, Error, error::Reason, identity::Purpose};
use proto::data::v1::{
    self as pb, change_service_server::ChangeService, registry_service_server::RegistryService,
};
use tonic::{Request, Response, Status};

use crate::fake_data::{FakeData, State, head};

#[tonic::async_trait]
impl RegistryService for FakeData {
    type WatchRegistryStream = BoxStream<'static, Result<pb::WatchRegistryResponse, Status>>;

    async fn watch_registry(
        &self,
        request: Request<pb::WatchRegistryRequest>,
    ) -> Result<Response<Self::WatchRegistryStream>, Status> {
        let identity = Ctx::of(&request)?.identity()?.clone();
        assert!(identity.is_service_for(Purpose::FollowMetadata));
        let (data, happened) = (self.clone(), self.happened.subscribe());
        let told = stream::unfold((data, happened, 0), async |(data, mut happened, told)| {
            loop {
                let snapshot = snapshot(&data.state(), told);
                if let Some(snapshot) = snapshot {
                    let revision = snapshot.revision;
                    return Some((Ok(snapshot), (data, happened, revision)));
                }
                happened.changed().await.ok()?;
            }
        });
        Ok(Response::new(told.boxed()))
    }
}

/// All metadata, unless that revision is the last one.
fn snapshot(state: &State, told: u64) -> Option<pb::WatchRegistryResponse> {
    (state.revision > told).then(|| {
        let items = state.items.iter().map(|item| pb::RegistryItem {
            r#type: item.item_type.as_str().to_owned(),
            name: item.name.clone(),
            package_id: "test".to_owned(),
            json: item.value.to_string().into(),
            hash: item.hash.clone(),
        });
        pb::WatchRegistryResponse {
            revision: state.revision,
            items: items.collect(),
            complete: true,
        }
    })
}

#[tonic::async_trait]
impl ChangeService for FakeData {
    type WatchChangesStream = BoxStream<'static, Result<pb::WatchChangesResponse, Status>>;

    async fn watch_changes(
        &self,
        request: Request<pb::WatchChangesRequest>,
    ) -> Result<Response<Self::WatchChangesStream>, Status> {
        let identity = Ctx::of(&request)?.identity()?.clone();
        assert!(identity.is_service_for(Purpose::FollowChanges));
        let asked = request.into_inner();
        let after = {
            let mut state = self.state();
            state.followed.push(asked.clone());
            let head = head(&state);
            if !asked.from_now && asked.after_position < state.forgotten {
                let gone = Error::new(Reason::PositionGone, "The position is gone");
                return Err(gone.with("position", head).into());
            }
            if asked.from_now {
                head
            } else {
                asked.after_position
            }
        };
        self.tell();
        let at = (self.clone(), self.happened.subscribe(), after, true);
        let told = stream::unfold(at, async |(data, mut happened, after, is_first)| {
            loop {
                let (changes, forgotten) = {
                    let state = data.state();
                    let changes = state.changes.iter();
                    let changes = changes.filter(|change| change.position > after);
                    (changes.cloned().collect::<Vec<_>>(), state.forgotten)
                };
                if after < forgotten {
                    // A real one ends the stream, and says at the next opening that it is gone.
                    return None;
                }
                let position = changes.last().map_or(after, |change| change.position);
                if is_first || !changes.is_empty() {
                    let told = pb::WatchChangesResponse { changes, position };
                    return Some((Ok(told), (data, happened, position, false)));
                }
                happened.changed().await.ok()?;
            }
        });
        Ok(Response::new(told.boxed()))
    }
}
