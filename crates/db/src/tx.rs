//! The transaction that a job of [`Db::write`](super::Db::write) or
//! [`Db::read`](super::Db::read) works in.

use futures::future::BoxFuture;
use tracing::Span;

use super::{DbError, Dialect, Row, Statement, conn::Conn, pg_tx::PgTx};
use crate::span;

/// An open transaction.
///
/// A statement that the database refuses spoils the transaction up to the innermost
/// [`Tx::nested`]: later statements and the commit fail with the same error. That is how
/// PostgreSQL works, so it is kept alike on SQLite.
pub struct Tx {
    backend: Backend,
    service: &'static str,
    /// The refusal that spoiled this level.
    spoiled: Option<DbError>,
    /// How many `nested` have begun and not ended.
    depth: u32,
}

enum Backend {
    Sqlite(Box<Conn>),
    Postgres(PgTx),
}

impl Tx {
    pub(super) fn sqlite(conn: Box<Conn>, service: &'static str) -> Self {
        Self::new(Backend::Sqlite(conn), service)
    }

    pub(super) fn postgres(tx: PgTx, service: &'static str) -> Self {
        Self::new(Backend::Postgres(tx), service)
    }

    fn new(backend: Backend, service: &'static str) -> Self {
        Self {
            backend,
            service,
            spoiled: None,
            depth: 0,
        }
    }

    /// Which SQL to write.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.backend {
            Backend::Sqlite(_) => Dialect::Sqlite,
            Backend::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The database's clock, in milliseconds since 1970: the one clock on which processes agree. Read
    /// before a statement that changes rows, and bound.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn clock_ms(&mut self) -> Result<i64, DbError> {
        let clock = self.dialect().clock_ms();
        self.query_one(clock, |row| row.req_int(0)).await
    }

    /// Runs a statement for its effect and answers how many rows it inserted, updated or deleted
    /// (after any other statement the number means nothing).
    pub async fn execute(&mut self, statement: impl Into<Statement>) -> Result<u64, DbError> {
        self.usable()?;
        let statement = statement.into();
        let span = self.span(&statement.sql);
        let result = match &mut self.backend {
            Backend::Sqlite(conn) => conn.execute(&statement),
            Backend::Postgres(tx) => tx.execute(statement).await,
        };
        span::ended(&span, &result);
        self.noted(result)
    }

    /// Runs several statements without values, separated by `;`: for DDL. They have no time limit.
    pub async fn execute_batch(
        &mut self,
        sql: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Result<(), DbError> {
        self.usable()?;
        let sql = sql.into();
        let span = self.span(&sql);
        let result = match &mut self.backend {
            Backend::Sqlite(conn) => conn.batch(&sql),
            Backend::Postgres(tx) => tx.batch(sql).await,
        };
        span::ended(&span, &result);
        self.noted(result)
    }

    /// Runs a query and maps its rows.
    pub async fn query<T, F>(
        &mut self,
        statement: impl Into<Statement>,
        map: F,
    ) -> Result<Vec<T>, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send,
        T: Send,
    {
        self.rows(statement.into(), usize::MAX, map).await
    }

    /// Runs a query and maps its first row, if it has one.
    pub async fn query_opt<T, F>(
        &mut self,
        statement: impl Into<Statement>,
        map: F,
    ) -> Result<Option<T>, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send,
        T: Send,
    {
        Ok(self.rows(statement.into(), 1, map).await?.pop())
    }

    /// Runs a query and maps its first row; without one, [`DbError::NoRow`].
    pub async fn query_one<T, F>(
        &mut self,
        statement: impl Into<Statement>,
        map: F,
    ) -> Result<T, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send,
        T: Send,
    {
        self.query_opt(statement, map).await?.ok_or(DbError::NoRow)
    }

    /// Runs `job` under a savepoint: when it fails, what it did is undone, its refused statement
    /// forgotten, and the transaction goes on.
    ///
    /// The error is the job's own, or that of a refused statement which the job ignored.
    pub async fn nested<T, E, F>(&mut self, job: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Self) -> BoxFuture<'t, Result<T, E>> + Send,
        T: Send,
        E: From<DbError> + Send,
    {
        self.usable()?;
        let begun = self.bound("SAVEPOINT om_nested").await;
        self.noted(begun)?;
        self.depth += 1;
        let done = job(self).await;
        // A refusal that the job swallowed has undone its work on PostgreSQL: that is no success.
        let done = match self.spoiled.take() {
            Some(refusal) => done.and(Err(refusal.into())),
            None => done,
        };
        let ended = match done {
            Ok(_) => self.bound("RELEASE SAVEPOINT om_nested").await,
            Err(_) => self.undo_nested().await,
        };
        self.depth -= 1;
        self.noted(ended)?;
        done
    }

    async fn undo_nested(&mut self) -> Result<(), DbError> {
        // SQLite has no savepoint any more if it ended the transaction by itself.
        if let Backend::Sqlite(conn) = &self.backend
            && !conn.in_transaction()
        {
            return Err(DbError::unavailable("SQLite rolled the transaction back"));
        }
        self.bound("ROLLBACK TO SAVEPOINT om_nested").await?;
        self.bound("RELEASE SAVEPOINT om_nested").await
    }

    async fn rows<T, F>(
        &mut self,
        statement: Statement,
        limit: usize,
        map: F,
    ) -> Result<Vec<T>, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send,
        T: Send,
    {
        self.usable()?;
        let span = self.span(&statement.sql);
        let result = match &mut self.backend {
            Backend::Sqlite(conn) => conn.query(&statement, limit, map),
            Backend::Postgres(tx) => tx.query(statement, limit, map).await,
        };
        span::ended(&span, &result);
        self.noted(result)
    }

    fn span(&self, sql: &str) -> Span {
        span::statement(self.service, self.dialect(), sql)
    }

    async fn bound(&mut self, sql: &'static str) -> Result<(), DbError> {
        match &mut self.backend {
            Backend::Sqlite(conn) => conn.bound(sql),
            Backend::Postgres(tx) => tx.bound(sql).await,
        }
    }

    fn usable(&self) -> Result<(), DbError> {
        match &self.spoiled {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(()),
        }
    }

    fn noted<T>(&mut self, result: Result<T, DbError>) -> Result<T, DbError> {
        if let Err(error) = &result
            && error.spoils_transaction()
        {
            self.spoiled = Some(error.clone());
        }
        result
    }

    /// Whether what was done may be committed; called once the job has answered `Ok`.
    pub(super) fn committable(&self) -> Result<(), DbError> {
        self.usable()?;
        match self.depth {
            0 => Ok(()),
            _ => Err(DbError::Unfinished),
        }
    }

    /// Makes it a fresh transaction for the next job.
    pub(super) fn renew(&mut self) {
        self.spoiled = None;
        self.depth = 0;
    }

    /// The SQLite connection below.
    pub(super) fn conn(&mut self) -> Option<&mut Conn> {
        match &mut self.backend {
            Backend::Sqlite(conn) => Some(conn),
            Backend::Postgres(_) => None,
        }
    }

    /// The PostgreSQL transaction below.
    pub(super) fn pg(&mut self) -> Option<&mut PgTx> {
        match &mut self.backend {
            Backend::Sqlite(_) => None,
            Backend::Postgres(tx) => Some(tx),
        }
    }
}
