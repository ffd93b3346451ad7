//! How a task fares that goes on for ever. One that fails again and again must not do so in silence: each
//! failure is counted, it is warned of when it has failed for [`WARN_AFTER`] and each minute from then on, and
//! after [`DEGRADED_AFTER`] its service says that it is degraded. It stays ready: what it answers by itself is as good as ever.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a task may fail before its service is degraded.
pub const DEGRADED_AFTER: Duration = Duration::from_secs(30);
/// How long a task may fail before it is warned of: what it needs may be starting, too.
const WARN_AFTER: Duration = Duration::from_secs(5);
/// Between two warnings of a task that goes on failing.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The tasks of a node that fail, and since when.
#[derive(Clone, Debug, Default)]
pub struct Failing(Arc<Mutex<BTreeMap<&'static str, Instant>>>);

impl Failing {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that have failed for so long.
    #[must_use]
    pub fn longer_than(&self, patience: Duration) -> Vec<&'static str> {
        let failing = self.lock();
        let long = failing
            .iter()
            .filter(|(_, since)| since.elapsed() >= patience);
        long.map(|(task, _)| *task).collect()
    }
}

/// A task that goes on for ever, and whose failures are told.
#[derive(Debug)]
pub struct Watched {
    task: &'static str,
    failing: Failing,
    is_failing: bool,
    warned: Option<Instant>,
}

impl Watched {
    /// Tells from now on how the task of that name fares.
    #[must_use]
    pub fn new(task: &'static str, failing: Failing) -> Self {
        Self {
            task,
            failing,
            is_failing: false,
            warned: None,
        }
    }

    /// It could not do what it is for, now.
    pub fn failed(&mut self, error: &dyn Display) {
        let task = self.task;
        metrics::counter!("objectmesh_task_failures_total", "task" => task).increment(1);
        self.is_failing = true;
        let since = *self.failing.lock().entry(task).or_insert_with(Instant::now);
        let is_due = match self.warned {
            Some(warned) => warned.elapsed() >= WARN_EVERY,
            None => since.elapsed() >= WARN_AFTER,
        };
        if is_due {
            self.warned = Some(Instant::now());
            let failing_s = since.elapsed().as_secs();
            tracing::warn!(task, %error, failing_s, "a background task fails; it tries again");
        } else {
            tracing::debug!(task, %error, "a background task fails; it tries again");
        }
    }

    /// It did what it is for.
    pub fn succeeded(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            self.failing.lock().remove(self.task);
        }
        if self.warned.take().is_some() {
            tracing::info!(task = self.task, "a background task works again");
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.failing.lock().remove(self.task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_knows_which_of_its_tasks_fail() {
        let all = Failing::default();
        let watched = |task| Watched::new(task, all.clone());
        let (mut one, mut other) = (watched("one"), watched("other"));
        let failing = || all.longer_than(Duration::ZERO);
        assert!(failing().is_empty());
        one.failed(&"refused");
        one.failed(&"refused");
        other.failed(&"away");
        assert_eq!(failing(), ["one", "other"]);
        assert!(all.longer_than(DEGRADED_AFTER).is_empty());
        one.succeeded();
        assert_eq!(failing(), ["other"]);
        drop(other);
        assert!(failing().is_empty());
    }
}
