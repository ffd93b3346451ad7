//! Why the database refused, in words that do not depend on which database it is.

use std::{error::Error, sync::Arc};

use rusqlite::{ErrorCode, ffi};

/// What lies below a [`DbError`]: for the log only, it may hold SQL text and values.
pub type Source = Arc<dyn Error + Send + Sync>;

/// Why a statement, a transaction or the opening of a database failed.
///
/// Cheap to clone, because one failed commit answers every write that shared it. `Display` never
/// holds SQL text or a value; only the sources may.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DbError {
    /// A unique index or primary key already has this value.
    #[error("a unique constraint is violated")]
    Unique {
        /// Name of the constraint or index; SQLite tells it only for indexes on expressions.
        constraint: Option<String>,
        /// The columns of the constraint, in its order; empty when the database does not tell.
        columns: Vec<String>,
    },
    /// A column that must have a value got none.
    #[error("a column that must have a value has none")]
    NotNull {
        /// Name of the column, when the database tells.
        column: Option<String>,
    },
    /// A `CHECK` or exclusion constraint refused the row.
    #[error("a check constraint is violated")]
    Check {
        /// Name of the constraint, when the database tells.
        constraint: Option<String>,
    },
    /// A row refers to one that does not exist, or is still referred to.
    #[error("a foreign key is violated")]
    ForeignKey {
        /// Name of the constraint; SQLite never tells.
        constraint: Option<String>,
    },
    /// Another transaction was in the way; the whole transaction may be tried again.
    #[error("another transaction was in the way")]
    Serialization,
    /// The database cannot be reached, is closed, takes no writes, or is out of connections, disk or
    /// memory.
    #[error("the database is not available")]
    Unavailable(#[source] Source),
    /// The connection broke off while a transaction was being committed: it may be or not.
    #[error("the outcome of a commit is not known")]
    CommitUnknown(#[source] Source),
    /// A statement ran longer than [`super::DbConfig::statement_timeout`].
    #[error("the database took too long")]
    Timeout,
    /// A column does not hold what its getter reads.
    #[error("column {column} does not hold {expected}")]
    Decode {
        /// Index of the column in the row, from 0.
        column: usize,
        /// What the getter reads.
        expected: &'static str,
    },
    /// A value that the two databases would not store alike was bound.
    #[error("a value cannot be stored: {0}")]
    Value(&'static str),
    /// A query that must find a row found none.
    #[error("no row was found")]
    NoRow,
    /// A job of `write` or `read` panicked; it was rolled back.
    #[error("a database job panicked")]
    Panicked,
    /// A job of `write` or `read` awaited something other than its transaction, or left a
    /// [`super::Tx::nested`] unfinished; it was rolled back.
    #[error("a database job did not run to its end")]
    Unfinished,
    /// Any other refusal: wrong SQL, wrong types, missing rights. A fault of ours.
    #[error("the database refused a statement")]
    Sql(#[source] Source),
    /// The schema cannot be migrated.
    #[error("migration {version}: {reason}")]
    Migration {
        /// Which migration.
        version: u32,
        /// What is wrong with it.
        reason: &'static str,
        /// The refusal of the database, if it was asked.
        #[source]
        source: Option<Source>,
    },
    /// The configuration does not say which database to open.
    #[error("database configuration: {0}")]
    Config(&'static str),
}

/// Tells [`super::Db::write`] whether an error of the caller's own type is worth another attempt.
pub trait Retry {
    /// True when another transaction was in the way, so that running the job again may succeed.
    fn is_serialization_failure(&self) -> bool;
}

impl Retry for DbError {
    fn is_serialization_failure(&self) -> bool {
        matches!(self, Self::Serialization)
    }
}

impl DbError {
    /// An [`DbError::Unavailable`] that has no error of a driver below it.
    pub(super) fn unavailable(reason: &'static str) -> Self {
        Self::Unavailable(Arc::from(Box::<dyn Error + Send + Sync>::from(reason)))
    }

    /// What a failed COMMIT means: where the connection was lost, nobody knows.
    pub(super) fn of_commit(self) -> Self {
        match self {
            Self::Unavailable(source) => Self::CommitUnknown(source),
            other => other,
        }
    }

    /// The refusal's kind in one word, for metrics and traces.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unique { .. } => "unique",
            Self::NotNull { .. } => "not_null",
            Self::Check { .. } => "check",
            Self::ForeignKey { .. } => "foreign_key",
            Self::Serialization => "serialization",
            Self::Unavailable(_) => "unavailable",
            Self::CommitUnknown(_) => "commit_unknown",
            Self::Timeout => "timeout",
            Self::Decode { .. } => "decode",
            Self::Value(_) => "value",
            Self::NoRow => "no_row",
            Self::Panicked => "panicked",
            Self::Unfinished => "unfinished",
            Self::Sql(_) => "sql",
            Self::Migration { .. } => "migration",
            Self::Config(_) => "config",
        }
    }

    /// Whether the statement was refused by the database itself, which on PostgreSQL ends the
    /// transaction; false for faults noticed on our side.
    pub(super) fn spoils_transaction(&self) -> bool {
        !matches!(
            self,
            Self::Decode { .. } | Self::Value(_) | Self::NoRow | Self::Config(_)
        )
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(code, message) => {
                if code.code == ErrorCode::ConstraintViolation {
                    let message = message.as_deref().unwrap_or_default();
                    if let Some(known) = sqlite_constraint(code.extended_code, message) {
                        return known;
                    }
                }
                match code.code {
                    ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Serialization,
                    ErrorCode::OperationInterrupted => Self::Timeout,
                    ErrorCode::CannotOpen
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::OutOfMemory
                    | ErrorCode::FileLockingProtocolFailed
                    | ErrorCode::PermissionDenied => Self::Unavailable(Arc::new(error)),
                    _ => Self::Sql(Arc::new(error)),
                }
            }
            _ => Self::Sql(Arc::new(error)),
        }
    }
}

/// SQLite tells a violated constraint in prose: `UNIQUE constraint failed: lead.email, lead.org`.
fn sqlite_constraint(extended_code: i32, message: &str) -> Option<DbError> {
    let subject = message.split_once("failed: ").map(|(_, subject)| subject);
    let column = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let named = || subject.map(str::to_owned);
    let error = match extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => match subject.and_then(|s| s.strip_prefix("index '")) {
            Some(index) => DbError::Unique {
                constraint: Some(index.trim_end_matches('\'').to_owned()),
                columns: Vec::new(),
            },
            None => DbError::Unique {
                constraint: None,
                columns: subject
                    .map(|list| list.split(", ").map(column).collect())
                    .unwrap_or_default(),
            },
        },
        ffi::SQLITE_CONSTRAINT_NOTNULL => DbError::NotNull {
            column: subject.map(column),
        },
        ffi::SQLITE_CONSTRAINT_CHECK => DbError::Check {
            constraint: named(),
        },
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => DbError::ForeignKey { constraint: None },
        _ => return None,
    };
    Some(error)
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match error {
            E::Database(refusal) => postgres_refusal(refusal),
            E::Io(_)
            | E::Tls(_)
            | E::PoolTimedOut
            | E::PoolClosed
            | E::WorkerCrashed
            | E::BeginFailed
            | E::Protocol(_) => Self::Unavailable(Arc::new(error)),
            E::RowNotFound => Self::NoRow,
            other => Self::Sql(Arc::new(other)),
        }
    }
}

/// PostgreSQL's message for a prepared statement that a change of the schema made useless.
const STALE_PLAN: &str = "cached plan must not change result type";

fn postgres_refusal(refusal: Box<dyn sqlx::error::DatabaseError>) -> DbError {
    let Some(error) = refusal.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() else {
        return DbError::Sql(Arc::new(sqlx::Error::Database(refusal)));
    };
    let constraint = error.constraint().map(str::to_owned);
    match error.code() {
        "23505" => DbError::Unique {
            constraint,
            columns: error.detail().map(key_columns).unwrap_or_default(),
        },
        "23502" => DbError::NotNull {
            column: error.column().map(str::to_owned),
        },
        "23503" => DbError::ForeignKey { constraint },
        "23514" | "23P01" => DbError::Check { constraint },
        "40001" | "40P01" => DbError::Serialization,
        // Run again with a fresh plan, it succeeds; the connection forgets its plans meanwhile.
        "0A000" if error.message() == STALE_PLAN => DbError::Serialization,
        // Cancelled by statement_timeout; lock_timeout; idle in a transaction too long.
        "57014" | "55P03" | "25P03" => DbError::Timeout,
        // The database takes no writes now: it is being moved, or this server is a standby.
        "25006" => DbError::Unavailable(Arc::new(sqlx::Error::Database(refusal))),
        // 08: connection; 53: out of connections, memory or disk; 57P: shut down or starting.
        code if ["08", "53", "57P", "58"]
            .iter()
            .any(|c| code.starts_with(c)) =>
        {
            DbError::Unavailable(Arc::new(sqlx::Error::Database(refusal)))
        }
        _ => DbError::Sql(Arc::new(sqlx::Error::Database(refusal))),
    }
}

/// Whether the connection must forget its prepared statements before the next attempt.
pub(super) fn is_stale_plan(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(e) if e.message() == STALE_PLAN)
}

/// The columns in `Key (email, org)=(a@b.c, 1) already exists.`, never the values. Only the
/// parentheses are relied on: the words follow the server's language.
fn key_columns(detail: &str) -> Vec<String> {
    let Some((before, _)) = detail.split_once(")=(") else {
        return Vec::new();
    };
    let Some((_, columns)) = before.split_once('(') else {
        return Vec::new();
    };
    columns
        .split(", ")
        .map(|column| column.trim_matches('"').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_without_values() {
        let columns = key_columns("Key (email, \"Org\")=(a, b)=(c) already exists.");
        assert_eq!(columns, ["email", "Org"]);
        assert!(key_columns("something else").is_empty());
    }

    #[test]
    fn sqlite_tells_constraints_in_prose() {
        let check = |code, message: &str| format!("{:?}", sqlite_constraint(code, message));
        assert_eq!(
            check(
                ffi::SQLITE_CONSTRAINT_UNIQUE,
                "UNIQUE constraint failed: lead.email, lead.org"
            ),
            r#"Some(Unique { constraint: None, columns: ["email", "org"] })"#
        );
        assert_eq!(
            check(
                ffi::SQLITE_CONSTRAINT_UNIQUE,
                "UNIQUE constraint failed: index 'lead_lower'"
            ),
            r#"Some(Unique { constraint: Some("lead_lower"), columns: [] })"#
        );
        assert_eq!(
            check(
                ffi::SQLITE_CONSTRAINT_NOTNULL,
                "NOT NULL constraint failed: lead.name"
            ),
            r#"Some(NotNull { column: Some("name") })"#
        );
    }
}
