//! The objects' tables, in step with the snapshot that is about to be served.

use mesh::db::{Db, DbError};

use super::{access, model::registry::Registry, store};

pub use store::ddl::MigrateError;

/// Creates the tables, columns and indexes that a snapshot needs and that are not there yet; nothing is
/// narrowed.
///
/// # Errors
/// A change that would lose data; those of the database.
pub async fn migrate(db: &Db, registry: &Registry) -> Result<(), MigrateError> {
    store::ddl::migrate(db, registry, &access::compared(registry)).await
}

/// Computes summaries that were not kept until now.
///
/// # Errors
/// Those of the database.
pub async fn fill_summaries(db: &Db, registry: &Registry) -> Result<(), DbError> {
    store::summary::fill(db, registry).await
}

/// Tells the database's planner how large the tables have become: a plan made for empty tables is a
/// slow one.
///
/// # Errors
/// Those of the database.
pub async fn refresh_statistics(db: &Db) -> Result<(), DbError> {
    store::ddl::analyze(db).await
}
