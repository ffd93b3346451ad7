//! One PostgreSQL connection and the transaction on it.

use std::borrow::Cow;

use futures::TryStreamExt as _;
use sqlx::{
    Arguments as _, AssertSqlSafe, Connection as _, Executor as _, Postgres, SqlSafeStr as _,
    SqlStr,
    encode::{Encode, IsNull},
    error::BoxDynError,
    pool::PoolConnection,
    postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo},
    query::Query,
};

use super::{DbError, Row, Statement, Value, error, job::OnRow, text};

/// A connection out of the pool, and the transaction on it.
///
/// Transactions are begun and ended here rather than by sqlx, whose type gives its connection away
/// with the first rollback: another attempt belongs on the connection whose plans were renewed.
pub(super) struct PgTx {
    conn: PoolConnection<Postgres>,
    /// Whether a transaction is open, or may be.
    open: bool,
    /// Whether a prepared statement turned out to be older than the schema.
    stale: bool,
}

impl PgTx {
    pub(super) fn new(conn: PoolConnection<Postgres>) -> Self {
        Self {
            conn,
            open: false,
            stale: false,
        }
    }

    pub(super) async fn begin(&mut self, sql: &'static str) -> Result<(), DbError> {
        self.open = true;
        self.bound(sql).await
    }

    pub(super) async fn commit(&mut self) -> Result<(), DbError> {
        self.bound("COMMIT").await?;
        self.open = false;
        Ok(())
    }

    /// Undoes the transaction.
    pub(super) async fn roll_back(&mut self) {
        match self.bound("ROLLBACK").await {
            Ok(()) => self.open = false,
            Err(error) => tracing::debug!(%error, "a transaction could not be rolled back"),
        }
        self.forget_stale().await;
    }

    /// Throws the prepared statements away if one was stale; true if so. Not inside a transaction.
    pub(super) async fn forget_stale(&mut self) -> bool {
        let stale = std::mem::take(&mut self.stale);
        if stale && let Err(error) = self.conn.clear_cached_statements().await {
            tracing::debug!(%error, "prepared statements could not be thrown away");
        }
        stale
    }

    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64, DbError> {
        let query = prepared(statement)?;
        let done = query.execute(&mut *self.conn).await;
        Ok(done.map_err(|error| self.noted(error))?.rows_affected())
    }

    /// Runs a query and hands out its first `limit` rows.
    pub(super) async fn query(
        &mut self,
        statement: Statement,
        limit: usize,
        on_row: &mut OnRow<'_>,
    ) -> Result<(), DbError> {
        let query = prepared(statement)?;
        let mut left = limit;
        let mut rows = query.fetch(&mut *self.conn);
        let failed = loop {
            match rows.try_next().await {
                // The rows beyond the limit are taken off the wire, or the next statement would.
                Ok(Some(_)) if left == 0 => {}
                Ok(Some(row)) => {
                    left -= 1;
                    on_row(&Row::postgres(&row))?;
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        drop(rows);
        match failed {
            None => Ok(()),
            Some(error) => Err(self.noted(error)),
        }
    }

    /// Runs several statements without values and without a time limit.
    pub(super) async fn batch(&mut self, sql: Cow<'static, str>) -> Result<(), DbError> {
        self.bound("SET LOCAL statement_timeout = 0").await?;
        self.conn.execute(sql_str(sql)).await?;
        self.bound("SET LOCAL statement_timeout = DEFAULT").await
    }

    /// Runs one statement outside any transaction and without a time limit. A connection on which
    /// that failed, or was given up, is not used again.
    pub(super) async fn unbounded(&mut self, sql: Cow<'static, str>) -> Result<(), DbError> {
        self.open = true;
        self.bound("SET statement_timeout = 0").await?;
        self.conn.execute(sql_str(sql)).await?;
        self.bound("RESET statement_timeout").await?;
        self.open = false;
        Ok(())
    }

    /// Runs one of the statements that bound a transaction.
    pub(super) async fn bound(&mut self, sql: &'static str) -> Result<(), DbError> {
        self.conn.execute(sql).await?;
        Ok(())
    }

    fn noted(&mut self, error: sqlx::Error) -> DbError {
        self.stale |= error::is_stale_plan(&error);
        error.into()
    }
}

impl Drop for PgTx {
    /// A transaction that was left open (its job panicked, its reader went away) ends with its
    /// connection.
    fn drop(&mut self) {
        if self.open {
            self.conn.close_on_drop();
        }
    }
}

/// The only place where SQL that was put together at run time reaches the driver. It is safe
/// because identifiers in it come from the registry and values are bound.
pub(super) fn sql_str(sql: Cow<'static, str>) -> SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}

fn prepared(statement: Statement) -> Result<Query<'static, Postgres, PgArguments>, DbError> {
    let mut args = PgArguments::default();
    for value in statement.args {
        value.check()?;
        bind(&mut args, value).map_err(|_| DbError::Value("PostgreSQL has no form for it"))?;
    }
    let query = sqlx::query_with(sql_str(statement.sql), args);
    Ok(query.persistent(!statement.once))
}

fn bind(args: &mut PgArguments, value: Value) -> Result<(), BoxDynError> {
    match value {
        Value::Text(value) => args.add(value),
        Value::Int(value) => args.add(value),
        Value::Double(value) => args.add(value),
        Value::Bool(value) => args.add(value),
        Value::Decimal(value) => args.add(value.map(|value| value.normalize())),
        Value::Date(value) => args.add(value),
        Value::Time(value) => args.add(value.map(text::cut_time)),
        Value::DateTime(value) => args.add(value.map(text::cut)),
        Value::Json(value) => args.add(value.map(JsonText)),
        Value::Bytes(value) => args.add(value),
        Value::TextArray(values) => args.add(values),
    }
}

/// JSON text that is sent as it is, without parsing it first.
struct JsonText(String);

impl sqlx::Type<Postgres> for JsonText {
    fn type_info() -> PgTypeInfo {
        <sqlx::types::Json<()> as sqlx::Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for JsonText {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // The version of JSONB's binary form; the text follows.
        buffer.push(1);
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}
