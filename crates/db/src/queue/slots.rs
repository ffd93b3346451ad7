//! The jobs that this process works on, of one kind.
//!
//! Invariant: a job is in a slot from before it is claimed until its task has ended, also when that panicked.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};

use super::Job;

/// The slots of this process for one kind of jobs. Clones are the same.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    /// By the key of the job. Touched for a moment only, never while anything is awaited.
    taken: Mutex<HashMap<String, Taken>>,
    /// A slot is free again.
    freed: Notify,
}

#[derive(Debug)]
struct Taken {
    /// None until it is claimed.
    job: Option<Job>,
    abort: Arc<Notify>,
    /// Closed at its end.
    ending: watch::Receiver<()>,
}

/// One slot. Dropped with the task that works on its job, it is free again.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    key: String,
    abort: Arc<Notify>,
    /// Dropped last, when the slot is free.
    _ended: watch::Sender<()>,
}

impl Slots {
    /// So many, all of them free.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Inner {
            max: max.max(1),
            taken: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, Taken>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.max.saturating_sub(self.taken().len())
    }

    /// Takes a slot for the job of that key; `None` when none is free, or the job has one.
    #[must_use]
    pub fn take(&self, key: &str) -> Option<Slot> {
        let mut taken = self.taken();
        if taken.len() >= self.0.max || taken.contains_key(key) {
            return None;
        }
        let (ended, ending) = watch::channel(());
        let abort = Arc::new(Notify::new());
        let new = Taken {
            job: None,
            abort: Arc::clone(&abort),
            ending,
        };
        taken.insert(key.to_owned(), new);
        Some(Slot {
            slots: self.clone(),
            key: key.to_owned(),
            abort,
            _ended: ended,
        })
    }

    /// The jobs in slots.
    pub(super) fn jobs(&self) -> Vec<Job> {
        let taken = self.taken();
        taken
            .values()
            .filter_map(|taken| taken.job.clone())
            .collect()
    }

    /// Stops the work on a job, where it is worked on here.
    pub fn abort(&self, key: &str) {
        if let Some(taken) = self.taken().get(key) {
            // Kept for the task if it is just beginning.
            taken.abort.notify_one();
        }
    }

    /// Resolves when a job is worked on here no more; `None` when it is not worked on here.
    pub fn ending(&self, key: &str) -> Option<impl Future<Output = ()> + use<>> {
        let mut ending = self.taken().get(key)?.ending.clone();
        Some(async move {
            // Nothing is ever sent: the end is that the sender is gone.
            let _closed = ending.changed().await;
        })
    }

    /// Resolves when a slot has become free since the last time.
    pub(super) async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

impl Slot {
    /// The claim that is kept while the slot is held.
    pub(super) fn keep(&self, job: &Job) {
        if let Some(taken) = self.slots.taken().get_mut(&self.key) {
            taken.job = Some(job.clone());
        }
    }

    /// Resolves when the job is not to be worked on here any more.
    pub(super) async fn aborted(&self) {
        self.abort.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken().remove(&self.key);
        self.slots.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_slot_is_free_again_when_its_task_is_gone() {
        let slots = Slots::new(2);
        let slot = slots.take("a").unwrap();
        assert!(slots.take("a").is_none(), "one job has one slot");
        let ending = slots.ending("a").unwrap();
        let other = slots.take("b").unwrap();
        assert!(slots.free() == 0 && slots.take("c").is_none());
        drop(slot);
        assert_eq!((slots.free(), slots.ending("a").is_none()), (1, true));
        assert_eq!(ending.now_or_never(), Some(()));
        drop(other);
    }
}
