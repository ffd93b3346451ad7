//! Who follows what has changed: positions for committed writes, and streams of them.
//!
//! A write leaves a row in the outbox. On SQLite the writer gives it its position; on PostgreSQL
//! numbers taken inside transactions are not commit order, and a follower who trusts them skips
//! rows, so one process at a time, under a lease, numbers what is committed. Every process looks
//! for new positions when it has written, and at least every [`LOOK`].
//!
//! Invariant: positions have no gaps, and a position is seen only after all before it.

pub mod grpc;
pub mod store;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{
    Error, Result, clock,
    db::{Db, DbError, Dialect, Tx, lease::Held, lease::Lease},
    error::Reason,
    tasks::Tasks,
    watched::Watched,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::store::{BATCH, Entry, Read};
use crate::kernel::write::{AfterWrite, Change};

/// How often other processes' writes are looked for.
const LOOK: Duration = Duration::from_millis(200);
/// Writes that come together are numbered together: a turn costs the database several statements, and
/// everybody who follows takes one as well.
const GATHER: Duration = Duration::from_millis(20);
/// Sequence numbers so far below the highest one numbered are looked at only every [`SWEEP`]: their
/// index entries are dead but for transactions that took long.
const WINDOW: i64 = 1_000;
const SWEEP: Duration = Duration::from_secs(1);
/// A sequencer that falls silent is replaced after this time.
const TERM: Duration = Duration::from_secs(5);
/// How often old changes are dropped.
const TRIM_EVERY: Duration = Duration::from_secs(60);
/// A follower hears at least this often where the stream stands.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// A stream ends after this time, so that followers spread over the replicas.
const STREAM_MAX: Duration = Duration::from_secs(30 * 60);
/// Bytes of records in a message.
const BYTES_MAX: i64 = 1024 * 1024;

/// The changes of one database, as this process sees them.
#[derive(Debug)]
pub struct Changes {
    db: Db,
    /// A write was committed that may need a position.
    written: Notify,
    /// There may be new positions.
    numbered: Notify,
    /// The last position seen.
    head: watch::Sender<i64>,
    drain: CancellationToken,
}

/// Changes together, and up to where they go.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// In order; none when this only tells the position.
    pub entries: Vec<Entry>,
    /// Everything up to here has been told.
    pub position: i64,
}

/// Every write of a record leaves a row of the outbox in its transaction.
impl AfterWrite for Changes {
    fn after_write<'t>(
        &'t self,
        tx: &'t mut Tx,
        changes: &'t [Change<'t>],
    ) -> BoxFuture<'t, Result<(), DbError>> {
        store::append(tx, changes).boxed()
    }

    /// Followers need not wait for the next look.
    fn committed(&self) {
        match self.db.dialect() {
            Dialect::Sqlite => self.numbered.notify_one(),
            Dialect::Postgres => self.written.notify_one(),
        }
    }
}

impl Changes {
    /// The changes of a database; nothing runs before [`Changes::start`].
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self {
            db,
            written: Notify::new(),
            numbered: Notify::new(),
            head: watch::Sender::new(0),
            drain: CancellationToken::new(),
        }
    }

    /// Starts numbering, looking and trimming. Changes older than `kept_for` are dropped.
    pub fn start(self: &Arc<Self>, tasks: &Tasks, kept_for: Duration) {
        let (this, stop, drain) = (Arc::clone(self), tasks.stop_token(), tasks.drain_token());
        let watched = tasks.watched("outbox_head");
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = this.look(watched) => {}
            }
        });
        let this = Arc::clone(self);
        tasks.spawn(async move {
            drain.cancelled().await;
            this.drain.cancel();
        });
        if self.db.dialect() == Dialect::Postgres {
            let (this, owned, stop) = (Arc::clone(self), tasks.clone(), tasks.stop_token());
            tasks.spawn(async move {
                let lease = Lease::new(this.db.clone(), "outbox_sequencer", TERM);
                let watched = owned.watched("outbox_sequencer_lease");
                let number = |held| this.number(held, owned.watched("outbox_sequencer"));
                lease.keep(&stop, watched, number).await;
            });
        }
        let (this, owned, stop) = (Arc::clone(self), tasks.clone(), tasks.stop_token());
        tasks.spawn(async move {
            let lease = Lease::new(this.db.clone(), "outbox_janitor", 2 * TRIM_EVERY);
            let watched = owned.watched("outbox_janitor_lease");
            let trim = |held| this.trim(held, kept_for, owned.watched("outbox_janitor"));
            lease.keep(&stop, watched, trim).await;
        });
    }

    /// Keeps [`Changes::head`] up to date.
    async fn look(&self, mut watched: Watched) {
        loop {
            match store::kept(&self.db).await {
                Ok(kept) => {
                    watched.succeeded();
                    self.head.send_if_modified(|head| {
                        let moved = kept.head > *head;
                        *head = kept.head.max(*head);
                        moved
                    });
                }
                Err(error) => watched.failed(&error),
            }
            // A wake-up is a hint only: without one the next look comes by itself.
            let _woken = timeout(LOOK, self.numbered.notified()).await;
        }
    }

    /// Numbers committed rows while the lease is held.
    async fn number(&self, held: Held, mut watched: Watched) {
        let mut low = 0;
        let mut swept = Instant::now();
        loop {
            let sweeps = swept.elapsed() >= SWEEP;
            let from = if sweeps { 0 } else { low };
            let held = held.clone();
            let numbering = self.db.write::<_, DbError, _>(move |tx| {
                let held = held.clone();
                async move { store::number(tx, &held, from).await }.boxed()
            });
            match numbering.await {
                Ok(None) => return,
                Ok(Some(numbered)) => {
                    watched.succeeded();
                    if sweeps {
                        swept = Instant::now();
                    }
                    low = low.max(numbered.highest - WINDOW);
                    if numbered.count > 0 {
                        self.numbered.notify_one();
                    }
                    if numbered.count == BATCH {
                        continue;
                    }
                }
                Err(error) => watched.failed(&error),
            }
            let _woken = timeout(LOOK, self.written.notified()).await;
            sleep(GATHER).await;
        }
    }

    /// Drops old changes while the lease is held.
    async fn trim(&self, held: Held, kept_for: Duration, mut watched: Watched) {
        loop {
            let (held, until) = (held.clone(), clock::now() - kept_for);
            let trimming = self.db.write::<_, DbError, _>(move |tx| {
                let held = held.clone();
                async move { store::trim(tx, &held, until).await }.boxed()
            });
            match trimming.await {
                Ok(None) => return,
                Ok(Some(BATCH)) => continue,
                Ok(Some(_)) => watched.succeeded(),
                Err(error) => watched.failed(&error),
            }
            sleep(TRIM_EVERY).await;
        }
    }

    /// Begins to follow.
    ///
    /// # Errors
    /// POSITION_GONE for a position that is not kept, or that this database never gave.
    pub async fn follow(
        self: &Arc<Self>,
        after: i64,
        from_now: bool,
        objects: Vec<String>,
    ) -> Result<Follower> {
        let kept = store::kept(&self.db).await?;
        let after = match (from_now, after) {
            (true, _) => kept.head,
            (false, 0) => kept.floor,
            (false, after) if (kept.floor..=kept.head).contains(&after) => after,
            (false, _) => return Err(gone(kept)),
        };
        Ok(Follower {
            changes: Arc::clone(self),
            head: self.head.subscribe(),
            objects,
            after,
            told: None,
            end: Instant::now() + STREAM_MAX,
            ended: false,
        })
    }
}

/// Somebody who follows. Nothing runs ahead of [`Follower::next`]: who reads slowly is read for
/// slowly.
#[derive(Debug)]
pub struct Follower {
    changes: Arc<Changes>,
    head: watch::Receiver<i64>,
    objects: Vec<String>,
    after: i64,
    /// When a message went out last; `None` before the first.
    told: Option<Instant>,
    end: Instant,
    ended: bool,
}

impl Follower {
    /// The next message: changes when there are some, else the position at once (the first time)
    /// or after [`HEARTBEAT`]. `None` at the end: the stream is too old, or the node shuts down.
    /// Nothing comes after an error.
    ///
    /// # Errors
    /// Those of the database; POSITION_GONE when this follower was too slow.
    pub async fn next(&mut self) -> Option<Result<Batch>> {
        if self.ended {
            return None;
        }
        let message = self.message().await.transpose();
        self.ended = !matches!(message, Some(Ok(_)));
        self.told = Some(Instant::now());
        message
    }

    async fn message(&mut self) -> Result<Option<Batch>> {
        let Some(told) = self.told else {
            return Ok(Some(self.position()));
        };
        let due = told + HEARTBEAT;
        loop {
            if self.changes.drain.is_cancelled() || Instant::now() >= self.end {
                return Ok(None);
            }
            let head = *self.head.borrow_and_update();
            if head > self.after {
                let read =
                    store::read(&self.changes.db, self.after, head, &self.objects, BYTES_MAX);
                match read.await? {
                    Read::Batch(entries, position) => {
                        self.after = position;
                        if !entries.is_empty() {
                            return Ok(Some(Batch { entries, position }));
                        }
                    }
                    Read::Gone => return Err(gone(store::kept(&self.changes.db).await?)),
                }
                if Instant::now() < due {
                    continue;
                }
            }
            tokio::select! {
                () = self.changes.drain.cancelled() => return Ok(None),
                () = tokio::time::sleep_until(due.min(self.end)) => return Ok(Some(self.position())),
                // The sender is ours: it cannot be gone.
                _ = self.head.changed() => {}
            }
        }
    }

    fn position(&self) -> Batch {
        Batch {
            entries: Vec::new(),
            position: self.after,
        }
    }
}

fn gone(kept: store::Retained) -> Error {
    Error::new(
        Reason::PositionGone,
        "Changes after this position are not kept; begin from a snapshot",
    )
    .with("position", kept.head)
    .with("oldestPosition", kept.floor)
}
