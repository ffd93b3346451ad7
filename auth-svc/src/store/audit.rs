//! The audit log: rows are added, never changed.

use mesh::{
    Result,
    audit::{Entry, Table},
    db::{DbError, Tx},
};

use super::Store;

/// Adds an entry that belongs to no other change.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn note(store: &Store, entry: Entry) -> Result<()> {
    store.db.execute(entry.insert_into(Table::SERVICE)).await?;
    Ok(())
}

/// Adds an entry in the transaction of what it tells.
pub(super) async fn add(tx: &mut Tx, entry: &Entry) -> Result<(), DbError> {
    tx.execute(entry.insert_into(Table::SERVICE)).await?;
    Ok(())
}
