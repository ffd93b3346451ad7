//! Leases: one of several processes does a thing, and another takes over when it falls silent.
//!
//! A lease is a row that names its holder, until when, and a fencing number that rises with each
//! change of holder. Whether it has ended is decided by the database's clock alone, so processes
//! whose clocks disagree still agree on the holder; a holder measures its own time by the
//! monotonic clock, from before it asked, and so gives up no later than the database lets go.
//!
//! Invariant: a holder that was paused beyond its lease changes nothing under it: every write that
//! the lease protects begins with [`Held::confirm`].

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio_util::sync::CancellationToken;

use super::{Db, DbError, Dialect, Retry, Statement, Tx};
use crate::watched::Watched;

/// The table of leases, for the migrations of a service.
pub const TABLE: &str = "CREATE TABLE om_lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    fence BIGINT NOT NULL,
    until_ms BIGINT NOT NULL
);";

/// How far the clocks of a database's nodes may lie apart, in milliseconds: a lease of another holder is
/// taken only when it has been over for so long.
const CLOCK_SKEW_MS: i64 = 500;
const ACQUIRE: &str = "INSERT INTO om_lease (name, holder, fence, until_ms) VALUES ($1, $2, 1, $3) \
    ON CONFLICT (name) DO UPDATE SET \
    fence = om_lease.fence + CASE WHEN om_lease.holder = excluded.holder THEN 0 ELSE 1 END, \
    holder = excluded.holder, until_ms = excluded.until_ms \
    WHERE om_lease.holder = excluded.holder OR om_lease.until_ms <= $4 RETURNING fence";

/// How often somebody else's lease is looked at, at most: it may be released early.
const LOOK: Duration = Duration::from_millis(500);

/// A claim on a lease; each claim is another holder, also within one process.
#[derive(Clone, Debug)]
pub struct Lease {
    db: Db,
    name: Arc<str>,
    holder: Arc<str>,
    term: Duration,
}

/// A lease that is held.
#[derive(Clone, Debug)]
pub struct Held {
    name: Arc<str>,
    /// Rises with each change of holder, from 1.
    pub fence: i64,
    deadline: Instant,
}

/// Why work under a lease gave no result.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else held it for as long as the caller wanted to wait.
    #[error("lease `{0}` is held by another process")]
    Busy(Arc<str>),
    /// It was lost while the work ran; the work was stopped.
    #[error("lease `{0}` was lost")]
    Lost(Arc<str>),
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Retry for LeaseError {
    fn is_serialization_failure(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_serialization_failure())
    }
}

impl Held {
    /// Whether it may still be relied on without asking the database.
    #[must_use]
    pub fn is_live(&self) -> bool {
        Instant::now() < self.deadline
    }

    /// Asks, inside a transaction, whether the lease is still this holder's, and keeps it so until
    /// the transaction ends. False when another took over: then the transaction must change
    /// nothing.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn confirm(&self, tx: &mut Tx) -> Result<bool, DbError> {
        let sql = match tx.dialect() {
            Dialect::Sqlite => "SELECT 1 FROM om_lease WHERE name = $1 AND fence = $2",
            Dialect::Postgres => {
                "SELECT 1 FROM om_lease WHERE name = $1 AND fence = $2 FOR NO KEY UPDATE"
            }
        };
        let statement = Statement::new(sql).bind(&*self.name).bind(self.fence);
        Ok(tx.query_opt(statement, |_| Ok(())).await?.is_some())
    }
}

impl Lease {
    /// A claim on the lease of that name, which ends `term` after it was last renewed.
    #[must_use]
    pub fn new(db: Db, name: &str, term: Duration) -> Self {
        Self {
            db,
            name: name.into(),
            holder: crate::id::new().into(),
            term,
        }
    }

    /// Takes the lease if it is free or has ended, or renews it; `None` while another holds it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn acquire(&self) -> BoxFuture<'_, Result<Option<Held>, DbError>> {
        Box::pin(async move {
            let asked = Instant::now();
            let (name, holder) = (Arc::clone(&self.name), Arc::clone(&self.holder));
            let term_ms = milliseconds(self.term);
            let taken = self.db.write::<_, DbError, _>(move |tx| {
                let (name, holder) = (Arc::clone(&name), Arc::clone(&holder));
                async move {
                    // The clock is read before, and bound: a statement that changes rows has one meaning on
                    // every node of a distributed database then.
                    let now_ms = tx.clock_ms().await?;
                    let statement = Statement::new(ACQUIRE)
                        .bind(&*name)
                        .bind(&*holder)
                        .bind(now_ms + term_ms)
                        .bind(now_ms - CLOCK_SKEW_MS);
                    tx.query_opt(statement, |row| row.req_int(0)).await
                }
                .boxed()
            });
            Ok(taken.await?.map(|fence| Held {
                name: Arc::clone(&self.name),
                fence,
                deadline: asked + self.term,
            }))
        })
    }

    /// Lets go, so that another need not wait for the end of the term.
    ///
    /// # Errors
    /// Those of the database.
    pub fn release(&self) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(async move {
            let statement =
                Statement::new("UPDATE om_lease SET until_ms = 0 WHERE name = $1 AND holder = $2")
                    .bind(&*self.name)
                    .bind(&*self.holder);
            self.db.execute(statement).await?;
            Ok(())
        })
    }

    /// Does something once under the lease: waits for it, at most `patience`, renews it while the
    /// work runs, and lets go. Work whose lease is lost is dropped where it awaits.
    ///
    /// # Errors
    /// [`LeaseError`], or the work's own.
    pub async fn run<T, E, F>(
        &self,
        patience: Duration,
        work: impl FnOnce(Held) -> F,
    ) -> Result<T, E>
    where
        E: From<LeaseError>,
        F: Future<Output = Result<T, E>>,
    {
        let asked = Instant::now();
        let held = loop {
            match self.acquire().await.map_err(LeaseError::from)? {
                Some(held) => break held,
                None if asked.elapsed() >= patience => {
                    return Err(LeaseError::Busy(Arc::clone(&self.name)).into());
                }
                None => tokio::time::sleep(self.pause().min(LOOK / 5)).await,
            }
        };
        let done = tokio::select! {
            done = work(held.clone()) => done,
            () = self.lost(held) => Err(LeaseError::Lost(Arc::clone(&self.name)).into()),
        };
        self.let_go().await;
        done
    }

    /// Does something for as long as this process holds the lease, and waits for it otherwise,
    /// until `stop`. Work that ends is begun again while the lease is held. `watched` is told how the
    /// asking goes.
    pub async fn keep<F>(
        &self,
        stop: &CancellationToken,
        mut watched: Watched,
        work: impl Fn(Held) -> F,
    ) where
        F: Future<Output = ()>,
    {
        let kept = async {
            loop {
                let acquired = self.acquire().await;
                match &acquired {
                    Ok(_) => watched.succeeded(),
                    Err(error) => watched.failed(error),
                }
                if let Ok(Some(held)) = acquired {
                    tokio::select! {
                        () = work(held.clone()) => continue,
                        () = self.lost(held) => {
                            tracing::info!(lease.name = &*self.name, "lease lost");
                        }
                    }
                }
                tokio::time::sleep(self.pause()).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => self.let_go().await,
            () = kept => {}
        }
    }

    /// Renews the lease again and again; resolves when it is lost.
    fn lost(&self, mut held: Held) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let rest = held.deadline.saturating_duration_since(Instant::now());
                if rest.is_zero() {
                    return;
                }
                tokio::time::sleep((self.term / 3).min(rest)).await;
                // A database that does not answer must not keep the holder beyond its time.
                let rest = held.deadline.saturating_duration_since(Instant::now());
                match tokio::time::timeout(rest.max(Duration::from_millis(1)), self.acquire()).await
                {
                    Ok(Ok(Some(renewed))) if renewed.fence == held.fence => held = renewed,
                    Ok(Ok(_)) => return,
                    Ok(Err(error)) => {
                        tracing::debug!(lease.name = &*self.name, %error, "lease not renewed");
                        tokio::time::sleep(self.pause().min(self.term / 10)).await;
                    }
                    Err(_) => {}
                }
            }
        })
    }

    fn let_go(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Whoever waits gets it at the end of the term otherwise.
            match tokio::time::timeout(Duration::from_secs(1), self.release()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(lease.name = &*self.name, %error, "lease not released");
                }
                Err(_) => tracing::debug!(lease.name = &*self.name, "lease not released in time"),
            }
        })
    }

    /// Between two looks at somebody else's lease; not all alike, so that they do not meet again.
    fn pause(&self) -> Duration {
        let most = (self.term / 3).min(LOOK);
        most.mul_f64(rand::random_range(0.5..1.0))
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
