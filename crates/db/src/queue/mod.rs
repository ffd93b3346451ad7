//! The durable queue: what is to be done later, once, whatever becomes of who wanted it.
//!
//! A row has a kind, a key that is its own within the kind, a moment at which it is due, and a payload. It
//! is written in the transaction of what asks for it, claimed by one worker, and gone when it is done. A
//! claim only moves the moment at which the row is due again, and raises its fence: a worker that dies
//! needs nobody to notice, and one that was paused for too long changes nothing, since its fence is an old
//! one. A row that failed too often stays as a dead letter, to be looked at and sent again.
//!
//! Work is done at least once: a worker that is killed between its effect and [`Queue::finish`] is
//! repeated. Effects therefore carry the job's id as their key, or are made in the transaction that
//! finishes it ([`finish_in`]).
//!
//! Workers are woken by [`Queue::wake`] in the process that wrote the row, and look by themselves for what
//! other processes wrote.

mod slots;
mod store;
mod worker;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Db, DbError, Tx};

pub use self::{
    slots::{Slot, Slots},
    store::{
        MIGRATION_SQL, finish_in, forget, hold_in, push, push_again, push_claimed, put_off_in,
    },
    worker::{Backoff, Handled, Worker},
};

/// Alarms that are kept; a job whose alarm is not is found by the next look.
const ALARMS_MAX: usize = 10_000;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Which worker does it.
    pub kind: &'static str,
    /// Its own within the kind: a second row of the same key is not written.
    pub key: String,
    /// What the worker has to know; text of any form.
    pub payload: String,
    /// When, in milliseconds since 1970 by the database's clock; 0 is at once.
    pub due_ms: i64,
}

impl NewJob {
    /// A job that is due at once.
    #[must_use]
    pub fn new(kind: &'static str, key: impl Into<String>, payload: impl Into<String>) -> Self {
        Self {
            kind,
            key: key.into(),
            payload: payload.into(),
            due_ms: 0,
        }
    }

    /// The same, due later.
    #[must_use]
    pub fn due_at(self, due_ms: i64) -> Self {
        Self { due_ms, ..self }
    }
}

/// A job that this process has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its row; also the idempotency key of what it does.
    pub id: String,
    /// Which worker does it.
    pub kind: String,
    /// Its own within the kind.
    pub key: String,
    /// What the worker has to know.
    pub payload: String,
    /// How often it was claimed, this time included.
    pub attempt: i64,
    /// Rises with each claim.
    pub(crate) fence: i64,
}

/// A job that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its row.
    pub id: String,
    /// Its own within the kind.
    pub key: String,
    /// What the worker was told.
    pub payload: String,
    /// How often it was tried.
    pub attempts: i64,
    /// Why it failed at last.
    pub error: String,
    /// When it was given up, in milliseconds since 1970.
    pub dead_at_ms: i64,
}

/// The queue of a service's database. Clones are the same.
#[derive(Clone, Debug)]
pub struct Queue {
    db: Db,
    /// Counts what was pushed in this process.
    pushed: Arc<watch::Sender<u64>>,
    /// When jobs that were put off in this process are due.
    alarms: Arc<Mutex<BTreeSet<Instant>>>,
}

impl Queue {
    /// The queue in that database, whose migrations hold [`MIGRATION_SQL`].
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self {
            db,
            pushed: Arc::new(watch::Sender::new(0)),
            alarms: Arc::default(),
        }
    }

    /// Tells the workers of this process that there may be something to do: after the commit of what was
    /// pushed.
    pub fn wake(&self) {
        self.pushed.send_modify(|count| *count += 1);
    }

    /// Has the workers of this process look after that pause, when a job that was put off is due.
    pub fn wake_in(&self, pause: Duration) {
        let at = Instant::now() + pause;
        let is_first = {
            let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
            if alarms.len() >= ALARMS_MAX {
                return;
            }
            alarms.insert(at);
            alarms.first() == Some(&at)
        };
        // They wait for the first alarm, and learn of the others when it is over.
        if is_first {
            self.wake();
        }
    }

    /// The next alarm, for who has looked since `looked_at`: one that went off meanwhile is still to be
    /// heard.
    fn next_alarm(&self, looked_at: Instant) -> Option<Instant> {
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        while alarms.first().is_some_and(|at| *at <= looked_at) {
            alarms.pop_first();
        }
        alarms.first().copied()
    }

    /// Writes a job in a transaction of its own, and wakes its worker. False when its key was there.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn push(&self, job: NewJob) -> Result<bool, DbError> {
        let pushed = self.db.write::<_, DbError, _>(move |tx: &mut Tx| {
            let job = job.clone();
            Box::pin(async move { push(tx, &job).await })
        });
        let pushed = pushed.await?;
        self.wake();
        Ok(pushed)
    }

    /// Strikes the jobs of those keys: whoever pushed them has done them, before a worker came to it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn strike(&self, kind: &'static str, keys: Vec<String>) -> Result<(), DbError> {
        store::strike(&self.db, kind, keys).await
    }

    /// Has a job that nobody has claimed yet be due after that pause, unless it is due before.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn hasten(
        &self,
        kind: &'static str,
        key: &str,
        pause: Duration,
    ) -> Result<(), DbError> {
        store::hasten(&self.db, kind, key, pause).await?;
        self.wake_in(pause);
        Ok(())
    }

    /// Claims jobs of a kind that are due, at most `limit`, the longest due first, for `term`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn claim(
        &self,
        kind: &'static str,
        limit: usize,
        term: Duration,
    ) -> Result<Vec<Job>, DbError> {
        store::claim(&self.db, kind, limit, term).await
    }

    /// Keeps a claim for another `term`. False when it is lost.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn renew(&self, job: &Job, term: Duration) -> Result<bool, DbError> {
        store::renew(&self.db, job, term).await
    }

    /// Keeps several claims for another `term`; gives the keys of those that are lost.
    async fn renew_all(&self, jobs: &[Job], term: Duration) -> Result<Vec<String>, DbError> {
        store::renew_all(&self.db, jobs, term).await
    }

    /// The job is done; its row goes. False when the claim was lost: somebody else does it, or did.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn finish(&self, job: &Job) -> Result<bool, DbError> {
        let job = job.clone();
        let done = self.db.write::<_, DbError, _>(move |tx: &mut Tx| {
            let job = job.clone();
            Box::pin(async move { finish_in(tx, &job).await })
        });
        done.await
    }

    /// The job is tried again after that pause; `attempts` is how many count so far. False when the claim
    /// was lost.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn retry(
        &self,
        job: &Job,
        pause: Duration,
        attempts: i64,
        error: &str,
    ) -> Result<bool, DbError> {
        let kept = store::retry(&self.db, job, pause, attempts, error).await?;
        self.wake_in(pause);
        Ok(kept)
    }

    /// The job is given up, and kept as a dead letter. False when the claim was lost.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn bury(&self, job: &Job, error: &str) -> Result<bool, DbError> {
        store::bury(&self.db, job, error).await
    }

    /// Lets go of a claim that was not worked on: the job is due at once, and the attempt does not count.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn release(&self, job: &Job) -> Result<bool, DbError> {
        store::release(&self.db, job).await
    }

    /// The dead letters of a kind, the latest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn dead_letters(
        &self,
        kind: &'static str,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, DbError> {
        store::dead_letters(&self.db, kind, limit).await
    }

    /// Has a dead letter tried again, from its first attempt. False when there is none of that id.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn revive(&self, id: &str) -> Result<bool, DbError> {
        let revived = store::revive(&self.db, id).await?;
        self.wake();
        Ok(revived)
    }

    /// How many jobs of a kind wait, and for how long the longest is overdue, in milliseconds.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn backlog(&self, kind: &'static str) -> Result<(i64, i64), DbError> {
        store::backlog(&self.db, kind).await
    }

    /// Tells when somebody in this process has pushed.
    fn pushes(&self) -> watch::Receiver<u64> {
        self.pushed.subscribe()
    }
}
