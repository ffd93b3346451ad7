//! What ties records together: references that must exist, what hangs on a deleted record, and
//! assignments, which are references from users to rights.

use std::{collections::BTreeSet, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{
    Error, FieldViolation, Result,
    db::Tx,
    error::Reason,
    identity::{ADMIN_PERMISSION_SET, Identity},
};
use metadata::{DeleteBehavior, FieldType, PermissionSet};

use super::{Engine, Work, write::is_assignment};
use crate::{
    domain::{
        cell::Cell,
        policy::{Grant, Operation, Principal},
        predicate::Predicate,
        record::prepare::{self, Cells, Writer},
        schema::{Column, Schema, Storage},
    },
    registry::Registry,
    store::{
        select, summary,
        write::{self, Action, Change},
    },
};

/// Records that one deletion may take along.
const CASCADE_MAX: usize = 10_000;

impl Engine {
    /// Notes references whose target is not there (or not readable to the writer), and answers
    /// which to check again inside the transaction: (field, table, ids).
    pub(super) async fn check_references(
        &self,
        work: &Work,
        schema: &Arc<Schema>,
        cells: &Cells,
        writer: Writer,
        problems: &mut Vec<FieldViolation>,
    ) -> Result<Vec<(String, String, Vec<String>)>> {
        let mut locked = Vec::new();
        // System writes and real apps may dangle.
        if writer == Writer::System {
            return Ok(locked);
        }
        for (name, target, ids) in prepare::references(schema, cells) {
            // Everybody may own their own records, also who may not read the list of users.
            let is_own =
                name == "owner_id" && ids.len() == 1 && work.principal.user_id() == Some(&ids[0]);
            if is_own {
                continue;
            }
            let Some(field) = schema.field(name) else {
                continue;
            };
            let Some(target_schema) = work.registry.schema(target) else {
                problems.push(prepare::reference_not_found(field, target, &ids[0]));
                continue;
            };
            let mut visible = match work.grant(target_schema, Operation::Read) {
                Ok(grant) => self.existing(&grant, &ids).await?,
                Err(_) => BTreeSet::new(),
            };
            let making = work.making.iter().filter(|(object, _)| object == target);
            visible.extend(making.map(|(_, id)| id.clone()));
            match ids.iter().find(|id| !visible.contains(*id)) {
                Some(id) => problems.push(prepare::reference_not_found(field, target, id)),
                None => locked.push((name.to_owned(), target.to_owned(), ids)),
            }
        }
        Ok(locked)
    }

    async fn existing(&self, grant: &Grant, ids: &[String]) -> Result<BTreeSet<String>> {
        let statement = select::matching_ids(grant, &Predicate::True, ids, self.db.dialect());
        let found = self
            .db
            .query(statement, |row| {
                Ok(row.text(0)?.unwrap_or_default().to_owned())
            })
            .await?;
        Ok(found.into_iter().collect())
    }

    /// Whether a new row image fits a check that asks for other tables: those are looked up, the
    /// rest is evaluated on the image.
    pub(super) async fn related_fits(&self, grant: &Grant, cells: &[Cell]) -> Result<bool> {
        self.fits(&grant.schema, &grant.check, cells).await
    }

    fn fits<'a>(
        &'a self,
        schema: &'a Arc<Schema>,
        predicate: &'a Predicate,
        cells: &'a [Cell],
    ) -> BoxFuture<'a, Result<bool>> {
        async move {
            match predicate {
                Predicate::And(all) => {
                    for one in all {
                        if !self.fits(schema, one, cells).await? {
                            return Ok(false);
                        }
                    }
                    Ok(true)
                }
                Predicate::Or(any) => {
                    for one in any {
                        if self.fits(schema, one, cells).await? {
                            return Ok(true);
                        }
                    }
                    Ok(false)
                }
                Predicate::Not(inner) => Ok(!self.fits(schema, inner, cells).await?),
                Predicate::Related {
                    column,
                    table,
                    predicate,
                } => {
                    let id = schema
                        .position(&column.field.name)
                        .and_then(|position| cells[position].as_text());
                    let registry = self.catalog.current();
                    match (id, registry.schema(table)) {
                        (Some(id), Some(target)) => {
                            let grant = Grant {
                                schema: Arc::clone(target),
                                rows: (**predicate).clone(),
                                check: Predicate::True,
                                readable: crate::domain::policy::FieldSet::All,
                                editable: crate::domain::policy::FieldSet::All,
                                transfer: false,
                            };
                            self.is_visible(&grant, id).await
                        }
                        _ => Ok(false),
                    }
                }
                other => Ok(other.matches(schema, cells)),
            }
        }
        .boxed()
    }

    /// Nobody assigns rights that they lack (spec/security.md §3).
    pub(super) fn check_assignment(
        &self,
        work: &Work,
        schema: &Schema,
        cells: &[Cell],
    ) -> Result<()> {
        let Principal::User(identity) = &work.principal else {
            return Ok(());
        };
        if !is_assignment(schema) || identity.is_admin() {
            return Ok(());
        }
        let Some(name) = schema
            .position("permission_set")
            .and_then(|position| cells[position].as_text())
        else {
            // A position may carry any set tomorrow: only administrators give positions.
            return Err(Error::denied("Only an administrator may assign positions")
                .with("object", schema.name()));
        };
        let covered = work
            .registry
            .permission_set(name)
            .is_some_and(|set| covers(identity, &work.registry, set));
        if covered {
            Ok(())
        } else {
            Err(Error::denied(format!(
                "Not allowed to assign `{name}`: it grants more than you hold"
            ))
            .with("object", schema.name())
            .with("subject", name))
        }
    }

    /// The last holder of `admin_full_access` keeps it.
    pub(super) async fn check_last_admin(
        &self,
        work: &Work,
        schema: &Arc<Schema>,
        row: &[Cell],
    ) -> Result<()> {
        let text = |field: &str| {
            schema
                .position(field)
                .and_then(|position| row[position].as_text())
        };
        if schema.name() != "sys_user_permission_set"
            || text("permission_set") != Some(ADMIN_PERMISSION_SET)
        {
            return Ok(());
        }
        let statement = mesh::db::Statement::new(
            "SELECT count(*) FROM sys_user_permission_set s JOIN sys_user u ON u.id = s.user_id \
             WHERE s.permission_set = $1 AND s.user_id <> $2 AND coalesce(u.disabled, $3) = $3",
        )
        .bind(ADMIN_PERMISSION_SET)
        .bind(text("user_id").unwrap_or_default())
        .bind(false);
        let others = self
            .db
            .query_one(statement, |row| row.int(0))
            .await?
            .unwrap_or_default();
        if others == 0 && matches!(work.principal, Principal::User(_)) {
            return Err(Error::new(
                Reason::InvalidState,
                "The last administrator keeps admin_full_access",
            )
            .with("reason", "LAST_ADMIN"));
        }
        Ok(())
    }
}

/// Whether an identity holds everything that a permission set grants.
fn covers(identity: &Identity, registry: &Registry, set: &PermissionSet) -> bool {
    let keys = set
        .system_permissions
        .iter()
        .all(|key| identity.has_permission(key));
    let bits = registry.schemas().all(|schema| {
        let given = crate::domain::rights::merge(&[set], schema, &[]);
        let held = registry.rights(identity, schema);
        (!given.create || held.create)
            && (!given.read || held.read)
            && (!given.edit || held.edit)
            && (!given.delete || held.delete)
            && (!given.transfer || held.transfer)
            && (!given.view_all || held.view_all)
            && (!given.modify_all || held.modify_all)
    });
    keys && bits
}

/// Deletes a row and settles every reference to it, all in one transaction
/// (spec/data-api.md §5). False when the row moved since it was read.
pub(super) async fn delete(
    tx: &mut Tx,
    registry: &Registry,
    job: &write::Delete,
    change: &Change,
) -> Result<bool> {
    if !remove(tx, job, change).await? {
        return Ok(false);
    }
    let mut gone = 1;
    settle(tx, registry, &job.schema, &job.id, change, &mut gone).await?;
    Ok(true)
}

async fn remove(tx: &mut Tx, job: &write::Delete, change: &Change) -> Result<bool> {
    let removed = if job.schema.object.soft_delete && job.schema.column("deleted_at").is_some() {
        let mut after = job.before.clone();
        put(
            &job.schema,
            &mut after,
            "deleted_at",
            Cell::DateTime(change.now()),
        );
        stamp(&job.schema, &mut after, change);
        let update = write::Update {
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
        summary::recompute(tx, &job.schema, Some(&job.before), None).await?;
        write::trace(tx, change, &job.schema, &job.id, Some(&job.before), None).await?;
    }
    Ok(removed)
}

fn settle<'a>(
    tx: &'a mut Tx,
    registry: &'a Registry,
    schema: &'a Schema,
    id: &'a str,
    change: &'a Change,
    gone: &'a mut usize,
) -> BoxFuture<'a, Result<()>> {
    async move {
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
                        remove(tx, &job, &change.with(Action::Delete)).await?;
                        settle(tx, registry, child, &job.id, change, gone).await?;
                    }
                }
                DeleteBehavior::SetNull => {
                    for before in rows {
                        unlink(tx, child, column, id, before, &change.with(Action::Update)).await?;
                    }
                }
            }
        }
        Ok(())
    }
    .boxed()
}

/// What a reference asks for when its target goes (spec/field-types.md §2).
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

fn deletion(schema: &Arc<Schema>, before: Vec<Cell>) -> write::Delete {
    write::Delete {
        schema: Arc::clone(schema),
        rows: Predicate::True,
        id: text(schema, &before, "id"),
        version: version(schema, &before),
        before,
    }
}

/// Takes the id out of a reference.
async fn unlink(
    tx: &mut Tx,
    schema: &Arc<Schema>,
    column: &Arc<Column>,
    id: &str,
    before: Vec<Cell>,
    change: &Change,
) -> Result<()> {
    let mut after = before.clone();
    let cell = match schema
        .position(&column.field.name)
        .map(|position| &before[position])
    {
        Some(Cell::Json(list)) => {
            let mut members: Vec<String> = serde_json::from_str(list).unwrap_or_default();
            members.retain(|member| member != id);
            Cell::Json(serde_json::to_string(&members).map_err(Error::internal)?)
        }
        _ => Cell::Null,
    };
    put(schema, &mut after, &column.field.name, cell);
    stamp(schema, &mut after, change);
    let job = write::Update {
        schema: Arc::clone(schema),
        rows: Predicate::True,
        id: text(schema, &before, "id"),
        version: version(schema, &before),
        before,
        after,
        references: Vec::new(),
    };
    if write::update(tx, &job).await? {
        summary::recompute(tx, schema, Some(&job.before), Some(&job.after)).await?;
        write::trace(
            tx,
            change,
            schema,
            &job.id,
            Some(&job.before),
            Some(&job.after),
        )
        .await?;
    }
    Ok(())
}

fn stamp(schema: &Schema, cells: &mut [Cell], change: &Change) {
    put(schema, cells, "updated_at", Cell::DateTime(change.now()));
    if let Some(user) = change.user_id() {
        put(schema, cells, "updated_by", Cell::Text(user.to_owned()));
    }
    let next = version(schema, cells) + 1;
    put(schema, cells, "version", Cell::Integer(next));
}

fn put(schema: &Schema, cells: &mut [Cell], field: &str, cell: Cell) {
    if let Some(position) = schema.position(field) {
        cells[position] = cell;
    }
}

fn text(schema: &Schema, cells: &[Cell], field: &str) -> String {
    schema
        .position(field)
        .and_then(|position| cells[position].as_text())
        .unwrap_or_default()
        .to_owned()
}

fn version(schema: &Schema, cells: &[Cell]) -> i64 {
    match schema.position("version").map(|position| &cells[position]) {
        Some(Cell::Integer(version)) => *version,
        _ => 0,
    }
}
