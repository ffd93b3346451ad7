//! Counters of autonumber fields.

use mesh::db::{DbError, Statement, Tx};

/// Takes so many numbers of a counter, one after the other, and answers the first. The row stays
/// locked until the commit, and a rolled-back insert gives its number back.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn take(
    tx: &mut Tx,
    object: &str,
    counter: &Counter,
    count: i64,
) -> Result<i64, DbError> {
    let statement = Statement::new(
        "INSERT INTO om_autonumber (object_name, field_name, prefix, value) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (object_name, field_name, prefix) DO UPDATE SET value = om_autonumber.value + $5 \
         RETURNING value",
    )
    .bind(object)
    .bind(counter.field.clone())
    .bind(counter.prefix.clone())
    .bind(counter.start_at + count - 1)
    .bind(count);
    let last = tx.query_one(statement, |row| row.req_int(0)).await?;
    Ok(last - count + 1)
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

/// Field and prefix of a counter.
pub(in crate::kernel) type Key = (String, String);

impl Counter {
    /// What tells it from other counters of its object.
    pub(in crate::kernel) fn key(&self) -> Key {
        (self.field.clone(), self.prefix.clone())
    }
}
