//! Sessions.

use mesh::{
    Result,
    audit::Entry,
    db::{
        DbError, Row, Statement, Tx,
        queue::{self, NewJob},
    },
};
use time::OffsetDateTime;

use super::{
    SESSION_COLUMNS, Store, USER_COLUMNS, audit, hash, read_session, read_user,
    revocations::{self, revoke},
    session_columns, text, user_columns,
};
use crate::domain::{
    revocation::Revocation,
    session::{Session, TokenHash},
    user::User,
};

/// The jobs that tell the session store of sessions that ended together: the hashes of their tokens, in
/// hexadecimal digits and with commas.
pub(crate) const ANNOUNCE_END: &str = "session_end";
/// How long the call that ended a session has to announce it, in milliseconds, before a worker does.
const BY_ITSELF_MS: i64 = 2_000;

/// Which sessions of a user to end.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    /// The one of that id, or of that token.
    One {
        /// Id.
        id: String,
        /// Hash of the token.
        token_hash: TokenHash,
    },
    /// All but the one of that id.
    AllBut(String),
    /// All.
    All,
}

/// The session of a token, its user, and the position of the feed of revocations on the same
/// snapshot; also when the session has expired.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn session_by_token(
    store: &Store,
    token_hash: &TokenHash,
) -> Result<Option<(Session, User, i64)>> {
    const SQL: &str = concat!(
        "SELECT ",
        session_columns!("s."),
        ", ",
        user_columns!("u."),
        ", h.position FROM auth_session s JOIN auth_user u ON u.id = s.user_id \
         JOIN auth_revocation_head h ON h.id = 1 WHERE s.token_hash = $1"
    );
    let map = |row: &Row| {
        let (session, user) = with_user(row)?;
        Ok((session, user, row.req_int(SESSION_COLUMNS + USER_COLUMNS)?))
    };
    let statement = Statement::new(SQL).bind(token_hash.to_vec());
    Ok(store.db.query_opt(statement, map).await?)
}

/// The session of an id and its user, also when it has expired.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn session_by_id(store: &Store, id: &str) -> Result<Option<(Session, User)>> {
    const SQL: &str = concat!(
        "SELECT ",
        session_columns!("s."),
        ", ",
        user_columns!("u."),
        " FROM auth_session s JOIN auth_user u ON u.id = s.user_id WHERE s.id = $1"
    );
    Ok(store
        .db
        .query_opt(Statement::new(SQL).bind(id), with_user)
        .await?)
}

/// The live sessions of a user, newest first; the newest thousand.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn live_sessions(
    store: &Store,
    user_id: &str,
    now: OffsetDateTime,
) -> Result<Vec<Session>> {
    const SQL: &str = concat!(
        "SELECT ",
        session_columns!(""),
        " FROM auth_session WHERE user_id = $1 \
         AND expires_at > $2 AND absolute_expires_at > $2 ORDER BY created_at DESC, id DESC LIMIT 1000"
    );
    let statement = Statement::new(SQL).bind(user_id).bind(now);
    Ok(store.db.query(statement, read_session).await?)
}

/// Prolongs a session unless somebody else did so, or it ended, since it was read.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn prolong(
    store: &Store,
    read: &Session,
    now: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> Result<()> {
    let statement = Statement::new(
        "UPDATE auth_session SET updated_at = $3, expires_at = $4 WHERE id = $1 AND updated_at = $2",
    )
    .bind(&read.id)
    .bind(read.updated_at)
    .bind(now)
    .bind(expires_at);
    store.db.execute(statement).await?;
    Ok(())
}

/// Ends sessions of a user and tells which; notes the entry when there were any.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn end_sessions(
    store: &Store,
    user_id: &str,
    which: Which,
    entry: Entry,
) -> Result<Vec<TokenHash>> {
    let user_id = user_id.to_owned();
    let ended = store
        .db
        .write(move |tx: &mut Tx| {
            let (user_id, which, entry) = (user_id.clone(), which.clone(), entry.clone());
            Box::pin(async move {
                let ended = end_some(tx, &user_id, &which).await?;
                if !ended.is_empty() {
                    audit::add(tx, &entry).await?;
                }
                let (ids, hashes): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
                let revocations: Vec<_> = ids.into_iter().map(Revocation::Session).collect();
                revoke(tx, entry.at, &revocations).await?;
                Ok::<_, mesh::Error>(hashes)
            })
        })
        .await?;
    revocations::wake_feed(store);
    Ok(ended)
}

/// Ends all sessions of a user and tells which; the caller revokes the user as a whole.
pub(super) async fn end_all(tx: &mut Tx, user_id: &str) -> Result<Vec<TokenHash>, DbError> {
    let ended = end_some(tx, user_id, &Which::All).await?;
    Ok(ended.into_iter().map(|(_, hash)| hash).collect())
}

/// Ends sessions and tells which: id and hash of the token.
async fn end_some(
    tx: &mut Tx,
    user_id: &str,
    which: &Which,
) -> Result<Vec<(String, TokenHash)>, DbError> {
    let statement = match which {
        Which::One { id, token_hash } => Statement::new(
            "DELETE FROM auth_session WHERE user_id = $1 AND (id = $2 OR token_hash = $3) RETURNING id, token_hash",
        )
        .bind(user_id)
        .bind(id)
        .bind(token_hash.to_vec()),
        Which::AllBut(id) => {
            Statement::new("DELETE FROM auth_session WHERE user_id = $1 AND id <> $2 RETURNING id, token_hash")
                .bind(user_id)
                .bind(id)
        }
        Which::All => Statement::new("DELETE FROM auth_session WHERE user_id = $1 RETURNING id, token_hash").bind(user_id),
    };
    let ended = tx
        .query(statement, |row: &Row| Ok((text(row, 0)?, hash(row, 1)?)))
        .await?;
    if let Some((_, first)) = ended.first() {
        let due_ms = tx.clock_ms().await? + BY_ITSELF_MS;
        let all: Vec<String> = ended.iter().map(|(_, session)| hex(session)).collect();
        // One job for all that ended together; no session ends twice, so the first one names it.
        let job = NewJob::new(ANNOUNCE_END, hex(first), all.join(",")).due_at(due_ms);
        queue::push(tx, &job).await?;
    }
    Ok(ended)
}

/// The session store knows of the sessions that ended together.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn end_announced(store: &Store, ended: &[TokenHash]) -> Result<()> {
    let keys = ended.first().map(hex).into_iter().collect();
    Ok(store.queue.strike(ANNOUNCE_END, keys).await?)
}

fn hex(session: &TokenHash) -> String {
    session.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The sessions of a job; `None` when its payload names none.
pub(crate) fn to_announce(payload: &str) -> Option<Vec<TokenHash>> {
    payload.split(',').map(session_of).collect()
}

fn session_of(hex: &str) -> Option<TokenHash> {
    let mut session = TokenHash::default();
    let pairs = hex.as_bytes().chunks_exact(2);
    if hex.len() != session.len() * 2 || !hex.is_ascii() {
        return None;
    }
    for (byte, pair) in session.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(session)
}

/// Writes a new session.
pub(super) async fn begin(tx: &mut Tx, session: &Session) -> Result<(), DbError> {
    const SQL: &str = concat!(
        "INSERT INTO auth_session (",
        session_columns!(""),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
    );
    let statement = Statement::new(SQL)
        .bind(&session.id)
        .bind(session.token_hash.to_vec())
        .bind(&session.user_id)
        .bind(session.created_at)
        .bind(session.updated_at)
        .bind(session.expires_at)
        .bind(session.absolute_expires_at)
        .bind(session.ip_address.clone())
        .bind(session.user_agent.clone())
        .bind(session.active_organization_id.clone())
        .bind(session.remember);
    tx.execute(statement).await?;
    Ok(())
}

fn with_user(row: &Row) -> Result<(Session, User), DbError> {
    Ok((read_session(row)?, read_user(row, SESSION_COLUMNS)?))
}
