//! The transaction of a write: statements that check again what was relied on, the record first and
//! behind it what its hooks wrote, all or none (docs/adr/0005-hooks-before-the-transaction.md).

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{
    Error, FieldViolation, Result,
    db::{DbError, Tx},
    error::Reason,
};

use super::{
    after::{Context, Operation, Row, after_write},
    autonumber::{self, Autonumber},
    cascade, prepare, summary,
};
use crate::kernel::{
    model::{cell::Cell, schema::Schema},
    store::write::{self, Delete, Tie, Update},
};

/// A record that is ready to be inserted.
pub(super) struct NewRow {
    pub(super) schema: Arc<Schema>,
    pub(super) cells: Vec<Cell>,
    pub(super) id: String,
    pub(super) autonumbers: Vec<Autonumber>,
    /// References to check inside the transaction.
    pub(super) ties: Vec<Tie>,
    /// What its hooks wrote.
    pub(super) deferred_writes: Vec<DeferredWrite>,
}

/// A write that a hook made: applied in the transaction of the record that it was run for.
pub(super) enum DeferredWrite {
    Create(Box<NewRow>),
    /// With what the hooks of the changed record wrote.
    Update(Box<Update>, Vec<DeferredWrite>),
    Delete(Box<Delete>, Vec<DeferredWrite>),
}

/// Inserts a prepared row; its last statements give it its numbers and what it leaves behind.
pub(super) async fn create(tx: &mut Tx, context: &Context, row: &NewRow) -> Result<Vec<Cell>> {
    check_ties(tx, &row.schema, &row.ties).await?;
    let mut cells = row.cells.clone();
    summary::begin(&row.schema, &mut cells);
    // Counters are taken last before the insert, so that they are held for the shortest time.
    for autonumber in &row.autonumbers {
        cells[autonumber.position] = autonumber::next(tx, row.schema.name(), autonumber).await?;
    }
    write::insert(tx, &row.schema, &cells)
        .await
        .map_err(|error| constraint(error, &row.schema, &cells))?;
    let created = Row {
        operation: Operation::Create,
        schema: &row.schema,
        id: &row.id,
        before: None,
        after: Some(&cells),
    };
    after_write(tx, context, created).await?;
    deferred_writes(tx, context, &row.deferred_writes).await?;
    Ok(cells)
}

/// Applies an update; `None` when the row moved since it was read.
pub(super) async fn update(
    tx: &mut Tx,
    context: &Context,
    job: &Update,
    deferred_writes: &[DeferredWrite],
) -> Result<Option<Vec<Cell>>> {
    check_ties(tx, &job.schema, &job.references).await?;
    let changed = write::update(tx, job)
        .await
        .map_err(|error| constraint(error, &job.schema, &job.after))?;
    if !changed {
        return Ok(None);
    }
    let row = Row {
        operation: Operation::Update,
        schema: &job.schema,
        id: &job.id,
        before: Some(&job.before),
        after: Some(&job.after),
    };
    after_write(tx, context, row).await?;
    self::deferred_writes(tx, context, deferred_writes).await?;
    Ok(Some(job.after.clone()))
}

/// Applies a deletion and settles what hangs on the record; false when the row moved since it was
/// read.
pub(super) async fn delete(
    tx: &mut Tx,
    context: &Context,
    job: &Delete,
    deferred_writes: &[DeferredWrite],
) -> Result<bool> {
    if !cascade::delete(tx, context, job).await? {
        return Ok(false);
    }
    self::deferred_writes(tx, context, deferred_writes).await?;
    Ok(true)
}

/// Applies what hooks wrote. One whose row moved meanwhile fails all of it.
fn deferred_writes<'t>(
    tx: &'t mut Tx,
    context: &'t Context,
    deferred_writes: &'t [DeferredWrite],
) -> BoxFuture<'t, Result<()>> {
    async move {
        for deferred_write in deferred_writes {
            match deferred_write {
                DeferredWrite::Create(row) => {
                    create(tx, context, row).await?;
                }
                DeferredWrite::Update(job, deferred_writes) => {
                    if update(tx, context, job, deferred_writes).await?.is_none() {
                        return Err(conflict(&job.schema, &job.id));
                    }
                }
                DeferredWrite::Delete(job, deferred_writes) => {
                    if !delete(tx, context, job, deferred_writes).await? {
                        return Err(conflict(&job.schema, &job.id));
                    }
                }
            }
        }
        Ok(())
    }
    .boxed()
}

/// Locks the records that new references point to, so that they cannot go away before the commit.
async fn check_ties(tx: &mut Tx, schema: &Schema, ties: &[Tie]) -> Result<()> {
    match write::lock_references(tx, ties).await? {
        Some(tie) => Err(gone(schema, &tie)),
        None => Ok(()),
    }
}

/// What a reference points to is not there, or not any more.
pub(super) fn gone(schema: &Schema, tie: &Tie) -> Error {
    let (name, object) = (&tie.field, &tie.object);
    if let (false, Some(field), Some(id)) = (tie.was_there, schema.field(name), tie.ids.first()) {
        let violation = prepare::reference_not_found(field, object, id);
        return prepare::invalid(schema, vec![violation]);
    }
    let message = format!("{name} refers to a {object} that does not exist any more");
    Error::fields(vec![FieldViolation::new(
        name,
        "reference_not_found",
        message,
    )])
}

/// A constraint that the database refused, in the contract's words; no SQL text, and no value but
/// the caller's own.
fn constraint(error: DbError, schema: &Schema, cells: &[Cell]) -> Error {
    let DbError::Unique { columns, .. } = error else {
        return error.into();
    };
    let fields: Vec<&str> = columns
        .iter()
        .filter_map(|name| schema.columns.iter().find(|column| column.name == *name))
        .map(|column| column.field.name.as_str())
        .filter(|name| *name != "organization_id")
        .collect();
    let error = Error::new(
        Reason::UniqueViolation,
        format!(
            "{} of {} must be unique, and this value is taken",
            fields.join(" and "),
            schema.name()
        ),
    )
    .with("object", schema.name());
    match fields.as_slice() {
        [field] => {
            let value = schema
                .position(field)
                .map(|position| cells[position].to_json());
            error
                .with("field", *field)
                .with("value", value.unwrap_or_default())
        }
        _ => error.with("fields", fields),
    }
}

/// The row moved under the write more often than it was tried.
pub(super) fn conflict(schema: &Schema, id: &str) -> Error {
    Error::new(
        Reason::ConcurrentUpdate,
        format!("Record {}/{id} keeps changing; try again", schema.name()),
    )
    .with("object", schema.name())
    .with("id", id)
}
