//! Working through a queue: claims as many jobs as there is room for, keeps the claims while they are
//! worked on, and says what became of them.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Job, Queue};
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
    /// It is done, and its row went in the transaction of its effect.
    Finished,
    /// It is tried again, as [`Backoff`] says.
    Failed(String),
    /// It is tried again after that pause, and no attempt was used up.
    Later(Duration, String),
    /// It will never succeed.
    Dead(String),
}

/// What works through one kind of jobs.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Which jobs.
    pub kind: &'static str,
    /// Jobs at the same time in this process.
    pub concurrency: usize,
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
        queue: &Queue,
        stop: &CancellationToken,
        mut watched: Watched,
        handle: impl Fn(Job) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Handled> + Send,
    {
        let handle = Arc::new(handle);
        let room = Arc::new(Semaphore::new(self.concurrency.max(1)));
        let mut working = JoinSet::new();
        let mut pushes = queue.pushes();
        loop {
            pushes.mark_unchanged();
            while working.try_join_next().is_some() {}
            let free = room.available_permits();
            let claimed = match free {
                0 => Ok(Vec::new()),
                free => queue.claim(self.kind, free, self.term).await,
            };
            let count = match claimed {
                Ok(jobs) => {
                    watched.succeeded();
                    let count = jobs.len();
                    for job in jobs {
                        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                            return;
                        };
                        let (this, queue) = (self.clone(), queue.clone());
                        let (handle, stop) = (Arc::clone(&handle), stop.clone());
                        working.spawn(async move {
                            this.one(&queue, &stop, job, &*handle).await;
                            drop(permit);
                        });
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
            let woken = async {
                tokio::select! {
                    _ = pushes.changed() => {}
                    // A place is free again.
                    Some(_) = working.join_next(), if room.available_permits() == 0 => {}
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                _ = timeout(self.look, woken) => {}
            }
        }
        while working.join_next().await.is_some() {}
    }

    async fn one<F>(
        &self,
        queue: &Queue,
        stop: &CancellationToken,
        job: Job,
        handle: &(impl Fn(Job) -> F + Sync),
    ) where
        F: Future<Output = Handled> + Send,
    {
        if job.attempt > self.backoff.attempts {
            // Whoever had it never came to an end: it crashed, or took its process with it.
            let why = format!("No end after {} attempts", self.backoff.attempts);
            if let Err(error) = self.bury(queue, &job, &why).await {
                tracing::warn!(job.id = job.id, %error, "a job's end was not kept");
            }
            return;
        }
        let handled = tokio::select! {
            handled = handle(job.clone()) => handled,
            () = self.lost(queue, &job) => {
                tracing::warn!(job.id = job.id, job.kind = self.kind, "another worker has the job");
                return;
            }
            () = stop.cancelled() => {
                if let Err(error) = queue.release(&job).await {
                    tracing::debug!(job.id = job.id, %error, "a job waits for the end of its claim");
                }
                return;
            }
        };
        let kept = match handled {
            Handled::Finished => Ok(true),
            Handled::Done => queue.finish(&job).await,
            Handled::Dead(why) => self.bury(queue, &job, &why).await,
            Handled::Later(pause, why) => queue.retry(&job, pause, job.attempt - 1, &why).await,
            Handled::Failed(why) => match self.backoff.pause(job.attempt) {
                Some(pause) => queue.retry(&job, pause, job.attempt, &why).await,
                None => self.bury(queue, &job, &why).await,
            },
        };
        if let Err(error) = kept {
            // The claim ends, and it is done again.
            tracing::warn!(job.id = job.id, job.kind = self.kind, %error, "a job's end was not kept");
        }
    }

    async fn bury(&self, queue: &Queue, job: &Job, why: &str) -> Result<bool, crate::DbError> {
        tracing::error!(
            job.id = job.id,
            job.kind = self.kind,
            why,
            "a job is given up"
        );
        metrics::counter!("objectmesh_dead_letters_total", "kind" => self.kind).increment(1);
        queue.bury(job, why).await
    }

    /// Keeps the claim; resolves when it is lost.
    async fn lost(&self, queue: &Queue, job: &Job) {
        loop {
            sleep(self.term / 3).await;
            match queue.renew(job, self.term).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(job.id = job.id, %error, "a claim was not renewed");
                }
            }
        }
    }
}
