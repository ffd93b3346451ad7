//! All SQL of auth-svc. Ids and moments come from the callers; what is written is what was given.
//!
//! Invariant: a write job awaits nothing but the database, and every change of a user's
//! credentials, sessions or ban first writes the user's row: the row is the lock that keeps a
//! sign-in and a password change from passing each other.

pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod credentials;
pub(crate) mod keys;
pub(crate) mod profiles;
pub(crate) mod revocations;
pub(crate) mod sessions;
pub(crate) mod throttle;
pub(crate) mod users;

use std::sync::{Arc, OnceLock};

use mesh::db::{Db, DbError, Migration, Row, queue::Queue};
use tokio::sync::Notify;

use crate::domain::{
    session::{Session, TokenHash},
    user::{Ban, User},
};

pub(crate) use revocations::{FeedPage, Followed};
pub(crate) use sessions::Which;
pub(crate) use users::NewUser;

/// The schema, in order. Append only.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "create_users_and_sessions",
        sql: include_str!("../../migrations/0001_create_users_and_sessions.sql"),
    },
    Migration {
        version: 2,
        name: "create_revocations_and_keys",
        sql: include_str!("../../migrations/0002_create_revocations_and_keys.sql"),
    },
    Migration {
        version: 3,
        name: "create_audit_log",
        sql: include_str!("../../migrations/0003_create_audit_log.sql"),
    },
    Migration {
        version: 4,
        name: "carry_over_audit_events",
        sql: include_str!("../../migrations/0004_carry_over_audit_events.sql"),
    },
    Migration {
        version: 5,
        name: "create_queue",
        sql: include_str!("../../migrations/0005_create_queue.sql"),
    },
    Migration {
        version: 6,
        name: "queue_profiles",
        sql: include_str!("../../migrations/0006_queue_profiles.sql"),
    },
    Migration {
        version: 7,
        name: "drop_profile_outbox",
        sql: include_str!("../../migrations/0007_drop_profile_outbox.sql"),
    },
];

/// The database of auth-svc. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    db: Db,
    /// What other services are to be told.
    pub(crate) queue: Queue,
    /// Who was first: never changes once there is somebody.
    owner: Arc<OnceLock<String>>,
    /// Something was revoked by this process.
    revoked: Arc<Notify>,
}

impl Store {
    /// The store over an open database.
    #[must_use]
    pub(crate) fn new(db: Db) -> Self {
        Self {
            queue: Queue::new(db.clone()),
            db,
            owner: Arc::default(),
            revoked: Arc::default(),
        }
    }
}

/// The columns that [`read_user`] reads, in its order; the argument qualifies them.
macro_rules! user_columns {
    ($of:literal) => {
        concat!(
            $of,
            "id, ",
            $of,
            "name, ",
            $of,
            "email, ",
            $of,
            "email_verified, ",
            $of,
            "image, ",
            $of,
            "created_at, ",
            $of,
            "updated_at, ",
            $of,
            "banned, ",
            $of,
            "ban_reason, ",
            $of,
            "ban_expires_at"
        )
    };
}
/// The columns that [`read_session`] reads, in its order; the argument qualifies them.
macro_rules! session_columns {
    ($of:literal) => {
        concat!(
            $of,
            "id, ",
            $of,
            "token_hash, ",
            $of,
            "user_id, ",
            $of,
            "created_at, ",
            $of,
            "updated_at, ",
            $of,
            "expires_at, ",
            $of,
            "absolute_expires_at, ",
            $of,
            "ip_address, ",
            $of,
            "user_agent, ",
            $of,
            "active_organization_id, ",
            $of,
            "remember"
        )
    };
}
use {session_columns, user_columns};

/// How many columns [`read_session`] reads.
const SESSION_COLUMNS: usize = 11;
/// How many columns [`read_user`] reads.
const USER_COLUMNS: usize = 10;

/// Reads a user from the columns that begin at `at`.
fn read_user(row: &Row, at: usize) -> Result<User, DbError> {
    let banned = row.req_bool(at + 7)?;
    let ban = Ban {
        reason: opt_text(row, at + 8)?,
        until: row.datetime(at + 9)?,
    };
    Ok(User {
        id: text(row, at)?,
        name: text(row, at + 1)?,
        email: text(row, at + 2)?,
        email_verified: row.req_bool(at + 3)?,
        image: opt_text(row, at + 4)?,
        created_at: row.req_datetime(at + 5)?,
        updated_at: row.req_datetime(at + 6)?,
        ban: banned.then_some(ban),
    })
}

/// Reads a session from the first columns.
fn read_session(row: &Row) -> Result<Session, DbError> {
    Ok(Session {
        id: text(row, 0)?,
        token_hash: hash(row, 1)?,
        user_id: text(row, 2)?,
        created_at: row.req_datetime(3)?,
        updated_at: row.req_datetime(4)?,
        expires_at: row.req_datetime(5)?,
        absolute_expires_at: row.req_datetime(6)?,
        ip_address: opt_text(row, 7)?,
        user_agent: opt_text(row, 8)?,
        active_organization_id: opt_text(row, 9)?,
        remember: row.req_bool(10)?,
    })
}

fn text(row: &Row, column: usize) -> Result<String, DbError> {
    row.req_text(column).map(ToOwned::to_owned)
}

fn opt_text(row: &Row, column: usize) -> Result<Option<String>, DbError> {
    Ok(row.text(column)?.map(ToOwned::to_owned))
}

fn hash(row: &Row, column: usize) -> Result<TokenHash, DbError> {
    let bytes = row.bytes(column)?;
    bytes
        .and_then(|bytes| TokenHash::try_from(bytes).ok())
        .ok_or(DbError::Decode {
            column,
            expected: "32 bytes",
        })
}
