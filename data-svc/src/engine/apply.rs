//! The transaction of a write: statements that check again what was relied on, the record first and
//! behind it what its hooks wrote, all or none (docs/adr/0005-hooks-before-the-transaction.md).

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{
    Error, Result,
    db::{DbError, Tx},
    error::Reason,
};

use crate::{
    domain::{self, cell::Cell, schema::Schema},
    registry::Registry,
    store::{
        summary,
        write::{self, Change},
    },
};

/// A record that is ready to be inserted.
pub(super) struct NewRow {
    pub(super) schema: Arc<Schema>,
    pub(super) cells: Vec<Cell>,
    pub(super) id: String,
    pub(super) autonumbers: Vec<write::Autonumber>,
    /// References to check inside the transaction: (field, table, ids).
    pub(super) references: Vec<(String, String, Vec<String>)>,
    /// What its hooks wrote.
    pub(super) effects: Vec<Effect>,
}

/// A write that a hook made: applied in the transaction of the record that it was run for.
pub(super) enum Effect {
    Create(Box<NewRow>, Change),
    /// With what the hooks of the changed record wrote.
    Update(Box<write::Update>, Vec<Effect>, Change),
    Delete(Box<write::Delete>, Vec<Effect>, Arc<Registry>, Change),
}

/// Inserts a prepared row; its last statements give it its numbers and its traces.
pub(super) async fn apply_create(tx: &mut Tx, row: &NewRow, change: &Change) -> Result<Vec<Cell>> {
    write::lock_references(tx, &row.references).await?;
    let mut cells = row.cells.clone();
    domain::summary::begin(&row.schema, &mut cells);
    // Counters are taken last before the insert, so that they are held for the shortest time.
    for autonumber in &row.autonumbers {
        let number = write::next_autonumber(tx, row.schema.name(), autonumber).await?;
        cells[autonumber.position] = Cell::Text(number);
    }
    write::insert(tx, &row.schema, &cells)
        .await
        .map_err(|error| constraint(error, &row.schema, &cells))?;
    summary::recompute(tx, &row.schema, None, Some(&cells)).await?;
    write::trace(tx, change, &row.schema, &row.id, None, Some(&cells)).await?;
    apply_effects(tx, &row.effects).await?;
    Ok(cells)
}

/// Applies what hooks wrote. One whose row moved meanwhile fails all of it.
pub(super) fn apply_effects<'t>(
    tx: &'t mut Tx,
    effects: &'t [Effect],
) -> BoxFuture<'t, Result<()>> {
    async move {
        for effect in effects {
            match effect {
                Effect::Create(row, change) => {
                    apply_create(tx, row, change).await?;
                }
                Effect::Update(job, effects, change) => {
                    if apply_update(tx, job, effects, change).await?.is_none() {
                        return Err(moved(&job.schema, &job.id));
                    }
                }
                Effect::Delete(job, effects, registry, change) => {
                    if !super::references::delete(tx, registry, job, change).await? {
                        return Err(moved(&job.schema, &job.id));
                    }
                    apply_effects(tx, effects).await?;
                }
            }
        }
        Ok(())
    }
    .boxed()
}

/// Applies an update; `None` when the row moved since it was read.
pub(super) async fn apply_update(
    tx: &mut Tx,
    job: &write::Update,
    effects: &[Effect],
    change: &Change,
) -> Result<Option<Vec<Cell>>> {
    write::lock_references(tx, &job.references).await?;
    let changed = write::update(tx, job)
        .await
        .map_err(|error| constraint(error, &job.schema, &job.after))?;
    if !changed {
        return Ok(None);
    }
    summary::recompute(tx, &job.schema, Some(&job.before), Some(&job.after)).await?;
    write::trace(
        tx,
        change,
        &job.schema,
        &job.id,
        Some(&job.before),
        Some(&job.after),
    )
    .await?;
    apply_effects(tx, effects).await?;
    Ok(Some(job.after.clone()))
}

/// A constraint that the database refused, in the contract's words; no SQL text, and no value but
/// the caller's own.
fn constraint(error: DbError, schema: &Schema, cells: &[Cell]) -> Error {
    match error {
        DbError::Unique { columns, .. } => {
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
        other => other.into(),
    }
}

pub(super) fn moved(schema: &Schema, id: &str) -> Error {
    Error::new(
        Reason::ConcurrentUpdate,
        format!("Record {}/{id} keeps changing; try again", schema.name()),
    )
    .with("object", schema.name())
    .with("id", id)
}
