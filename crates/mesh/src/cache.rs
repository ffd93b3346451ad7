//! A cache of bounded size, shared by threads.
//!
//! It is moka's, under one type of keys and one of values: each other pair would compile all of moka
//! anew, in every crate that has one.

use std::{any::Any, fmt, marker::PhantomData, sync::Arc, time::Duration};

use moka::sync::{Cache as Moka, CacheBuilder};

type Entry = Arc<dyn Any + Send + Sync>;

/// Values by key. A key is bytes: what is made of several parts puts them together so that no two
/// meet. Clones share the entries.
pub struct Cache<V> {
    entries: Entries,
    values: PhantomData<fn() -> V>,
}

/// How long entries stay, at most.
#[derive(Clone, Copy, Debug)]
pub enum Stay {
    /// Until others need the place.
    Long,
    /// So long since they were put in.
    Lived(Duration),
    /// So long since they were last asked for.
    Idle(Duration),
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// A cache of so many entries.
    #[must_use]
    pub fn new(entries_max: u64, stay: Stay) -> Self {
        Self::over(Moka::builder().max_capacity(entries_max), stay)
    }

    /// A cache of entries whose weights are so much together.
    #[must_use]
    pub fn weighed(weight_max: u64, weight: fn(&V) -> u32, stay: Stay) -> Self {
        let weigh = move |_: &Arc<[u8]>, entry: &Entry| entry.downcast_ref().map_or(0, weight);
        let builder = Moka::builder().max_capacity(weight_max);
        Self::over(builder.weigher(weigh), stay)
    }

    fn over(builder: Builder, stay: Stay) -> Self {
        Self {
            entries: build(builder, stay),
            values: PhantomData,
        }
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Arc<V>> {
        get(&self.entries, key.as_ref()).and_then(typed)
    }

    /// The value of a key; worked out now if it is not there, once for all who ask at the same time.
    pub fn get_or_insert(&self, key: impl AsRef<[u8]>, value: impl FnOnce() -> Arc<V>) -> Arc<V> {
        let key = key.as_ref();
        if let Some(known) = self.get(key) {
            return known;
        }
        let mut value = Some(value);
        let mut init = || value.take().map(|value| -> Entry { value() });
        let entry = get_or_insert(&self.entries, key, &mut init);
        match entry.and_then(typed) {
            Some(value) => value,
            None => unreachable!("it was put in, and its type is that of the cache"),
        }
    }

    /// Whether the key is there.
    pub fn contains(&self, key: impl AsRef<[u8]>) -> bool {
        contains(&self.entries, key.as_ref())
    }

    /// Puts a value in, in the place of the one before.
    pub fn insert(&self, key: impl AsRef<[u8]>, value: Arc<V>) {
        insert(&self.entries, key.as_ref(), value);
    }

    /// Takes a value out.
    pub fn remove(&self, key: impl AsRef<[u8]>) {
        remove(&self.entries, key.as_ref());
    }

    /// Takes all values out.
    pub fn clear(&self) {
        clear(&self.entries);
    }
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            values: PhantomData,
        }
    }
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

fn typed<V: Send + Sync + 'static>(entry: Entry) -> Option<Arc<V>> {
    entry.downcast().ok()
}

type Entries = Moka<Arc<[u8]>, Entry>;
type Builder = CacheBuilder<Arc<[u8]>, Entry, Entries>;

// What follows has no types of its caller, and is not to be compiled with theirs.

#[inline(never)]
fn build(builder: Builder, stay: Stay) -> Entries {
    match stay {
        Stay::Long => builder.build(),
        Stay::Lived(time) => builder.time_to_live(time).build(),
        Stay::Idle(time) => builder.time_to_idle(time).build(),
    }
}

#[inline(never)]
fn get(entries: &Entries, key: &[u8]) -> Option<Entry> {
    entries.get(key)
}

#[inline(never)]
fn get_or_insert(
    entries: &Entries,
    key: &[u8],
    init: &mut dyn FnMut() -> Option<Entry>,
) -> Option<Entry> {
    entries.optionally_get_with(key.into(), init)
}

#[inline(never)]
fn contains(entries: &Entries, key: &[u8]) -> bool {
    entries.contains_key(key)
}

#[inline(never)]
fn insert(entries: &Entries, key: &[u8], entry: Entry) {
    entries.insert(key.into(), entry);
}

#[inline(never)]
fn remove(entries: &Entries, key: &[u8]) {
    entries.invalidate(key);
}

#[inline(never)]
fn clear(entries: &Entries) {
    entries.invalidate_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_worked_out_once_and_forgotten_when_told() {
        let cache = Cache::<String>::new(10, Stay::Long);
        let made = |text: &str| Arc::new(text.to_owned());
        assert_eq!(*cache.get_or_insert("key", || made("first")), "first");
        assert_eq!(*cache.get_or_insert("key", || made("second")), "first");
        cache.insert("key", made("third"));
        assert_eq!(
            cache.get("key").as_deref().map(String::as_str),
            Some("third")
        );
        assert!(cache.contains("key") && cache.get("other").is_none());
        cache.remove("key");
        assert!(!cache.contains("key"));
        cache.insert("key", made("fourth"));
        cache.clear();
        assert!(cache.get("key").is_none());
    }

    #[test]
    fn weights_bound_what_is_kept() {
        let cache = Cache::<u32>::weighed(100, |weight| *weight, Stay::Long);
        for key in 0..50_u8 {
            cache.insert([key], Arc::new(10));
        }
        cache.entries.run_pending_tasks();
        assert!(cache.entries.weighted_size() <= 100);
    }
}
