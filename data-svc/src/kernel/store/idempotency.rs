//! First answers of calls that carried an `Idempotency-Key`.

use mesh::db::{Db, DbError, Statement, Tx};
use time::OffsetDateTime;

/// A key, and whose it is.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct Key {
    /// The principal.
    pub(in crate::kernel) principal: String,
    /// The key.
    pub(in crate::kernel) key: String,
}

/// What is kept under a key.
#[derive(Debug)]
pub(in crate::kernel) struct StoredResponse {
    /// Hash of what was asked.
    pub(in crate::kernel) request_hash: String,
    /// What was answered.
    pub(in crate::kernel) response: String,
}

/// What is kept under a key since then.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn find(
    db: &Db,
    key: &Key,
    since: OffsetDateTime,
) -> Result<Option<StoredResponse>, DbError> {
    let statement = Statement::new(
        "SELECT request_hash, response FROM om_idempotency \
         WHERE principal = $1 AND idempotency_key = $2 AND created_at >= $3",
    )
    .bind(&*key.principal)
    .bind(&*key.key)
    .bind(since);
    db.query_opt(statement, |row| {
        Ok(StoredResponse {
            request_hash: row.req_text(0)?.to_owned(),
            response: row.req_text(1)?.to_owned(),
        })
    })
    .await
}

/// Whether anything is kept under a key since then.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn is_kept(
    tx: &mut Tx,
    key: &Key,
    since: OffsetDateTime,
) -> Result<bool, DbError> {
    let statement = Statement::new(
        "SELECT 1 FROM om_idempotency \
         WHERE principal = $1 AND idempotency_key = $2 AND created_at >= $3",
    )
    .bind(&*key.principal)
    .bind(&*key.key)
    .bind(since);
    Ok(tx.query_opt(statement, |_| Ok(())).await?.is_some())
}

/// Keeps an answer under a key, and forgets those of before `since`. False when the key is taken.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn keep(
    tx: &mut Tx,
    key: &Key,
    kept: &StoredResponse,
    now: OffsetDateTime,
    since: OffsetDateTime,
) -> Result<bool, DbError> {
    let forget = Statement::new("DELETE FROM om_idempotency WHERE created_at < $1").bind(since);
    tx.execute(forget).await?;
    let claim = Statement::new(
        "INSERT INTO om_idempotency (principal, idempotency_key, request_hash, response, created_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (principal, idempotency_key) DO NOTHING",
    )
    .bind(&*key.principal)
    .bind(&*key.key)
    .bind(&*kept.request_hash)
    .bind(&*kept.response)
    .bind(now);
    Ok(tx.execute(claim).await? > 0)
}
