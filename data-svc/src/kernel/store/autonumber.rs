//! Counters of autonumber fields.

use mesh::db::{DbError, Statement, Tx};

/// Takes the next number of a counter. The row stays locked until the commit, and a
/// rolled-back insert gives its number back.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn next(
    tx: &mut Tx,
    object: &str,
    counter: &Counter,
) -> Result<i64, DbError> {
    let statement = Statement::new(
        "INSERT INTO om_autonumber (object_name, field_name, prefix, value) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (object_name, field_name, prefix) DO UPDATE SET value = om_autonumber.value + 1 \
         RETURNING value",
    )
    .bind(object)
    .bind(counter.field.clone())
    .bind(counter.prefix.clone())
    .bind(counter.start_at);
    let number = tx
        .query_one(statement, |row| row.int(0))
        .await?
        .unwrap_or(counter.start_at);
    Ok(number)
}

/// One counter: of a field, for one rendered prefix.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct Counter {
    /// The field.
    pub(in crate::kernel) field: String,
    /// What stands before the number.
    pub(in crate::kernel) prefix: String,
    /// The first number.
    pub(in crate::kernel) start_at: i64,
}
