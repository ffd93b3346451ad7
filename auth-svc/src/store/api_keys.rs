//! API keys.

use mesh::{
    Result,
    audit::Entry,
    db::{DbError, Row, Statement, Tx},
};
use time::OffsetDateTime;

use super::{
    Store, audit, opt_text, read_user,
    revocations::{self, revoke},
    text, user_columns,
    users::touch,
};
use crate::domain::{
    api_key::{ApiKey, KEYS_MAX, KeyHash},
    revocation::Revocation,
    user::User,
};

/// The columns that [`api_key`] reads, in its order.
macro_rules! key_columns {
    () => {
        "k.id, k.user_id, k.name, k.prefix, k.scopes, k.created_at, k.expires_at, k.last_used_at"
    };
}
const KEY_COLUMNS: usize = 8;

/// Keeps a new key. False when the user is gone or has as many as one may have.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn create_key(
    store: &Store,
    key: ApiKey,
    hash: KeyHash,
    entry: Entry,
) -> Result<bool> {
    store
        .db
        .write(move |tx: &mut Tx| {
            let (key, entry) = (key.clone(), entry.clone());
            Box::pin(async move {
                if !touch(tx, &key.user_id, entry.at).await? {
                    return Ok::<_, mesh::Error>(false);
                }
                let count = "SELECT count(*) FROM auth_api_key WHERE user_id = $1";
                let count = Statement::new(count).bind(&key.user_id);
                if tx.query_one(count, |row: &Row| row.req_int(0)).await? >= KEYS_MAX {
                    return Ok(false);
                }
                let insert = Statement::new(
                    "INSERT INTO auth_api_key (id, user_id, name, prefix, key_hash, scopes, \
                     created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                )
                .bind(&key.id)
                .bind(&key.user_id)
                .bind(&key.name)
                .bind(&key.prefix)
                .bind(hash.to_vec())
                .bind(key.scopes.as_ref().map(|scopes| scopes.join(",")))
                .bind(key.created_at)
                .bind(key.expires_at);
                tx.execute(insert).await?;
                audit::add(tx, &entry).await?;
                Ok(true)
            })
        })
        .await
}

/// The keys of a user, newest first.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn keys_of(store: &Store, user_id: &str) -> Result<Vec<ApiKey>> {
    const SQL: &str = concat!(
        "SELECT ",
        key_columns!(),
        " FROM auth_api_key k WHERE k.user_id = $1 ORDER BY k.created_at DESC, k.id DESC"
    );
    let statement = Statement::new(SQL).bind(user_id);
    Ok(store.db.query(statement, api_key).await?)
}

/// The key of an id, whoever owns it.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn find(store: &Store, id: &str) -> Result<Option<ApiKey>> {
    const SQL: &str = concat!(
        "SELECT ",
        key_columns!(),
        " FROM auth_api_key k WHERE k.id = $1"
    );
    let statement = Statement::new(SQL).bind(id);
    Ok(store.db.query_opt(statement, api_key).await?)
}

/// The key of that secret, its owner, and the position of the feed of revocations on the same
/// snapshot; also when the key has expired.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn key_by_hash(
    store: &Store,
    hash: &KeyHash,
) -> Result<Option<(ApiKey, User, i64)>> {
    const SQL: &str = concat!(
        "SELECT ",
        key_columns!(),
        ", ",
        user_columns!("u."),
        ", h.position FROM auth_api_key k JOIN auth_user u ON u.id = k.user_id \
         JOIN auth_revocation_head h ON h.id = 1 WHERE k.key_hash = $1"
    );
    let map = |row: &Row| {
        let position = row.req_int(KEY_COLUMNS + super::USER_COLUMNS)?;
        Ok((api_key(row)?, read_user(row, KEY_COLUMNS)?, position))
    };
    let statement = Statement::new(SQL).bind(hash.to_vec());
    Ok(store.db.query_opt(statement, map).await?)
}

/// Notes that a key is in use.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn key_used(store: &Store, id: &str, now: OffsetDateTime) -> Result<()> {
    let statement = "UPDATE auth_api_key SET last_used_at = $2 WHERE id = $1";
    let statement = Statement::new(statement).bind(id).bind(now);
    store.db.execute(statement).await?;
    Ok(())
}

/// Ends a key. False when there is none any more.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn delete_key(store: &Store, id: &str, entry: Entry) -> Result<bool> {
    let id = id.to_owned();
    let deleted = store
        .db
        .write(move |tx: &mut Tx| {
            let (id, entry) = (id.clone(), entry.clone());
            Box::pin(async move {
                let delete = "DELETE FROM auth_api_key WHERE id = $1";
                if tx.execute(Statement::new(delete).bind(&id)).await? == 0 {
                    return Ok::<_, mesh::Error>(false);
                }
                audit::add(tx, &entry).await?;
                revoke(tx, entry.at, &[Revocation::Key(id)]).await?;
                Ok(true)
            })
        })
        .await?;
    revocations::wake_feed(store);
    Ok(deleted)
}

/// Ends all keys of a user; the feed tells of the user as a whole.
pub(super) async fn end_all(tx: &mut Tx, user_id: &str) -> Result<(), DbError> {
    let delete = "DELETE FROM auth_api_key WHERE user_id = $1";
    tx.execute(Statement::new(delete).bind(user_id)).await?;
    Ok(())
}

fn api_key(row: &Row) -> Result<ApiKey, DbError> {
    Ok(ApiKey {
        id: text(row, 0)?,
        user_id: text(row, 1)?,
        name: text(row, 2)?,
        prefix: text(row, 3)?,
        scopes: opt_text(row, 4)?.map(|list| list.split(',').map(ToOwned::to_owned).collect()),
        created_at: row.req_datetime(5)?,
        expires_at: row.datetime(6)?,
        last_used_at: row.datetime(7)?,
    })
}
