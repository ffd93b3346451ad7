//! What hangs on a deleted record: taken along, unlinked, or in the way of the deletion
//! (docs/reference/data-api.md §5).

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{Error, Result, db::Tx, error::Reason};
use metadata::{DeleteBehavior, FieldType};

use super::after::{Context, Operation, Row, after_write};
use crate::kernel::{
    model::{
        cell::Cell,
        predicate::Predicate,
        schema::{Column, Schema, Storage},
    },
    store::write::{self, Delete, Update},
};

/// Records that one deletion may take along.
const CASCADE_MAX: usize = 10_000;

/// Deletes a row and settles every reference to it, all in one transaction
/// (docs/reference/data-api.md §5). False when the row moved since it was read.
pub(super) async fn delete(tx: &mut Tx, context: &Context, job: &Delete) -> Result<bool> {
    if !remove(tx, context, job).await? {
        return Ok(false);
    }
    let mut gone = 1;
    settle(tx, context, &job.schema, &job.id, &mut gone).await?;
    Ok(true)
}

async fn remove(tx: &mut Tx, context: &Context, job: &Delete) -> Result<bool> {
    let removed = if job.schema.object.soft_delete && job.schema.column("deleted_at").is_some() {
        let mut after = job.before.clone();
        let schema = &job.schema;
        schema.put(&mut after, "deleted_at", Cell::DateTime(context.now));
        stamp(schema, &mut after, context);
        let update = Update {
            schema: Arc::clone(&job.schema),
            rows: job.rows.clone(),
            id: job.id.clone(),
            version: job.version,
            before: job.before.clone(),
            after,
            references: Vec::new(),
        };
        write::update(tx, &update).await?
    } else {
        write::delete(tx, job).await?
    };
    if removed {
        let gone = Row {
            operation: Operation::Delete,
            schema: &job.schema,
            id: &job.id,
            before: Some(&job.before),
            after: None,
        };
        after_write(tx, context, gone).await?;
    }
    Ok(removed)
}

fn settle<'a>(
    tx: &'a mut Tx,
    context: &'a Context,
    schema: &'a Schema,
    id: &'a str,
    gone: &'a mut usize,
) -> BoxFuture<'a, Result<()>> {
    async move {
        let registry = &context.registry;
        for reference in registry.referencing(schema.name()) {
            let Some(child) = registry.schema(&reference.object) else { continue };
            let Some(column) = child.column(&reference.field) else { continue };
            // Who made or last changed a record is history, not a tie.
            if column.field.system && column.field.readonly {
                continue;
            }
            let rows = write::referring(tx, child, column, id).await?;
            if rows.is_empty() {
                continue;
            }
            match behavior(column) {
                DeleteBehavior::Restrict => {
                    return Err(Error::new(
                        Reason::DeleteRestricted,
                        format!("{} {} refer to this {}", rows.len(), child.name(), schema.name()),
                    )
                    .with("dependentObject", child.name())
                    .with("dependentField", reference.field.as_str())
                    .with("dependentCount", rows.len()));
                }
                DeleteBehavior::Cascade => {
                    for before in rows {
                        *gone += 1;
                        if *gone > CASCADE_MAX {
                            return Err(Error::new(
                                Reason::DeleteRestricted,
                                format!("More than {CASCADE_MAX} records hang on this one; delete them first"),
                            ));
                        }
                        let job = deletion(child, before);
                        remove(tx, context, &job).await?;
                        settle(tx, context, child, &job.id, gone).await?;
                    }
                }
                DeleteBehavior::SetNull => {
                    for before in rows {
                        unlink(tx, context, (child, column), id, before).await?;
                    }
                }
            }
        }
        Ok(())
    }
    .boxed()
}

/// What a reference asks for when its target goes (docs/reference/field-types.md §2).
fn behavior(column: &Column) -> DeleteBehavior {
    match (column.field.field_type, column.field.delete_behavior) {
        (FieldType::MasterDetail, DeleteBehavior::Restrict) => DeleteBehavior::Restrict,
        (FieldType::MasterDetail, _) => DeleteBehavior::Cascade,
        (_, DeleteBehavior::SetNull)
            if column.field.required && column.storage != Storage::Json =>
        {
            DeleteBehavior::Restrict
        }
        (_, declared) => declared,
    }
}

fn deletion(schema: &Arc<Schema>, before: Vec<Cell>) -> Delete {
    Delete {
        schema: Arc::clone(schema),
        rows: Predicate::True,
        id: schema.text_of(&before, "id").unwrap_or_default().to_owned(),
        version: schema.version_of(&before),
        before,
    }
}

/// Takes the id out of a reference.
async fn unlink(
    tx: &mut Tx,
    context: &Context,
    (schema, column): (&Arc<Schema>, &Arc<Column>),
    id: &str,
    before: Vec<Cell>,
) -> Result<()> {
    let mut after = before.clone();
    let cell = match schema
        .position(&column.field.name)
        .map(|position| &before[position])
    {
        Some(Cell::Json(list)) => {
            let mut members: Vec<String> = serde_json::from_str(list).map_err(Error::internal)?;
            members.retain(|member| member != id);
            Cell::Json(serde_json::to_string(&members).map_err(Error::internal)?)
        }
        _ => Cell::Null,
    };
    schema.put(&mut after, &column.field.name, cell);
    stamp(schema, &mut after, context);
    let job = Update {
        schema: Arc::clone(schema),
        rows: Predicate::True,
        id: schema.text_of(&before, "id").unwrap_or_default().to_owned(),
        version: schema.version_of(&before),
        before,
        after,
        references: Vec::new(),
    };
    if write::update(tx, &job).await? {
        let unlinked = Row {
            operation: Operation::Update,
            schema,
            id: &job.id,
            before: Some(&job.before),
            after: Some(&job.after),
        };
        after_write(tx, context, unlinked).await?;
    }
    Ok(())
}

fn stamp(schema: &Schema, cells: &mut [Cell], context: &Context) {
    schema.put(cells, "updated_at", Cell::DateTime(context.now));
    if let Some(user) = context.user_id() {
        schema.put(cells, "updated_by", Cell::Text(user.to_owned()));
    }
    let next = schema.version_of(cells) + 1;
    schema.put(cells, "version", Cell::Integer(next));
}
