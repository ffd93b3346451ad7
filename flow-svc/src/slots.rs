//! The runs of flows that this process drives.
//!
//! Invariant: a run is in a slot from before it is claimed until its driver's task has ended, also
//! when that panicked.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Notify, watch};

/// Runs that a process drives at once.
pub(crate) const ACTIVE_MAX: usize = 64;

/// The slots of this process.
pub(crate) struct Slots {
    /// This process, as a driver.
    pub(crate) driver: String,
    /// Touched for a moment only, never while anything is awaited.
    active: Mutex<HashMap<String, Active>>,
    /// There may be a run to claim.
    pub(crate) wake: Notify,
    /// Whether the driver's row is known to be there.
    is_alive: AtomicBool,
}

/// A run that this process drives.
struct Active {
    abort: Arc<Notify>,
    /// Closed at its end.
    ending: watch::Receiver<()>,
}

/// A run's slot. Dropped with the task it takes the run off.
pub(crate) struct RunSlot {
    slots: Arc<Slots>,
    run_id: String,
    /// Notified when the run is no longer to be driven here.
    pub(crate) abort: Arc<Notify>,
    /// Dropped last, when the run is off the list.
    _ended: watch::Sender<()>,
}

impl Slots {
    /// Of a process that drives nothing yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            driver: mesh::id::new(),
            active: Mutex::default(),
            wake: Notify::new(),
            is_alive: AtomicBool::new(false),
        })
    }

    /// Puts a run into a slot: before it is claimed or kept, lest the next look takes it for one that
    /// nobody drives.
    pub(crate) fn take(self: &Arc<Self>, run_id: &str) -> RunSlot {
        let (ended, ending) = watch::channel(());
        let abort = Arc::new(Notify::new());
        let active = Active {
            abort: Arc::clone(&abort),
            ending,
        };
        self.active().insert(run_id.to_owned(), active);
        RunSlot {
            slots: Arc::clone(self),
            run_id: run_id.to_owned(),
            abort,
            _ended: ended,
        }
    }

    fn active(&self) -> MutexGuard<'_, HashMap<String, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runs in slots.
    pub(crate) fn run_ids(&self) -> Vec<String> {
        self.active().keys().cloned().collect()
    }

    /// Whether a run is in a slot.
    pub(crate) fn is_active(&self, run_id: &str) -> bool {
        self.active().contains_key(run_id)
    }

    /// How many more runs fit.
    pub(crate) fn free(&self) -> usize {
        ACTIVE_MAX.saturating_sub(self.active().len())
    }

    /// Says whether this driver is known to the others.
    pub(crate) fn set_alive(&self, is_alive: bool) {
        self.is_alive.store(is_alive, Ordering::Relaxed);
    }

    /// Whether this process can drive another run.
    pub(crate) fn has_room(&self) -> bool {
        self.is_alive.load(Ordering::Relaxed) && self.free() > 0
    }

    /// Stops driving a run.
    pub(crate) fn abort(&self, run_id: &str) {
        if let Some(active) = self.active().get(run_id) {
            // Kept for the task if it is just beginning.
            active.abort.notify_one();
        }
    }

    /// Resolves when a run is driven here no more; nothing when it is not driven here.
    pub(crate) fn ending(&self, run_id: &str) -> Option<impl Future<Output = ()> + use<>> {
        let mut ending = self.active().get(run_id)?.ending.clone();
        Some(async move {
            // Nothing is ever sent: the end is that the sender is gone.
            let _closed = ending.changed().await;
        })
    }
}

impl Drop for RunSlot {
    fn drop(&mut self) {
        self.slots.active().remove(&self.run_id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_slot_is_free_again_when_its_task_is_gone() {
        let slots = Slots::new();
        let slot = slots.take("a");
        let ending = slots.ending("a").unwrap();
        assert!(slots.is_active("a") && !slots.has_room());
        slots.set_alive(true);
        assert_eq!((slots.free(), slots.has_room()), (ACTIVE_MAX - 1, true));
        drop(slot);
        assert!(!slots.is_active("a") && slots.ending("a").is_none());
        assert_eq!(ending.now_or_never(), Some(()));
    }
}
