//! A replica of the metadata in force, for the services that do not keep it themselves: data-svc
//! streams a snapshot, then one for each revision (architecture.md §6).
//!
//! Invariant: a snapshot is taken whole or not at all, and what was compiled of the last one stays
//! in force while the stream is cut.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use proto::data::v1::{
    RegistryItem, WatchRegistryRequest, registry_service_client::RegistryServiceClient,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::{
    Error, Link, Result, identity::Purpose, revision::Served, service_identity::ServiceIdentity,
    tasks::Tasks,
};

/// Longest wait for the stream to open.
const OPENING_MAX: Duration = Duration::from_secs(5);
/// data-svc says something at least every five seconds; silence for so long means it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Pauses between two attempts: from, to.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Largest part of a snapshot that is taken.
const PART_MAX: usize = crate::node::MESSAGE_MAX;

/// A metadata item as it was declared.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// The package it came with.
    pub package_id: String,
    /// The item.
    pub value: Value,
    /// `sha256:…` of its canonical JSON.
    pub hash: String,
}

/// All metadata of one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Its number.
    pub revision: u64,
    /// By type, singular.
    items: HashMap<String, Vec<Item>>,
}

impl Snapshot {
    /// A snapshot of those items: type and item.
    pub fn new(revision: u64, items: impl IntoIterator<Item = (String, Item)>) -> Self {
        let mut snapshot = Self {
            revision,
            items: HashMap::new(),
        };
        for (item_type, item) in items {
            snapshot.items.entry(item_type).or_default().push(item);
        }
        snapshot
    }

    /// Items of a type (`action`, `flow`, `agent`), by name.
    #[must_use]
    pub fn items(&self, item_type: &str) -> &[Item] {
        self.items.get(item_type).map_or(&[], Vec::as_slice)
    }

    /// The item of that type and name.
    #[must_use]
    pub fn item(&self, item_type: &str, name: &str) -> Option<&Item> {
        self.items(item_type).iter().find(|item| item.name == name)
    }
}

/// What a service made of the metadata, kept up to date. Cheap to clone.
pub struct Replica<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    current: ArcSwapOption<T>,
    served: Arc<Served>,
}

impl<T> Clone for Replica<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T: Send + Sync + 'static> Replica<T> {
    /// Follows the metadata of `data` until the node stops; each snapshot is handed to `compile`,
    /// and what that gives is in force from then on.
    pub fn follow(
        tasks: &Tasks,
        data: Link,
        own: ServiceIdentity,
        compile: impl Fn(Snapshot) -> T + Send + Sync + 'static,
    ) -> Self {
        let replica = Self {
            inner: Arc::new(Inner {
                current: ArcSwapOption::empty(),
                served: Arc::default(),
            }),
        };
        let (inner, stop) = (Arc::downgrade(&replica.inner), tasks.stop_token());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keep_up(inner, data, own, compile) => {}
            }
        });
        replica
    }

    /// What is in force.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE until the first snapshot came.
    pub fn current(&self) -> Result<Arc<T>> {
        let current = self.inner.current.load_full();
        current.ok_or_else(|| Error::unavailable("The metadata"))
    }

    /// Whether anything is in force, for readiness.
    pub fn is_there(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let inner = Arc::clone(&self.inner);
        move || inner.current.load().is_some()
    }

    /// The number of the revision in force, for the guard.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.inner.served)
    }
}

async fn keep_up<T>(
    inner: Weak<Inner<T>>,
    data: Link,
    own: ServiceIdentity,
    compile: impl Fn(Snapshot) -> T,
) {
    let mut failures = 0;
    let mut pause = PAUSE.0;
    let mut known = None;
    loop {
        let before = known;
        let ended = watch(&inner, &data, &own, &compile, &mut known).await;
        if inner.strong_count() == 0 {
            return;
        }
        match ended {
            Ok(()) => (failures, pause) = (0, PAUSE.0),
            Err(error) => {
                if known != before {
                    (failures, pause) = (0, PAUSE.0);
                }
                failures += 1;
                // At the start the peers come up in any order.
                if failures == 8 {
                    tracing::warn!(%error, "the metadata cannot be followed; trying on");
                }
                pause = (pause * 2).min(PAUSE.1);
            }
        }
        sleep(pause).await;
    }
}

/// Follows until the stream ends.
async fn watch<T>(
    inner: &Weak<Inner<T>>,
    data: &Link,
    own: &ServiceIdentity,
    compile: &impl Fn(Snapshot) -> T,
    known: &mut Option<u64>,
) -> Result<()> {
    let message = WatchRegistryRequest {
        known_revision: *known,
    };
    let request = own.stream_request(Purpose::FollowMetadata, message);
    let request = request.await?;
    let mut client = RegistryServiceClient::new(data.clone()).max_decoding_message_size(PART_MAX);
    let silent = |_| Error::unavailable("The service that keeps the metadata");
    let opened = timeout(OPENING_MAX, client.watch_registry(request)).await;
    let opened = opened.map_err(silent)?;
    let mut parts = opened
        .map_err(|status| Error::from_status(&status))?
        .into_inner();
    let mut taken: Vec<RegistryItem> = Vec::new();
    loop {
        let part = timeout(SILENCE_MAX, parts.message())
            .await
            .map_err(silent)?;
        let Some(part) = part.map_err(|status| Error::from_status(&status))? else {
            return Ok(());
        };
        taken.extend(part.items);
        if !part.complete || *known == Some(part.revision) {
            continue;
        }
        let Some(inner) = inner.upgrade() else {
            return Ok(());
        };
        let snapshot = read(part.revision, std::mem::take(&mut taken))?;
        inner.current.store(Some(Arc::new(compile(snapshot))));
        inner.served.publish(part.revision);
        *known = Some(part.revision);
    }
}

fn read(revision: u64, items: Vec<RegistryItem>) -> Result<Snapshot> {
    let items = items.into_iter().map(|item| {
        let value = parse(&item.json)?;
        let read = Item {
            name: item.name,
            package_id: item.package_id,
            value,
            hash: item.hash,
        };
        Ok((item.r#type, read))
    });
    Ok(Snapshot::new(revision, items.collect::<Result<Vec<_>>>()?))
}

fn parse(json: &Bytes) -> Result<Value> {
    serde_json::from_slice(json).map_err(Error::internal)
}
