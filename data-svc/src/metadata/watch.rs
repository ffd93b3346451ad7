//! `RegistryService`: the metadata in force, for replicas of it.

use std::{sync::Arc, time::Duration};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use mesh::{Ctx, Error, identity::Purpose};
use proto::data::v1::{
    RegistryItem, WatchRegistryRequest, WatchRegistryResponse,
    registry_service_server::RegistryService,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tonic::{Request, Response, Status};

use super::catalog::Catalog;

/// How often a follower that has everything is told so.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How long a stream lives.
const LIFE: Duration = Duration::from_secs(30 * 60);
/// Bytes of items in one message, about.
const PART: usize = 1024 * 1024;

/// Serves the registry to the services that follow it.
pub struct Registries {
    /// What is told.
    pub catalog: Arc<Catalog>,
    /// Ends the streams when the node drains.
    pub tasks: mesh::tasks::Tasks,
}

#[tonic::async_trait]
impl RegistryService for Registries {
    type WatchRegistryStream = BoxStream<'static, Result<WatchRegistryResponse, Status>>;

    async fn watch_registry(
        &self,
        request: Request<WatchRegistryRequest>,
    ) -> Result<Response<Self::WatchRegistryStream>, Status> {
        if !Ctx::of(&request)?
            .identity()?
            .is_service_for(Purpose::FollowMetadata)
        {
            return Err(Error::denied("Only services that follow the metadata may").into());
        }
        let known = request.into_inner().known_revision;
        let (sender, receiver) = mpsc::channel(4);
        let (catalog, drain) = (Arc::clone(&self.catalog), self.tasks.drain_token());
        self.tasks.spawn(async move {
            let told = drain.run_until_cancelled(tell(&catalog, known, &sender));
            // Who follows opens another stream, at whichever replica there is.
            let _over = tokio::time::timeout(LIFE, told).await;
        });
        let messages = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| {
            Some((receiver.recv().await?, receiver))
        });
        Ok(Response::new(messages.boxed()))
    }
}

/// Tells every revision that is not known yet, until nobody listens.
async fn tell(
    catalog: &Catalog,
    mut known: Option<u64>,
    to: &mpsc::Sender<Result<WatchRegistryResponse, Status>>,
) {
    let served = catalog.served();
    loop {
        let registry = catalog.current();
        let revision = registry.revision;
        let parts = if known == Some(revision) {
            vec![WatchRegistryResponse {
                revision,
                items: Vec::new(),
                complete: true,
            }]
        } else {
            known = Some(revision);
            parts(revision, registry.all_items())
        };
        for part in parts {
            if to.send(Ok(part)).await.is_err() {
                return;
            }
        }
        let until = Instant::now() + SIGN_OF_LIFE;
        // A newer revision, or time for a sign of life: told either way.
        let _newer = timeout_at(until, served.newer_than(revision)).await;
    }
}

fn parts<'r>(
    revision: u64,
    items: impl Iterator<Item = (&'r str, &'r crate::kernel::model::registry::Item)>,
) -> Vec<WatchRegistryResponse> {
    let mut parts = Vec::new();
    let mut part = WatchRegistryResponse {
        revision,
        items: Vec::new(),
        complete: false,
    };
    let mut size = 0;
    for (item_type, item) in items {
        let json = item.value.to_string();
        if size > 0 && size + json.len() > PART {
            parts.push(std::mem::replace(
                &mut part,
                WatchRegistryResponse {
                    revision,
                    items: Vec::new(),
                    complete: false,
                },
            ));
            size = 0;
        }
        size += json.len();
        part.items.push(RegistryItem {
            r#type: item_type.to_owned(),
            name: item.name.clone(),
            package_id: item.package_id.clone(),
            json: json.into(),
            hash: item.hash.clone(),
        });
    }
    part.complete = true;
    parts.push(part);
    parts
}
