//! Passwords, and what hangs on them: every change here ends or begins sessions.

use mesh::{
    Result,
    audit::Entry,
    db::{DbError, Row, Statement, Tx},
};
use time::OffsetDateTime;

use super::{
    Store, USER_COLUMNS, api_keys, audit, opt_text, read_user,
    revocations::{self, revoke},
    sessions, text, throttle, user_columns,
    users::touch,
};
use crate::domain::{
    revocation::Revocation,
    session::{Session, TokenHash},
    throttle::AccountKey,
    user::User,
};

/// The provider of accounts with a password.
const CREDENTIAL: &str = "credential";

/// The user with that address, and the hash of their password.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn credential(
    store: &Store,
    email: &str,
) -> Result<Option<(User, Option<String>)>> {
    const SQL: &str = concat!(
        "SELECT ",
        user_columns!("u."),
        ", a.password_hash FROM auth_user u \
         LEFT JOIN auth_account a ON a.user_id = u.id AND a.provider_id = 'credential' WHERE u.email = $1"
    );
    let map = |row: &Row| Ok((read_user(row, 0)?, opt_text(row, USER_COLUMNS)?));
    Ok(store
        .db
        .query_opt(Statement::new(SQL).bind(email), map)
        .await?)
}

/// The hash of a user's password.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn password_hash(store: &Store, user_id: &str) -> Result<Option<String>> {
    let statement = read_password(user_id);
    Ok(store
        .db
        .query_opt(statement, |row: &Row| text(row, 0))
        .await?)
}

/// Begins a session for a user whose password was found right, and forgets their misses.
/// `None` when the user or the password changed since `password_hash` was read.
///
/// # Errors
/// BANNED_USER; when the database cannot be written.
pub(crate) async fn sign_in(
    store: &Store,
    session: Session,
    password_hash: String,
    account: AccountKey,
    entry: Entry,
) -> Result<Option<User>> {
    store
        .db
        .write(move |tx: &mut Tx| {
            let (session, password_hash, entry) =
                (session.clone(), password_hash.clone(), entry.clone());
            Box::pin(async move {
                const LOCK: &str = concat!(
                    "UPDATE auth_user SET last_sign_in_at = $2 WHERE id = $1 RETURNING ",
                    user_columns!("")
                );
                let now = session.created_at;
                let lock = Statement::new(LOCK).bind(&session.user_id).bind(now);
                let Some(user) = tx.query_opt(lock, |row: &Row| read_user(row, 0)).await? else {
                    return Ok::<_, mesh::Error>(None);
                };
                if !password_is(tx, &user.id, &password_hash).await? {
                    return Ok(None);
                }
                user.may_sign_in(now)?;
                throttle::forgive(tx, &account).await?;
                sessions::begin(tx, &session).await?;
                audit::add(tx, &entry).await?;
                Ok(Some(user))
            })
        })
        .await
}

/// Replaces a password and every session of its user by the one given, and ends their keys.
/// `None` when the password changed since `old_hash` was read.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn change_password(
    store: &Store,
    session: Session,
    old_hash: String,
    new_hash: String,
    account: AccountKey,
    entry: Entry,
) -> Result<Option<Vec<TokenHash>>> {
    let ended = store
        .db
        .write(move |tx: &mut Tx| {
            let (session, entry) = (session.clone(), entry.clone());
            let (old_hash, new_hash) = (old_hash.clone(), new_hash.clone());
            Box::pin(async move {
                let (user_id, now) = (&session.user_id, session.created_at);
                if !touch(tx, user_id, now).await? || !password_is(tx, user_id, &old_hash).await? {
                    return Ok::<_, mesh::Error>(None);
                }
                put_password(tx, user_id, &new_hash, now).await?;
                throttle::forgive(tx, &account).await?;
                let ended = end_everything(tx, user_id).await?;
                sessions::begin(tx, &session).await?;
                audit::add(tx, &entry).await?;
                revoke(tx, now, &[Revocation::User(user_id.clone())]).await?;
                Ok(Some(ended))
            })
        })
        .await?;
    revocations::wake_feed(store);
    Ok(ended)
}

/// Sets a user's password and ends their sessions and keys. `None` when there is no such user.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn set_password(
    store: &Store,
    user_id: &str,
    new_hash: String,
    accounts: Vec<AccountKey>,
    entry: Entry,
) -> Result<Option<Vec<TokenHash>>> {
    let user_id = user_id.to_owned();
    let ended = store
        .db
        .write(move |tx: &mut Tx| {
            let (user_id, new_hash) = (user_id.clone(), new_hash.clone());
            let (accounts, entry) = (accounts.clone(), entry.clone());
            Box::pin(async move {
                if !touch(tx, &user_id, entry.at).await? {
                    return Ok::<_, mesh::Error>(None);
                }
                put_password(tx, &user_id, &new_hash, entry.at).await?;
                for account in &accounts {
                    throttle::forgive(tx, account).await?;
                }
                let ended = end_everything(tx, &user_id).await?;
                audit::add(tx, &entry).await?;
                revoke(tx, entry.at, &[Revocation::User(user_id)]).await?;
                Ok(Some(ended))
            })
        })
        .await?;
    revocations::wake_feed(store);
    Ok(ended)
}

/// Ends every session and key of a user; tells which sessions. The caller revokes the user.
pub(super) async fn end_everything(tx: &mut Tx, user_id: &str) -> Result<Vec<TokenHash>, DbError> {
    api_keys::end_all(tx, user_id).await?;
    sessions::end_all(tx, user_id).await
}

pub(super) async fn put_password(
    tx: &mut Tx,
    user_id: &str,
    hash: &str,
    now: OffsetDateTime,
) -> Result<(), DbError> {
    let statement = Statement::new(
        "INSERT INTO auth_account (user_id, provider_id, password_hash, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $4) \
         ON CONFLICT (user_id, provider_id) DO UPDATE SET password_hash = $3, updated_at = $4",
    )
    .bind(user_id)
    .bind(CREDENTIAL)
    .bind(hash)
    .bind(now);
    tx.execute(statement).await?;
    Ok(())
}

/// Whether the hash is still the user's. Read after the user's row was locked.
async fn password_is(tx: &mut Tx, user_id: &str, hash: &str) -> Result<bool, DbError> {
    let stored = tx
        .query_opt(read_password(user_id), |row: &Row| text(row, 0))
        .await?;
    Ok(stored.as_deref() == Some(hash))
}

fn read_password(user_id: &str) -> Statement {
    Statement::new("SELECT password_hash FROM auth_account WHERE user_id = $1 AND provider_id = $2")
        .bind(user_id)
        .bind(CREDENTIAL)
}
