//! All SQL of flow-svc.

pub(crate) mod idempotency;

use mesh::db::Migration;

/// The tables.
pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "create_idempotent_calls",
    sql: include_str!("../../migrations/0001_create_idempotent_calls.sql"),
}];
