//! SQLite's writer: one thread that owns the only connection which changes the file.
//!
//! Jobs that wait at the same time share one commit, and so one fsync. When one fails, the group is
//! begun again with a savepoint around each, so that it is undone alone.
//!
//! Invariant: nobody is answered before the commit that holds their work.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};
use tracing::Span;

use super::{
    DbError, Tx,
    job::{Job, Verdict},
};

/// Jobs waiting for the writer; callers beyond wait to hand theirs over.
pub(super) const QUEUE: usize = 1024;
/// Jobs that share a commit at most.
const GROUP_MAX: usize = 256;
/// After this time a group is committed even if more jobs wait, so that the first is not kept.
const GROUP_TIME: Duration = Duration::from_millis(10);

/// What is sent to the writer.
pub(super) enum Message {
    Run(Handed),
    /// Finish what is queued, close the file, then answer.
    Close(oneshot::Sender<()>),
}

/// A caller's job with the way back to them.
pub(super) struct Handed {
    pub(super) job: Box<dyn Job>,
    /// Whether it must not share its commit.
    pub(super) alone: bool,
    pub(super) span: Span,
    /// Told when the result is there; a caller that has gone away does not mind.
    pub(super) done: oneshot::Sender<()>,
}

impl Handed {
    /// Runs the job, again if need be; true when its changes are to be committed.
    fn run(&mut self, tx: &mut Tx) -> bool {
        let _entered = self.span.enter();
        drive(self.job.as_mut(), tx)
    }

    fn fail(&mut self, error: DbError) {
        self.job.fail(error);
    }
}

/// Runs a job on this thread; true when its changes are to be committed. On SQLite no method of
/// [`Tx`] ever waits, so one poll finishes it; a job that waits for anything else would stop every
/// other write, and is refused.
pub(super) fn drive(job: &mut dyn Job, tx: &mut Tx) -> bool {
    tx.renew();
    // What the job leaves behind is rolled back, so nothing half done can be seen.
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let mut context = Context::from_waker(Waker::noop());
        job.run(tx).as_mut().poll(&mut context)
    }));
    let error = match polled {
        Ok(Poll::Ready(Verdict::Keep)) => match tx.committable() {
            Ok(()) => return true,
            Err(error) => error,
        },
        Ok(Poll::Ready(Verdict::Undo { .. })) => return false,
        Ok(Poll::Pending) => DbError::Unfinished,
        Err(_) => {
            tracing::error!("a database job panicked");
            DbError::Panicked
        }
    };
    job.fail(error);
    false
}

/// Works until the last sender is gone or the writer is told to close.
pub(super) fn run(tx: Tx, mut inbox: mpsc::Receiver<Message>) {
    let mut writer = Writer {
        tx,
        open: false,
        jobs: Vec::new(),
        careful: false,
    };
    let mut closing = Vec::new();
    let mut next = None;
    loop {
        let message = next.take().or_else(|| inbox.blocking_recv());
        match message {
            Some(Message::Run(job)) => next = writer.group(job, &mut inbox),
            Some(Message::Close(done)) => {
                inbox.close();
                closing.push(done);
            }
            None => break,
        }
    }
    writer.finish();
    for done in closing {
        let _ = done.send(());
    }
}

struct Writer {
    tx: Tx,
    /// Whether a transaction is open.
    open: bool,
    /// The jobs of the group, and whether the open transaction holds their work.
    jobs: Vec<(Handed, bool)>,
    /// Whether a job of the group has failed, and each has its savepoint since.
    careful: bool,
}

impl Writer {
    /// Runs `first` and whatever waits behind it, commits once and answers all. Returns a message
    /// that was taken from the inbox but does not belong to the group.
    fn group(&mut self, first: Handed, inbox: &mut mpsc::Receiver<Message>) -> Option<Message> {
        let began = Instant::now();
        self.careful = false;
        let mut job = first;
        let mut other = None;
        loop {
            let alone = job.alone;
            let kept = self.one(&mut job);
            self.jobs.push((job, kept));
            if alone || self.jobs.len() >= GROUP_MAX || began.elapsed() >= GROUP_TIME {
                break;
            }
            match inbox.try_recv() {
                Ok(Message::Run(next)) if !next.alone => job = next,
                Ok(message) => {
                    other = Some(message);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.commit();
        for (job, _) in self.jobs.drain(..) {
            let _ = job.done.send(());
        }
        other
    }

    /// Runs one job inside the group's transaction; true when the transaction holds its work.
    fn one(&mut self, job: &mut Handed) -> bool {
        // Alone in its transaction a job needs no savepoint: there is nothing else to undo.
        let shared = self.jobs.iter().any(|(_, kept)| *kept);
        let guarded = shared && self.careful;
        let entered = match (self.open, guarded) {
            (false, _) => self.bound("BEGIN IMMEDIATE"),
            (true, true) => self.bound("SAVEPOINT om_job"),
            (true, false) => Ok(()),
        };
        if let Err(error) = entered {
            job.fail(error);
            return false;
        }
        self.open = true;
        let keep = job.run(&mut self.tx);
        if !self.in_transaction() {
            // SQLite has rolled everything back: a statement was stopped half way, or the disk is
            // full. The others did nothing wrong, so they get a transaction each.
            self.open = false;
            if keep {
                job.fail(DbError::unavailable("SQLite rolled the transaction back"));
            }
            self.repeat();
            return false;
        }
        if !keep && shared && !guarded {
            self.begin_again();
            return self.one(job);
        }
        let left = match (keep, guarded) {
            (true, true) => self.bound("RELEASE om_job"),
            (true, false) => Ok(()),
            (false, true) => self
                .bound("ROLLBACK TO om_job")
                .and_then(|()| self.bound("RELEASE om_job")),
            (false, false) => {
                self.roll_back();
                Ok(())
            }
        };
        match left {
            Ok(()) => keep,
            Err(error) => {
                job.fail(error);
                self.roll_back();
                self.repeat();
                false
            }
        }
    }

    /// Undoes the group and runs it again, with a savepoint around each job from now on.
    fn begin_again(&mut self) {
        self.roll_back();
        self.careful = true;
        for (mut job, _) in std::mem::take(&mut self.jobs) {
            let kept = self.one(&mut job);
            self.jobs.push((job, kept));
        }
    }

    /// Runs the jobs whose work was lost through no fault of theirs, each in its own transaction.
    fn repeat(&mut self) {
        let mut jobs = std::mem::take(&mut self.jobs);
        for (job, kept) in &mut jobs {
            if std::mem::take(kept) {
                self.single(job);
            }
        }
        self.jobs = jobs;
    }

    /// Runs a job in a transaction of its own, up to the commit.
    fn single(&mut self, job: &mut Handed) {
        if let Err(error) = self.bound("BEGIN IMMEDIATE") {
            job.fail(error);
            return;
        }
        if job.run(&mut self.tx) {
            match self.bound("COMMIT") {
                Ok(()) => self.committed(),
                Err(error) => job.fail(error),
            }
        }
        self.roll_back();
    }

    fn commit(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let Err(error) = self.bound("COMMIT") else {
            self.committed();
            return;
        };
        self.roll_back();
        let kept = self.jobs.iter().filter(|(_, kept)| *kept).count();
        if matches!(error, DbError::ForeignKey { .. }) && kept > 1 {
            // A deferred foreign key of one job was noticed only now: find out whose.
            self.repeat();
            return;
        }
        for (job, kept) in &mut self.jobs {
            if *kept {
                job.fail(error.clone());
            }
        }
    }

    fn committed(&mut self) {
        if let Some(conn) = self.tx.conn() {
            conn.committed();
        }
    }

    fn roll_back(&mut self) {
        self.open = false;
        if let Some(conn) = self.tx.conn() {
            conn.tidy();
        }
    }

    fn bound(&mut self, sql: &'static str) -> Result<(), DbError> {
        match self.tx.conn() {
            Some(conn) => conn.bound(sql),
            None => Err(DbError::unavailable("the writer has no SQLite connection")),
        }
    }

    fn in_transaction(&mut self) -> bool {
        self.tx.conn().is_some_and(|conn| conn.in_transaction())
    }

    /// Leaves a file that needs no recovery and has fresh statistics.
    fn finish(&mut self) {
        let Some(conn) = self.tx.conn() else { return };
        if let Err(error) = conn.batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);") {
            tracing::warn!(%error, "SQLite's log could not be folded into the file");
        }
    }
}
