//! The audit log of records: the table of the object `sys_audit_log`.

use mesh::{
    audit::{Entry, Table},
    db::{DbError, Tx},
};

const LOG: Table = Table::of_object("sys_audit_log");

/// Adds entries in the transaction of what they tell.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn add(tx: &mut Tx, entries: &[Entry]) -> Result<(), DbError> {
    for part in super::write::parts(entries) {
        tx.execute(Entry::insert_all(part, LOG)).await?;
    }
    Ok(())
}
