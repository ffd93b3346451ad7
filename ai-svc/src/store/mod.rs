//! All SQL of ai-svc. Ids and moments come from the callers; what is written is what was given.
//!
//! Invariant: a write job awaits nothing but the database.

mod conversations;
mod proposals;
mod traces;

use mesh::db::{Db, DbError, Migration, Row};

pub(crate) use conversations::{Conversation, Stored, moment};
pub(crate) use proposals::{Filter, Outcome, Pending, Status};
pub(crate) use traces::{AuditEvent, Trace};

/// The schema, in order. Append only.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "create_conversations_and_pending_actions",
        sql: include_str!("../../migrations/0001_create_conversations_and_pending_actions.sql"),
    },
    Migration {
        version: 2,
        name: "add_kind_to_pending_actions",
        sql: include_str!("../../migrations/0002_add_kind_to_pending_actions.sql"),
    },
];

/// The database of ai-svc. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) db: Db,
}

/// Whether a text of a caller can be an id of ours; PostgreSQL would not take every text.
fn is_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn text(row: &Row, column: usize) -> Result<String, DbError> {
    row.req_text(column).map(ToOwned::to_owned)
}

fn opt_text(row: &Row, column: usize) -> Result<Option<String>, DbError> {
    Ok(row.text(column)?.map(ToOwned::to_owned))
}
