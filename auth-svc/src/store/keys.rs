//! Ids of signing keys.

use mesh::{
    Result,
    db::{Row, Statement, Tx},
};
use time::OffsetDateTime;

use super::{Store, text};
use crate::domain::key::KeyId;

/// The ids whose tokens may still be in use: all but those retired before `retired_before`.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn key_ids(store: &Store, retired_before: OffsetDateTime) -> Result<Vec<KeyId>> {
    let statement = Statement::new(
        "SELECT kid, generation, created_at FROM auth_signing_key \
         WHERE retired_at IS NULL OR retired_at >= $1 ORDER BY generation DESC",
    )
    .bind(retired_before);
    let map = |row: &Row| {
        Ok(KeyId {
            id: text(row, 0)?,
            generation: row.req_int(1)?,
            created_at: row.req_datetime(2)?,
        })
    };
    Ok(store.db.query(statement, map).await?)
}

/// Adds an id and retires those before it. Replicas that add the same generation at once add
/// one id.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn add_key_id(store: &Store, key: KeyId) -> Result<()> {
    store
        .db
        .write(move |tx: &mut Tx| {
            let key = key.clone();
            Box::pin(async move {
                let insert = Statement::new(
                    "INSERT INTO auth_signing_key (kid, generation, created_at) \
                     VALUES ($1, $2, $3) ON CONFLICT (generation) DO NOTHING",
                )
                .bind(&key.id)
                .bind(key.generation)
                .bind(key.created_at);
                tx.execute(insert).await?;
                let retire = Statement::new(
                    "UPDATE auth_signing_key SET retired_at = $2 \
                     WHERE generation < $1 AND retired_at IS NULL",
                )
                .bind(key.generation)
                .bind(key.created_at);
                tx.execute(retire).await?;
                Ok::<_, mesh::Error>(())
            })
        })
        .await
}

/// Deletes what nobody asks for any more: key ids retired and sessions ended before `ended`,
/// misses older than `missed`.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn purge(
    store: &Store,
    ended: OffsetDateTime,
    missed: OffsetDateTime,
) -> Result<()> {
    store
        .db
        .write(move |tx: &mut Tx| {
            Box::pin(async move {
                let keys = "DELETE FROM auth_signing_key WHERE retired_at < $1";
                tx.execute(Statement::new(keys).bind(ended)).await?;
                let sessions = "DELETE FROM auth_session WHERE expires_at < $1";
                tx.execute(Statement::new(sessions).bind(ended)).await?;
                let misses = "DELETE FROM auth_failed_sign_in WHERE last_at < $1 \
                              AND (blocked_until IS NULL OR blocked_until < $1)";
                tx.execute(Statement::new(misses).bind(missed)).await?;
                Ok::<_, mesh::Error>(())
            })
        })
        .await
}
