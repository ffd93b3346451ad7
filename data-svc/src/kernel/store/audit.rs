//! The audit log of records: the table of the object `sys_audit_log`.

use mesh::{
    audit::{Entry, Table},
    db::{DbError, Tx},
};

const LOG: Table = Table::of_object("sys_audit_log");

/// Adds an entry in the transaction of what it tells.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn add(tx: &mut Tx, entry: &Entry) -> Result<(), DbError> {
    tx.execute(entry.insert_into(LOG)).await?;
    Ok(())
}
