//! A replica of the metadata in force, for the services that do not keep it themselves: data-svc
//! streams a snapshot, then one for each revision (ARCHITECTURE.md).
//!
//! Invariant: a snapshot is taken whole or not at all, and what was compiled of the last one stays
//! in force while the stream is cut.
//! Invariant: an item whose type, name and hash stand is the same item in the next snapshot, so that
//! a revision costs what it changes.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use mesh::{
    Error, Link, Result, identity::Purpose, node::MESSAGE_MAX, revision::Served,
    service_identity::ServiceIdentity, tasks::Tasks,
};
use metadata::{Item, ItemType};
use proto::data::v1::{
    RegistryItem, WatchRegistryRequest, registry_service_client::RegistryServiceClient,
};
use tokio::time::{sleep, timeout};

/// Longest wait for the stream to open.
const OPENING_MAX: Duration = Duration::from_secs(5);
/// data-svc says something at least every five seconds; silence for so long means it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Pauses between two attempts: from, to.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// All metadata of one revision. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Its number.
    pub revision: u64,
    by_type: Arc<HashMap<ItemType, Items>>,
}

#[derive(Debug, Default)]
struct Items {
    /// In the order of the registry: by name.
    list: Vec<Arc<Item>>,
    /// The first of each name.
    by_name: HashMap<String, usize>,
}

impl Snapshot {
    /// A snapshot of those items.
    pub fn new(revision: u64, items: impl IntoIterator<Item = Arc<Item>>) -> Self {
        let mut by_type: HashMap<ItemType, Items> = HashMap::new();
        for item in items {
            let same = by_type.entry(item.item_type).or_default();
            let index = same.list.len();
            same.by_name.entry(item.name.clone()).or_insert(index);
            same.list.push(item);
        }
        Self {
            revision,
            by_type: Arc::new(by_type),
        }
    }

    /// Items of a type, by name. Actions of different objects may have the same one.
    #[must_use]
    pub fn items(&self, item_type: ItemType) -> &[Arc<Item>] {
        let items = self.by_type.get(&item_type);
        items.map_or(&[], |items| items.list.as_slice())
    }

    /// The first item of that type and name.
    #[must_use]
    pub fn item(&self, item_type: ItemType, name: &str) -> Option<&Arc<Item>> {
        let items = self.by_type.get(&item_type)?;
        items.list.get(*items.by_name.get(name)?)
    }

    /// The item of that type and name with the same content.
    fn same(&self, item_type: ItemType, name: &str, hash: &str) -> Option<&Arc<Item>> {
        let items = self.by_type.get(&item_type)?;
        let first = *items.by_name.get(name)?;
        let named = items.list.iter().skip(first);
        let mut named = named.take_while(|item| item.name == name);
        named.find(|item| item.is(item_type, name, hash))
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
    /// Follows the metadata of `data` until the node stops. Each snapshot is handed to `compile`
    /// with what it made of the one before, and what that gives is in force from then on.
    pub fn follow(
        tasks: &Tasks,
        data: Link,
        own: ServiceIdentity,
        compile: impl Fn(Snapshot, Option<&T>) -> T + Send + Sync + 'static,
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
    compile: impl Fn(Snapshot, Option<&T>) -> T,
) {
    let mut failures = 0;
    let mut pause = PAUSE.0;
    let mut known = None;
    loop {
        let before = revision(known.as_ref());
        let ended = watch(&inner, &data, &own, &compile, &mut known).await;
        if inner.strong_count() == 0 {
            return;
        }
        match ended {
            Ok(()) => (failures, pause) = (0, PAUSE.0),
            Err(error) => {
                if revision(known.as_ref()) != before {
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
    compile: &impl Fn(Snapshot, Option<&T>) -> T,
    known: &mut Option<Snapshot>,
) -> Result<()> {
    let message = WatchRegistryRequest {
        known_revision: revision(known.as_ref()),
    };
    let request = own.stream_request(Purpose::FollowMetadata, message);
    let request = request.await?;
    let mut client =
        RegistryServiceClient::new(data.clone()).max_decoding_message_size(MESSAGE_MAX);
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
        if !part.complete || revision(known.as_ref()) == Some(part.revision) {
            continue;
        }
        let Some(inner) = inner.upgrade() else {
            return Ok(());
        };
        let snapshot = read(part.revision, std::mem::take(&mut taken), known.as_ref())?;
        let last = inner.current.load_full();
        let compiled = compile(snapshot.clone(), last.as_deref());
        inner.current.store(Some(Arc::new(compiled)));
        inner.served.publish(part.revision);
        *known = Some(snapshot);
    }
}

fn revision(snapshot: Option<&Snapshot>) -> Option<u64> {
    snapshot.map(|snapshot| snapshot.revision)
}

/// The snapshot of those items; what did not change is taken from the one before.
fn read(revision: u64, items: Vec<RegistryItem>, last: Option<&Snapshot>) -> Result<Snapshot> {
    let mut taken = Vec::with_capacity(items.len());
    for item in items {
        let Some(item_type) = ItemType::from_str_loose(&item.r#type) else {
            // A newer data-svc knows more of them; nothing here asks for those.
            tracing::debug!(item.r#type, item.name, "a type of metadata is unknown");
            continue;
        };
        let same = last.and_then(|last| last.same(item_type, &item.name, &item.hash));
        if let Some(same) = same {
            taken.push(Arc::clone(same));
            continue;
        }
        let value = serde_json::from_slice(&item.json).map_err(Error::internal)?;
        taken.push(Arc::new(Item::parsed(
            item_type, item.name, value, item.hash,
        )));
    }
    Ok(Snapshot::new(revision, taken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sent(item_type: &str, name: &str, value: &Value) -> RegistryItem {
        RegistryItem {
            r#type: item_type.to_owned(),
            name: name.to_owned(),
            package_id: "test".to_owned(),
            json: value.to_string().into(),
            hash: metadata::canonical::hash(value),
        }
    }

    #[test]
    fn what_stands_is_the_same_item_and_what_changed_is_not() {
        let close = |object: &str| sent("action", "close", &json!({"objectName": object}));
        let ticket = |label: &str| sent("object", "ticket", &json!({"label": label}));
        let first = vec![
            close("ticket"),
            close("lead"),
            ticket("A"),
            sent("hologram", "x", &json!({})),
        ];
        let first = read(1, first, None).unwrap();
        let second = vec![close("lead"), close("account"), ticket("B")];
        let second = read(2, second, Some(&first)).unwrap();
        assert_eq!(second.revision, 2);
        let [old, new] = [&first, &second].map(|snapshot| snapshot.items(ItemType::Action));
        assert_eq!((old.len(), new.len()), (2, 2));
        assert!(Arc::ptr_eq(&old[1], &new[0]));
        assert_eq!(new[1].object.as_deref(), Some("account"));
        let label = |snapshot: &Snapshot| {
            let item = snapshot.item(ItemType::Object, "ticket").unwrap();
            item.value["label"].clone()
        };
        assert_eq!((label(&first), label(&second)), (json!("A"), json!("B")));
        assert!(second.item(ItemType::Flow, "close").is_none());
    }
}
