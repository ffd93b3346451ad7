//! The row that a write is about: within reach, of the version that is expected, and fit to be what it
//! becomes.

use std::sync::Arc;

use mesh::{Error, Result, error::Reason};

use super::{answer::answer, prepare};
use crate::kernel::{
    Kernel, Work,
    access::Grant,
    model::{cell::Cell, predicate::Predicate, rights::Operation, schema::Schema},
    query::{self, record_not_found},
};

/// How often a write is prepared again when its row moved under it.
pub(super) const ATTEMPTS: usize = 3;

/// The row as the operation reaches it.
///
/// # Errors
/// NOT_FOUND for what is not visible; PERMISSION_DENIED for what is, but out of reach.
pub(super) async fn row(
    kernel: &Kernel,
    work: &Work,
    grant: &Grant,
    operation: Operation,
    id: &str,
) -> Result<Vec<Cell>> {
    let schema = &grant.schema;
    let read = work.grant(schema, Operation::Read);
    if let Some(row) = query::row(kernel, schema, &grant.rows, id, &schema.columns).await? {
        // An edit right never reaches further than what may be read.
        return match read {
            // What was just read under the same predicate, or would be under none, need not be
            // read again.
            Ok(read) if read.rows == Predicate::True || read.rows == grant.rows => Ok(row),
            Ok(read) if query::is_reachable(kernel, &read, id).await? => Ok(row),
            _ => Err(record_not_found(schema.name(), id)),
        };
    }
    match read {
        Ok(read) if query::is_reachable(kernel, &read, id).await? => Err(not_allowed(
            schema,
            &format!("{} this record", operation.as_str()),
        )
        .with("id", id)
        .with("operation", operation.as_str())),
        _ => Err(record_not_found(schema.name(), id)),
    }
}

/// Refuses a stale version, with the record as the caller may see it.
///
/// # Errors
/// CONCURRENT_UPDATE; VALIDATION_ERROR for a token that is none.
pub(super) async fn check_version(
    kernel: &Kernel,
    work: &Work,
    schema: &Arc<Schema>,
    row: &[Cell],
    id: &str,
    token: &str,
) -> Result<()> {
    let updated_at = schema.position("updated_at").map(|position| &row[position]);
    let version = schema.version_of(row);
    if prepare::version_fits(token, version, updated_at)? {
        return Ok(());
    }
    let bare = token.trim().trim_start_matches("W/").trim_matches('"');
    let current = if bare.bytes().all(|byte| byte.is_ascii_digit()) {
        version.to_string()
    } else {
        updated_at.map_or_else(String::new, |cell| {
            cell.to_json().as_str().unwrap_or_default().to_owned()
        })
    };
    let shown = answer(kernel, work, schema, row).await.ok();
    let record: serde_json::Value = shown
        .and_then(|record| serde_json::from_slice(&record.json).ok())
        .unwrap_or_default();
    Err(Error::new(
        Reason::ConcurrentUpdate,
        format!("Record {}/{id} was modified by another user", schema.name()),
    )
    .with("object", schema.name())
    .with("id", id)
    .with("expectedVersion", bare)
    .with("currentVersion", current)
    .with("currentRecord", record))
}

/// The refusal of a write by who may write others of the object.
pub(super) fn not_allowed(schema: &Schema, what: &str) -> Error {
    Error::denied(format!("Not allowed to {what} of {}", schema.name()))
        .with("object", schema.name())
}
