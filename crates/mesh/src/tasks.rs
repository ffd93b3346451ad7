//! The tasks of a node: started through here, so that shutdown can ask them to end and wait.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::watched::{Failing, Watched};

/// A node's background tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    /// Ends what would go on for as long as anybody listens.
    drain: CancellationToken,
    stop: CancellationToken,
    failing: Failing,
}

impl Tasks {
    /// Runs `task` until it ends. Long-running tasks watch [`Tasks::stopping`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Resolves when the node shuts down.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// A token that is cancelled when the node shuts down.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// A token that is cancelled when the node takes no more calls and finishes those in flight:
    /// endless streams end then, since the server waits for them.
    #[must_use]
    pub fn drain_token(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// Tells from now on how the task of that name fares.
    #[must_use]
    pub fn watched(&self, task: &'static str) -> Watched {
        Watched::new(task, self.failing.clone())
    }

    /// The names of the watched tasks that have failed for so long, without a success.
    #[must_use]
    pub fn failing_for(&self, patience: Duration) -> Vec<&'static str> {
        self.failing.longer_than(patience)
    }

    /// Asks endless streams to end.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Asks every task to end and waits up to `grace`. False when some were still running.
    pub async fn shut_down(&self, grace: Duration) -> bool {
        self.drain.cancel();
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait())
            .await
            .is_ok()
    }
}
