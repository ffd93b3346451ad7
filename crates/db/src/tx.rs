//! The transaction that a job of [`Db::write`](super::Db::write) or
//! [`Db::read`](super::Db::read) works in.

use futures::future::{BoxFuture, Either, Ready, ready};
use tracing::Span;

use super::{DbError, Dialect, Row, Statement, conn::Conn, job::OnRow, pg_tx::PgTx};
use crate::span;

/// What a statement answers: at once on SQLite, where nobody waits.
pub type Answer<'t, T> = Either<Ready<Result<T, DbError>>, BoxFuture<'t, Result<T, DbError>>>;

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
    pub fn execute<'t>(&'t mut self, statement: impl Into<Statement>) -> Answer<'t, u64> {
        self.change(statement.into())
    }

    fn change(&mut self, statement: Statement) -> Answer<'_, u64> {
        let (span, spoiled) = match self.usable() {
            Ok(()) => (self.span(&statement.sql), &mut self.spoiled),
            Err(error) => return at_once(Err(error)),
        };
        match &mut self.backend {
            Backend::Sqlite(conn) => at_once(noted(spoiled, &span, conn.execute(&statement))),
            Backend::Postgres(tx) => Answer::Right(Box::pin(async move {
                let done = tx.execute(statement).await;
                noted(spoiled, &span, done)
            })),
        }
    }

    /// Runs several statements without values, separated by `;`: for DDL. They have no time limit.
    pub fn execute_batch<'t>(
        &'t mut self,
        sql: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Answer<'t, ()> {
        self.batch(sql.into())
    }

    fn batch(&mut self, sql: std::borrow::Cow<'static, str>) -> Answer<'_, ()> {
        let (span, spoiled) = match self.usable() {
            Ok(()) => (self.span(&sql), &mut self.spoiled),
            Err(error) => return at_once(Err(error)),
        };
        match &mut self.backend {
            Backend::Sqlite(conn) => at_once(noted(spoiled, &span, conn.batch(&sql))),
            Backend::Postgres(tx) => Answer::Right(Box::pin(async move {
                let done = tx.batch(sql).await;
                noted(spoiled, &span, done)
            })),
        }
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
        self.enter_nested().await?;
        let done = job(self).await;
        // A refusal that the job swallowed has undone its work on PostgreSQL: that is no success.
        let done = match self.spoiled.take() {
            Some(refusal) => done.and(Err(refusal.into())),
            None => done,
        };
        self.leave_nested(done.is_ok()).await?;
        done
    }

    fn enter_nested(&mut self) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(async move {
            self.usable()?;
            let begun = self.bound("SAVEPOINT om_nested").await;
            self.noted(begun)?;
            self.depth += 1;
            Ok(())
        })
    }

    fn leave_nested(&mut self, keep: bool) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(async move {
            let ended = match keep {
                true => self.bound("RELEASE SAVEPOINT om_nested").await,
                false => self.undo_nested().await,
            };
            self.depth -= 1;
            self.noted(ended)
        })
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
        mut map: F,
    ) -> Result<Vec<T>, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send,
        T: Send,
    {
        let mut mapped = Vec::new();
        let mut on_row = |row: &Row<'_>| {
            mapped.push(map(row)?);
            Ok(())
        };
        self.each(statement, limit, &mut on_row).await?;
        Ok(mapped)
    }

    /// Runs a query and hands out its first `limit` rows.
    fn each<'t>(
        &'t mut self,
        statement: Statement,
        limit: usize,
        on_row: &'t mut OnRow<'_>,
    ) -> Answer<'t, ()> {
        let (span, spoiled) = match self.usable() {
            Ok(()) => (self.span(&statement.sql), &mut self.spoiled),
            Err(error) => return at_once(Err(error)),
        };
        match &mut self.backend {
            Backend::Sqlite(conn) => {
                at_once(noted(spoiled, &span, conn.query(&statement, limit, on_row)))
            }
            Backend::Postgres(tx) => Answer::Right(Box::pin(async move {
                let done = tx.query(statement, limit, on_row).await;
                noted(spoiled, &span, done)
            })),
        }
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

    fn noted(&mut self, result: Result<(), DbError>) -> Result<(), DbError> {
        noted(&mut self.spoiled, &Span::none(), result)
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

fn at_once<'t, T>(result: Result<T, DbError>) -> Answer<'t, T> {
    Answer::Left(ready(result))
}

/// Ends the statement's span, and keeps a refusal that spoils the transaction.
fn noted<T>(
    spoiled: &mut Option<DbError>,
    span: &Span,
    result: Result<T, DbError>,
) -> Result<T, DbError> {
    span::ended(span, result.as_ref().err());
    if let Err(error) = &result
        && error.spoils_transaction()
    {
        *spoiled = Some(error.clone());
    }
    result
}
