//! The PostgreSQL backend: a pool of sqlx connections.

use std::{borrow::Cow, str::FromStr as _, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgPool,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::{
    DbConfig, DbError, Dialect, Retry as _, Statement, Tx,
    job::{Job, OnRow, Verdict},
    pg_tx::{self, PgTx},
};
use crate::span;

/// Prepared statements kept by a connection.
const STATEMENTS: usize = 256;
/// A connection that rested longer is asked whether it still works before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// How often a write is tried when other transactions are in the way.
const ATTEMPTS: u32 = 6;
/// Ends a transaction whose client has fallen silent, and frees its locks.
const IDLE_IN_TRANSACTION: &str = "60s";

/// What a write runs finds rows by id: its plans need not be made anew for each list of ids.
const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL plan_cache_mode = force_generic_plan";
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A PostgreSQL database, opened.
#[derive(Clone)]
pub struct Postgres {
    service: &'static str,
    pool: PgPool,
    /// Writes under way, which outlive the callers that asked for them.
    writes: TaskTracker,
    patience: Duration,
}

impl Postgres {
    pub(super) async fn open(config: &DbConfig) -> Result<Self, DbError> {
        let options = PgConnectOptions::from_str(&config.url)
            .map_err(|_| DbError::Config("the PostgreSQL URL is malformed"))?;
        if let Some(schema) = &config.schema {
            ensure_schema(&options, schema).await?;
        }
        let mut settings = vec![
            (
                "statement_timeout",
                config.statement_timeout.as_millis().to_string(),
            ),
            (
                "idle_in_transaction_session_timeout",
                IDLE_IN_TRANSACTION.to_owned(),
            ),
        ];
        if let Some(schema) = &config.schema {
            settings.push(("search_path", schema.clone()));
        }
        let options = options
            .options(settings)
            .application_name("objectmesh")
            .statement_cache_capacity(STATEMENTS)
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections.max(1))
            .acquire_timeout(config.statement_timeout)
            .test_before_acquire(false)
            .before_acquire(|conn, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_IDLE {
                        conn.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options)
            .await?;
        Ok(Self {
            service: config.service,
            pool,
            writes: TaskTracker::new(),
            patience: config.statement_timeout,
        })
    }

    pub(super) fn service(&self) -> &'static str {
        self.service
    }

    pub(super) fn watch(&self) -> impl Fn() -> Option<[(&'static str, usize); 2]> + Send + 'static {
        // sqlx lends no weak handle; a pool that is closed says so.
        let pool = self.pool.clone();
        move || {
            let open = usize::try_from(pool.size()).unwrap_or_default();
            let idle = pool.num_idle();
            (!pool.is_closed()).then_some([("connections_open", open), ("connections_idle", idle)])
        }
    }

    /// Runs a query and hands out its first `limit` rows.
    pub(super) fn rows<'q>(
        &'q self,
        statement: Statement,
        limit: usize,
        on_row: &'q mut OnRow<'_>,
    ) -> BoxFuture<'q, Result<(), DbError>> {
        Box::pin(async move {
            let mut conn = self.acquire().await?;
            let again = statement.clone();
            let first = conn.query(statement, limit, on_row).await;
            if !conn.forget_stale().await {
                return first;
            }
            // A stale plan is refused before it gives a row, so nobody has seen one yet.
            conn.query(again, limit, on_row).await
        })
    }

    /// Runs one statement without a transaction around it: one round trip instead of three.
    pub(super) async fn execute(&self, statement: Statement) -> Result<u64, DbError> {
        let mut conn = self.acquire().await?;
        let run = async move {
            let mut tries = 1;
            loop {
                let done = conn.execute(statement.clone()).await;
                conn.forget_stale().await;
                if tries == ATTEMPTS || !matches!(done, Err(DbError::Serialization)) {
                    return done;
                }
                tokio::time::sleep(backoff(tries)).await;
                tries += 1;
            }
        };
        let done = self.writes.spawn(run);
        done.await.map_err(ended)?
    }

    /// Runs one statement that may take its time and takes no transaction.
    pub(super) async fn unbounded(&self, sql: Cow<'static, str>) -> Result<(), DbError> {
        self.acquire().await?.unbounded(sql).await
    }

    /// Runs a job on one snapshot. An error: it could not begin.
    pub(super) fn read<'j>(&'j self, job: &'j mut dyn Job) -> BoxFuture<'j, Result<(), DbError>> {
        Box::pin(async move {
            let conn = self.begin(READ).await?;
            let mut tx = Tx::postgres(conn, self.service);
            attempt(&mut tx, self.service, job).await;
            Ok(())
        })
    }

    /// Runs a job in a transaction, again while others are in the way. An error: it could not begin,
    /// or panicked.
    pub(super) fn write(&self, mut job: Box<dyn Job>) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(async move {
            // Taken here, so that a caller that goes away while all connections are busy asks nothing.
            let conn = self.begin(WRITE).await?;
            let service = self.service;
            // A task of its own, because a caller that goes away must not stop a write half way.
            let run = async move {
                let mut tx = Tx::postgres(conn, service);
                let mut tries = 1;
                while attempt(&mut tx, service, job.as_mut()).await && tries < ATTEMPTS {
                    tokio::time::sleep(backoff(tries)).await;
                    tries += 1;
                    if let Some(conn) = tx.pg() {
                        conn.begin(WRITE).await?;
                    }
                }
                Ok(())
            };
            let done = self.writes.spawn(run.in_current_span());
            done.await.map_err(ended)?
        })
    }

    pub(super) async fn ping(&self) -> Result<(), DbError> {
        let mut conn = self.pool.acquire().await?;
        Ok(conn.ping().await?)
    }

    /// Lets writes under way end, then closes the connections.
    pub(super) async fn close(&self) {
        self.writes.close();
        let both = async {
            self.writes.wait().await;
            self.pool.close().await;
        };
        if tokio::time::timeout(self.patience, both).await.is_err() {
            tracing::warn!("database connections were still in use when the pool was closed");
        }
    }

    /// A connection with a transaction on it; the span covers the wait for the connection.
    async fn begin(&self, sql: &'static str) -> Result<PgTx, DbError> {
        let span = span::statement(self.service, Dialect::Postgres, sql);
        let begun = async {
            let mut conn = self.acquire().await?;
            conn.begin(sql).await?;
            Ok(conn)
        };
        let begun = begun.await;
        span::ended(&span, begun.as_ref().err());
        begun
    }

    async fn acquire(&self) -> Result<PgTx, DbError> {
        Ok(PgTx::new(self.pool.acquire().await?))
    }
}

/// Runs the job once in the open transaction and ends it. Whether another transaction was in the way,
/// so that another attempt may succeed.
async fn attempt(tx: &mut Tx, service: &'static str, job: &mut dyn Job) -> bool {
    tx.renew();
    let verdict = job.run(tx).await;
    let refused = match &verdict {
        Verdict::Keep => tx.committable().err(),
        Verdict::Undo { .. } => None,
    };
    let Some(conn) = tx.pg() else { return false };
    let again = match (verdict, refused) {
        (Verdict::Undo { again }, _) => again,
        (Verdict::Keep, Some(error)) => failed(job, error),
        (Verdict::Keep, None) => {
            let span = span::statement(service, Dialect::Postgres, "COMMIT");
            let committed = conn.commit().await;
            span::ended(&span, committed.as_ref().err());
            match committed {
                Ok(()) => return false,
                Err(error) => failed(job, error.of_commit()),
            }
        }
    };
    conn.roll_back().await;
    again
}

/// Tells the job that the database refuses it; whether it may succeed another time.
fn failed(job: &mut dyn Job, error: DbError) -> bool {
    let again = error.is_serialization_failure();
    job.fail(error);
    again
}

/// Waits longer each time, and not all alike, so that the same writes do not meet again.
fn backoff(tries: u32) -> Duration {
    let most = 10_u64 << tries.min(5);
    Duration::from_millis(rand::random_range(1..=most))
}

/// Why a write's task gave no answer.
fn ended(error: tokio::task::JoinError) -> DbError {
    match error.is_panic() {
        true => {
            tracing::error!("a database job panicked");
            DbError::Panicked
        }
        false => DbError::Unavailable(Arc::new(error)),
    }
}

/// Creates the schema unless it is there. Asks first, because asking needs no right to create.
async fn ensure_schema(options: &PgConnectOptions, schema: &str) -> Result<(), DbError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let first = schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if !first || !schema.chars().all(plain) || schema.len() > 63 {
        return Err(DbError::Config(
            "a schema's name is made of a-z, 0-9 and _, at most 63",
        ));
    }
    let mut conn = options.clone().connect().await?;
    if !has_schema(&mut conn, schema).await? {
        let sql = pg_tx::sql_str(format!("CREATE SCHEMA IF NOT EXISTS {schema}").into());
        let created = conn.execute(sql).await;
        // Processes that create it at once collide in the catalogue; whoever lost looks again.
        if created.is_err() && !has_schema(&mut conn, schema).await? {
            created?;
        }
    }
    conn.close().await?;
    Ok(())
}

async fn has_schema(conn: &mut PgConnection, schema: &str) -> Result<bool, DbError> {
    let found = sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = $1")
        .bind(schema)
        .fetch_optional(conn)
        .await?;
    Ok(found.is_some())
}
