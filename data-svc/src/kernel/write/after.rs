//! What every change of a record leaves behind, in its transaction: summaries, the audit entry, and
//! what rooms join in with. Create, update, delete, cascade and import pass here alike.

use std::sync::Arc;

use futures::future::BoxFuture;
use mesh::{
    audit::{Actor, Entry},
    db::{DbError, Tx},
};
use metadata::FieldType;
use time::OffsetDateTime;

use super::summary;
use crate::kernel::{
    Kernel, Work,
    access::Principal,
    model::{
        cell::{Cell, write_text},
        registry::Registry,
        schema::Schema,
    },
    store,
};

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It was created.
    Create,
    /// It was changed.
    Update,
    /// It was deleted.
    Delete,
}

impl Operation {
    /// The word in the audit and the outbox.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A change of a record, as it is about to be committed.
#[derive(Debug)]
pub struct Change<'c> {
    /// The object.
    pub object: &'c str,
    /// The record.
    pub record_id: &'c str,
    /// What happened.
    pub operation: Operation,
    /// Version of the record after the change; before it for a deletion.
    pub record_version: i64,
    /// The record before, as JSON text without secrets.
    pub before: Option<String>,
    /// The record after, as JSON text without secrets.
    pub after: Option<String>,
    /// Id of the user who wrote, or `system:<reason>`.
    pub user_id: &'c str,
    /// The request.
    pub request_id: &'c str,
    /// When.
    pub at: OffsetDateTime,
}

/// How a room joins in every write.
pub trait AfterWrite: Send + Sync {
    /// Adds to the transaction of changes, which are of different records. An error undoes all of it.
    ///
    /// # Errors
    /// Those of the database.
    fn after_write<'t>(
        &'t self,
        tx: &'t mut Tx,
        changes: &'t [Change<'t>],
    ) -> BoxFuture<'t, Result<(), DbError>>;

    /// Hears that a transaction with changes was committed.
    fn committed(&self);
}

/// What the transaction of a write works with: who writes, when, on which request and snapshot.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) registry: Arc<Registry>,
    pub(super) now: OffsetDateTime,
    actor: Actor,
    /// As the outbox has it: the user, or `system:<reason>`.
    user_id: String,
    organization_id: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    request_id: Arc<str>,
    joined: Arc<dyn AfterWrite>,
}

impl Context {
    /// That of a piece of work.
    pub(super) fn of(kernel: &Kernel, work: &Work) -> Self {
        let (actor, user_id) = match &work.principal {
            Principal::User(identity) => (Actor::of(identity), identity.subject.clone()),
            Principal::System(system) => {
                let reason = system.reason().as_str();
                (Actor::System(reason), format!("system:{reason}"))
            }
        };
        Self {
            registry: Arc::clone(&work.registry),
            now: work.now,
            actor,
            user_id,
            organization_id: work.principal.organization_id().map(str::to_owned),
            ip_address: work.client_address.clone(),
            user_agent: work.user_agent.clone(),
            request_id: Arc::clone(&work.request_id),
            joined: Arc::clone(&kernel.after_write),
        }
    }

    /// The person who writes; `None` for the platform.
    pub(super) fn user_id(&self) -> Option<&str> {
        self.actor.user_id()
    }
}

/// A row that changed; one that comes or goes has no image before or after.
pub(super) struct Row<'r> {
    pub(super) operation: Operation,
    pub(super) schema: &'r Schema,
    pub(super) id: &'r str,
    pub(super) before: Option<&'r [Cell]>,
    pub(super) after: Option<&'r [Cell]>,
}

/// Leaves behind what a change leaves behind.
///
/// # Errors
/// Those of the database.
pub(super) async fn after_write(
    tx: &mut Tx,
    context: &Context,
    row: Row<'_>,
) -> Result<(), DbError> {
    summary::recompute(tx, row.schema, row.before, row.after).await?;
    leave(tx, &[(context, row)]).await
}

/// Leaves behind what changes of different records leave behind, but for summaries.
///
/// # Errors
/// Those of the database.
pub(super) async fn leave(tx: &mut Tx, rows: &[(&Context, Row<'_>)]) -> Result<(), DbError> {
    let Some((first, _)) = rows.first() else {
        return Ok(());
    };
    let changes: Vec<Change<'_>> = rows
        .iter()
        .map(|(context, row)| change(context, row))
        .collect();
    let entries = rows.iter().zip(&changes);
    let entries: Vec<Entry> = entries
        .map(|((context, _), change)| entry(context, change))
        .collect();
    store::audit::add(tx, &entries).await?;
    first.joined.after_write(tx, &changes).await
}

fn change<'c>(context: &'c Context, row: &Row<'c>) -> Change<'c> {
    let schema = row.schema;
    let latest = match row.operation {
        Operation::Create | Operation::Update => row.after,
        Operation::Delete => row.before,
    };
    Change {
        object: schema.name(),
        record_id: row.id,
        operation: row.operation,
        record_version: latest.map_or(0, |cells| schema.version_of(cells)),
        before: row.before.and_then(|cells| image(schema, cells)),
        after: row.after.and_then(|cells| image(schema, cells)),
        user_id: &context.user_id,
        request_id: &context.request_id,
        at: context.now,
    }
}

fn entry(context: &Context, change: &Change<'_>) -> Entry {
    Entry {
        at: change.at,
        old_value: change.before.clone(),
        new_value: change.after.clone(),
        ip_address: context.ip_address.clone(),
        user_agent: context.user_agent.clone(),
        organization_id: context.organization_id.clone(),
        object: Some(change.object.to_owned().into()),
        record_id: Some(change.record_id.to_owned()),
        ..Entry::new(
            change.operation.as_str(),
            context.actor.clone(),
            &context.request_id,
        )
    }
}

/// A row as JSON for audit and outbox; secrets are left out.
fn image(schema: &Schema, cells: &[Cell]) -> Option<String> {
    let mut json = Vec::with_capacity(cells.len() * 32);
    json.push(b'{');
    for (column, cell) in schema.columns.iter().zip(cells) {
        if matches!(
            column.field.field_type,
            FieldType::Password | FieldType::Secret
        ) {
            continue;
        }
        if json.len() > 1 {
            json.push(b',');
        }
        write_text(&mut json, &column.field.name);
        json.push(b':');
        cell.write_json(&mut json);
    }
    json.push(b'}');
    String::from_utf8(json).ok()
}
