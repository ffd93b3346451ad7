//! A service's database: SQLite through rusqlite or PostgreSQL through sqlx, behind one door.
//!
//! Callers see neither driver: they bind [`Value`]s, read [`Row`]s and match on [`DbError`].
//! Reads go to a pool. Writes are jobs, because SQLite has one writer that gives many of them one
//! commit, and because PostgreSQL may ask to run one again.
//!
//! Invariant: a write that was acknowledged is committed and synced.

pub mod clock;
mod conn;
mod error;
pub mod id;
mod job;
pub mod lease;
mod migrate;
mod pg_tx;
mod postgres;
pub mod queue;
mod readers;
mod row;
pub mod span;
mod sqlite;
mod table_versions;
mod text;
mod tx;
mod value;
pub mod watched;
mod writer;

use std::{borrow::Cow, fmt, time::Duration};

pub use futures::future::BoxFuture;
use serde::{Deserialize, Deserializer};

use self::job::{Job, Typed};
pub use self::{
    error::{DbError, Retry, Source},
    migrate::Migration,
    postgres::Postgres,
    row::Row,
    sqlite::Sqlite,
    tx::{Answer, Tx},
    value::{ColumnType, Dialect, Statement, Value},
};

// The futures of PostgreSQL's driver are ten times as large as SQLite's, so they are boxed here:
// every caller's future would otherwise be as large, on SQLite too. And what has no types of its
// caller is boxed, so that it is compiled here and not in every crate that awaits it.

/// Tells how busy a database is; `None` once it is closed.
pub type Watch = dyn Fn() -> Option<[(&'static str, usize); 2]> + Send;

/// One service's database. Clones share the connections.
#[derive(Clone)]
pub enum Db {
    /// A file on this machine.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Postgres),
}

/// Which database to open, and how; also a section of a service's configuration.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DbConfig {
    /// The service whose database it is, named in traces and metrics.
    #[serde(skip)]
    pub service: &'static str,
    /// `sqlite:<path>`, or `postgres://user:password@host:port/database`.
    pub url: String,
    /// PostgreSQL: the schema that unqualified names mean, created if missing. Made of `a-z`,
    /// `0-9` and `_`. Without it, the role's own search path. SQLite has no schemas and ignores it.
    pub schema: Option<String>,
    /// SQLite: how many queries run at the same time. Default 4.
    pub readers: u32,
    /// PostgreSQL: connections of this process at most. Default 10.
    pub max_connections: u32,
    /// A statement that runs longer is stopped; a caller that waits longer for a connection or
    /// for the writer is refused. Default 10 s; configured as `statement_timeout_ms`.
    #[serde(rename = "statement_timeout_ms", deserialize_with = "milliseconds")]
    pub statement_timeout: Duration,
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

impl Default for DbConfig {
    /// Names no database: the URL is still to be set.
    fn default() -> Self {
        Self {
            service: "",
            url: String::new(),
            schema: None,
            readers: 4,
            max_connections: 10,
            statement_timeout: Duration::from_secs(10),
        }
    }
}

impl DbConfig {
    /// The defaults for a database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..Self::default()
        }
    }
}

impl fmt::Debug for DbConfig {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.url.split(':').next().unwrap_or_default();
        f.debug_struct("DbConfig")
            .field("scheme", &scheme)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Db").field(&self.dialect()).finish()
    }
}

impl Db {
    /// Opens a database; a SQLite file and its folder are created if they are missing.
    ///
    /// # Errors
    /// [`DbError::Config`] for a URL or schema of the wrong form, [`DbError::Unavailable`] when
    /// the server or file cannot be opened.
    pub fn open(config: &DbConfig) -> BoxFuture<'_, Result<Self, DbError>> {
        Box::pin(Self::open_either(config))
    }

    async fn open_either(config: &DbConfig) -> Result<Self, DbError> {
        if let Some(path) = config.url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(":memory:") {
                return Err(DbError::Config("a SQLite URL names a file: sqlite:<path>"));
            }
            let timeout = config.statement_timeout;
            return Sqlite::open(path.into(), config.service, config.readers, timeout)
                .await
                .map(Self::Sqlite);
        }
        if config.url.starts_with("postgres://") || config.url.starts_with("postgresql://") {
            return Postgres::open(config).await.map(Self::Postgres);
        }
        Err(DbError::Config(
            "the URL begins with neither sqlite: nor postgres://",
        ))
    }

    /// Which SQL to write.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// See [`Tx::clock_ms`].
    ///
    /// # Errors
    /// Those of the database.
    pub fn clock_ms(&self) -> BoxFuture<'_, Result<i64, DbError>> {
        let clock = self.dialect().clock_ms();
        Box::pin(self.query_one(clock, |row| row.req_int(0)))
    }

    /// How many commits of this process have changed a table: what was worked out of it is still right
    /// while that is the same. It has moved before whoever changed the table is told. `None` on
    /// PostgreSQL, where other processes write.
    #[must_use]
    pub fn table_version(&self, table: &str) -> Option<u64> {
        match self {
            Self::Sqlite(db) => Some(db.table_version(table)),
            Self::Postgres(_) => None,
        }
    }

    fn service(&self) -> &'static str {
        match self {
            Self::Sqlite(db) => db.service(),
            Self::Postgres(db) => db.service(),
        }
    }

    /// Applies the migrations that are missing, in order, each in its own transaction. Safe when
    /// several processes do it at once. Versions that the database has and the list has not are
    /// left alone: a newer process made them.
    ///
    /// # Errors
    /// [`DbError::Migration`] when one was edited after it was applied, or is refused.
    pub fn migrate<'m>(
        &'m self,
        migrations: &'m [Migration],
    ) -> BoxFuture<'m, Result<(), DbError>> {
        Box::pin(migrate::run(self, migrations))
    }

    /// Runs a query outside any transaction and maps its rows. `map` runs where the rows are: on
    /// SQLite on the reader's thread. A caller that drops the future stops the query on SQLite;
    /// PostgreSQL finishes it, at most until the statement timeout.
    pub async fn query<T, F>(
        &self,
        statement: impl Into<Statement>,
        map: F,
    ) -> Result<Vec<T>, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send + 'static,
        T: Send + 'static,
    {
        self.rows(statement.into(), usize::MAX, map).await
    }

    /// Like [`Db::query`] for the first row, if there is one.
    pub async fn query_opt<T, F>(
        &self,
        statement: impl Into<Statement>,
        map: F,
    ) -> Result<Option<T>, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.rows(statement.into(), 1, map).await?.pop())
    }

    /// Like [`Db::query`] for the first row; without one, [`DbError::NoRow`].
    pub async fn query_one<T, F>(
        &self,
        statement: impl Into<Statement>,
        map: F,
    ) -> Result<T, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send + 'static,
        T: Send + 'static,
    {
        self.query_opt(statement, map).await?.ok_or(DbError::NoRow)
    }

    async fn rows<T, F>(
        &self,
        statement: Statement,
        limit: usize,
        mut map: F,
    ) -> Result<Vec<T>, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send + 'static,
        T: Send + 'static,
    {
        let span = span::statement(self.service(), self.dialect(), &statement.sql);
        let done = match self {
            Self::Sqlite(db) => db.rows(statement, limit, map).await,
            Self::Postgres(db) => {
                let mut mapped = Vec::new();
                let mut on_row = |row: &Row<'_>| {
                    mapped.push(map(row)?);
                    Ok(())
                };
                let done = db.rows(statement, limit, &mut on_row).await;
                done.map(|()| mapped)
            }
        };
        span::ended(&span, done.as_ref().err());
        done
    }

    /// Runs several statements on one snapshot, in which nothing can be changed. The job awaits
    /// nothing but its transaction, and runs once.
    pub async fn read<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (mut job, result) = Typed::new(job, |_| false);
        let ended = match self {
            Self::Sqlite(db) => db.read(Box::new(job)).await,
            Self::Postgres(db) => db.read(&mut job).await,
        };
        job::result(ended, &result)
    }

    /// Runs a job in a transaction; answers once it is committed, or rolled back because the job
    /// failed.
    ///
    /// The job awaits nothing but its transaction (SQLite's writer waits for nobody: it fails
    /// with [`DbError::Unfinished`]), does nothing outside it, and may run more than once: on
    /// PostgreSQL up to six times while other transactions are in the way, on SQLite when the
    /// commit it shared fell to another job's fault. Once handed over it runs to its end even if
    /// the caller drops the future. It must not run `COMMIT`, `ROLLBACK` or savepoints by itself.
    ///
    /// On SQLite the commit is shared with the jobs that wait at the same time; on PostgreSQL the
    /// transaction is READ COMMITTED.
    pub async fn write<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Retry + Send + 'static,
    {
        let (job, result) = Typed::new(job, E::is_serialization_failure);
        let ended = self.run(Box::new(job), false).await;
        job::result(ended, &result)
    }

    /// Like [`Db::write`], but on SQLite too the job has its commit for itself: for one that may
    /// take long, so that nobody else's write waits for its end, and for schema changes.
    pub async fn write_alone<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Retry + Send + 'static,
    {
        let (job, result) = Typed::new(job, E::is_serialization_failure);
        let ended = self.run(Box::new(job), true).await;
        job::result(ended, &result)
    }

    /// Runs a job in a transaction. An error: the job was not run, or panicked.
    fn run(&self, job: Box<dyn Job>, alone: bool) -> BoxFuture<'_, Result<(), DbError>> {
        match self {
            Self::Sqlite(db) => Box::pin(db.write(job, alone)),
            Self::Postgres(db) => db.write(job),
        }
    }

    /// Runs one statement as a [`Db::write`] of its own; answers the rows it changed.
    pub fn execute<'s>(
        &'s self,
        statement: impl Into<Statement>,
    ) -> BoxFuture<'s, Result<u64, DbError>> {
        self.change(statement.into())
    }

    fn change(&self, statement: Statement) -> BoxFuture<'_, Result<u64, DbError>> {
        Box::pin(async move {
            match self {
                Self::Sqlite(_) => {
                    self.write(move |tx| {
                        let statement = statement.clone();
                        Box::pin(tx.execute(statement))
                    })
                    .await
                }
                Self::Postgres(db) => {
                    let span = span::statement(db.service(), Dialect::Postgres, &statement.sql);
                    let done = db.execute(statement).await;
                    span::ended(&span, done.as_ref().err());
                    done
                }
            }
        })
    }

    /// Runs one statement of DDL without values and without a time limit; on PostgreSQL outside
    /// any transaction, as `CREATE INDEX CONCURRENTLY` asks for. Unlike a write it stops when the
    /// caller drops the future.
    pub fn execute_unbounded<'s>(
        &'s self,
        sql: impl Into<Cow<'static, str>>,
    ) -> BoxFuture<'s, Result<(), DbError>> {
        self.unbounded(sql.into())
    }

    fn unbounded(&self, sql: Cow<'static, str>) -> BoxFuture<'_, Result<(), DbError>> {
        match self {
            Self::Sqlite(_) => Box::pin(self.write_alone(move |tx| {
                let sql = sql.clone();
                Box::pin(tx.execute_batch(sql))
            })),
            Self::Postgres(db) => Box::pin(db.unbounded(sql)),
        }
    }

    /// Tells how much is waiting for the database, for as long as it is open: queries and writes
    /// that wait on SQLite, connections open and idle on PostgreSQL.
    pub fn watch(&self) -> Box<Watch> {
        match self {
            Self::Sqlite(db) => Box::new(db.watch()),
            Self::Postgres(db) => Box::new(db.watch()),
        }
    }

    /// Whether the database answers.
    pub fn ping(&self) -> BoxFuture<'_, Result<(), DbError>> {
        match self {
            Self::Sqlite(db) => Box::pin(db.ping()),
            Self::Postgres(db) => Box::pin(db.ping()),
        }
    }

    /// Lets queries and writes under way end (for at most the statement timeout, writes on SQLite
    /// all of them), then closes the connections. Later calls are refused.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        match self {
            Self::Sqlite(db) => Box::pin(db.close()),
            Self::Postgres(db) => Box::pin(db.close()),
        }
    }
}
