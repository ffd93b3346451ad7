//! Working through a queue: claims as many jobs as there are free slots, keeps the claims while they are
//! worked on, and says what became of them.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Job, Queue,
    slots::{Slot, Slots},
};
use crate::watched::Watched;

/// How long a job waits before it is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// By what each further pause is longer.
    pub factor: f64,
    /// The longest pause.
    pub longest: Duration,
    /// Attempts in all; then it is a dead letter.
    pub attempts: i64,
}

impl Backoff {
    /// The pause behind that attempt, give or take a tenth; none when it was the last.
    #[must_use]
    pub fn pause(&self, attempt: i64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let exponent = i32::try_from(attempt.max(1) - 1).unwrap_or(i32::MAX);
        let longest = self.longest.as_secs_f64();
        let pause = (self.first.as_secs_f64() * self.factor.powi(exponent)).min(longest);
        Some(Duration::from_secs_f64(
            pause * rand::random_range(0.9..1.1),
        ))
    }
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It is done, and so is its row.
    Done,
    /// Its row was ended or put off in the transaction of its effect.
    Kept,
    /// It is tried again, as [`Backoff`] says.
    Failed(String),
    /// It is tried again after that pause, and no attempt was used up.
    Later(Duration, String),
    /// It will never succeed.
    Dead(String),
}

/// What works through one kind of jobs. Clones are the same worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Which jobs.
    pub kind: &'static str,
    /// Where they stand.
    pub queue: Queue,
    /// Jobs at the same time in this process.
    pub slots: Slots,
    /// How long a worker may be silent before another one takes its job.
    pub term: Duration,
    /// How often it looks for what other processes pushed.
    pub look: Duration,
    /// How failures are tried again.
    pub backoff: Backoff,
}

impl Worker {
    /// Works until `stop`; jobs that are under way then are let go, and others take them at once.
    /// `watched` is told how the claiming goes.
    pub async fn run<F>(
        &self,
        stop: &CancellationToken,
        watched: Watched,
        handle: impl Fn(Job) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Handled> + Send,
    {
        tokio::select! {
            // Ends with `stop`, and lets what is under way end.
            () = self.work(stop, watched, handle) => {}
            () = self.keep_claims() => {}
        }
    }

    async fn work<F>(
        &self,
        stop: &CancellationToken,
        mut watched: Watched,
        handle: impl Fn(Job) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Handled> + Send,
    {
        let handle = Arc::new(handle);
        let mut working = JoinSet::new();
        let mut pushes = self.queue.pushes();
        while !stop.is_cancelled() {
            pushes.mark_unchanged();
            let looked_at = Instant::now();
            while working.try_join_next().is_some() {}
            let free = self.slots.free();
            let claimed = match free {
                0 => Ok(Vec::new()),
                free => self.queue.claim(self.kind, free, self.term).await,
            };
            let count = match claimed {
                Ok(jobs) => {
                    watched.succeeded();
                    let count = jobs.len();
                    for job in jobs {
                        let (this, stop) = (self.clone(), stop.clone());
                        let handle = Arc::clone(&handle);
                        match self.slots.take(&job.key) {
                            Some(slot) => working.spawn(async move {
                                this.one(slot, &stop, job.clone(), handle(job)).await;
                            }),
                            // Somebody here took the last one, or has not yet let go of this job.
                            None => working.spawn(async move { this.release(&job).await }),
                        };
                    }
                    count
                }
                Err(error) => {
                    watched.failed(&error);
                    0
                }
            };
            if free > 0 && count == free {
                // There may be more.
                continue;
            }
            let wait = match self.queue.next_alarm(looked_at) {
                Some(at) => self.look.min(at.saturating_duration_since(Instant::now())),
                None => self.look,
            };
            let woken = async {
                tokio::select! {
                    _ = pushes.changed() => {}
                    () = self.slots.freed(), if free == 0 => {}
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _ = timeout(wait, woken) => {}
            }
        }
        while working.join_next().await.is_some() {}
    }

    /// Works on a job that was pushed by [`push_claimed`](super::push_claimed), as [`Worker::run`] does on
    /// what it claims. `slot` was taken before the job was written.
    pub async fn work_on(
        &self,
        slot: Slot,
        stop: &CancellationToken,
        job: Job,
        handling: impl Future<Output = Handled> + Send,
    ) {
        self.one(slot, stop, job, handling).await;
    }

    async fn one(
        &self,
        slot: Slot,
        stop: &CancellationToken,
        job: Job,
        handling: impl Future<Output = Handled> + Send,
    ) {
        if job.attempt > self.backoff.attempts {
            // Whoever had it never came to an end: it crashed, or took its process with it.
            let why = format!("No end after {} attempts", self.backoff.attempts);
            if let Err(error) = self.bury(&job, &why).await {
                tracing::warn!(job.id = job.id, %error, "a job's end was not kept");
            }
            return;
        }
        slot.keep(&job);
        let handled = tokio::select! {
            handled = handling => handled,
            () = slot.aborted() => {
                tracing::debug!(job.id = job.id, job.kind = self.kind, "a job is another's, or taken back");
                return;
            }
            () = stop.cancelled() => return self.release(&job).await,
        };
        let kept = match handled {
            Handled::Kept => Ok(true),
            Handled::Done => self.queue.finish(&job).await,
            Handled::Dead(why) => self.bury(&job, &why).await,
            Handled::Later(pause, why) => {
                let attempts = job.attempt - 1;
                self.queue.retry(&job, pause, attempts, &why).await
            }
            Handled::Failed(why) => match self.backoff.pause(job.attempt) {
                Some(pause) => self.queue.retry(&job, pause, job.attempt, &why).await,
                None => self.bury(&job, &why).await,
            },
        };
        if let Err(error) = kept {
            // The claim ends, and it is done again.
            tracing::warn!(job.id = job.id, job.kind = self.kind, %error, "a job's end was not kept");
        }
    }

    async fn release(&self, job: &Job) {
        if let Err(error) = self.queue.release(job).await {
            tracing::debug!(job.id = job.id, %error, "a job waits for the end of its claim");
        }
    }

    async fn bury(&self, job: &Job, why: &str) -> Result<bool, crate::DbError> {
        tracing::error!(
            job.id = job.id,
            job.kind = self.kind,
            why,
            "a job is given up"
        );
        metrics::counter!("objectmesh_dead_letters_total", "kind" => self.kind).increment(1);
        self.queue.bury(job, why).await
    }

    /// Keeps the claims of all jobs in slots, for ever; the work on those that are lost ends.
    async fn keep_claims(&self) {
        loop {
            sleep(self.term / 3).await;
            let jobs = self.slots.jobs();
            if jobs.is_empty() {
                continue;
            }
            match self.queue.renew_all(&jobs, self.term).await {
                Ok(lost) => {
                    for key in lost {
                        self.slots.abort(&key);
                    }
                }
                Err(error) => tracing::debug!(%error, kind = self.kind, "claims were not renewed"),
            }
        }
    }
}
