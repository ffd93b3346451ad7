//! Writing one record: prepared outside any transaction on the row as read, then applied in one
//! short transaction whose statements check again what was relied on (architecture.md §7).

use std::sync::Arc;

use futures::FutureExt as _;
use mesh::{Error, FieldViolation, Result, error::Reason};
use metadata::{ApiMethod, FieldType};

use super::{
    Engine, Record, Work,
    apply::{Effect, NewRow, apply_create, apply_update, moved},
    hooks::Moment,
    malformed_first,
    read::{record_json, record_not_found, version_of, write_formulas},
};
use crate::{
    domain::{
        cell::Cell,
        policy::{ASSIGNMENTS, Grant, Operation, Principal},
        predicate::{ColumnRef, Predicate},
        query,
        record::{
            body::Body,
            default::Scope,
            password,
            prepare::{self, Cells, Payload, Writer},
            rules::{self, States},
        },
        schema::Schema,
    },
    registry::hooks::HookEvent,
    store::write::{self, Change},
};

/// How often a write is prepared again when its row moved under it.
pub(super) const ATTEMPTS: usize = 3;

impl Engine {
    /// Creates a record.
    ///
    /// # Errors
    /// As spec/data-api.md §3 and §13.
    pub async fn create(&self, work: &Work, object: &str, body: &[u8]) -> Result<Record> {
        let body = malformed_first(Body::parse(body))?;
        let grant = work.open(object, ApiMethod::Create, Operation::Create)?;
        let row = Arc::new(self.prepare_create(work, &grant, body?).await?);
        let change = Arc::new(Change::of(work, write::Action::Create));
        let schema = Arc::clone(&row.schema);
        let cells = self
            .db
            .write(move |tx| {
                let (row, change) = (Arc::clone(&row), Arc::clone(&change));
                async move { apply_create(tx, &row, &change).await }.boxed()
            })
            .await?;
        self.changes.wake();
        self.answer(work, &schema, &cells).await
    }

    /// Checks a body against everything that does not need the transaction.
    pub(super) async fn prepare_create(
        &self,
        work: &Work,
        grant: &Grant,
        body: Body,
    ) -> Result<NewRow> {
        let schema = Arc::clone(&grant.schema);
        let writer = writer(work);
        let Payload {
            id,
            mut cells,
            mut problems,
            ..
        } = prepare::payload(grant, body, writer)?;
        check_transfer(work, grant, &cells)?;
        let id = id.unwrap_or_else(mesh::id::new);
        let mut effects = Vec::new();
        if problems.is_empty() {
            let moment = Moment {
                schema: &schema,
                event: HookEvent::BeforeInsert,
                id: &id,
                before: None,
                after: None,
            };
            self.before_hooks(work, &moment, &mut cells, &mut effects)
                .await?;
        }
        let given = cells.clone();
        let scope = scope(work);
        prepare::apply_defaults(&schema, &mut cells, &scope, &mut problems);
        stamp_new(work, &schema, &mut cells, writer)?;
        prepare::check_required(&schema, &cells, &mut problems);
        if work.principal.is_bound_by_apps() {
            let row: Vec<Cell> = cells
                .0
                .iter()
                .map(|cell| cell.clone().unwrap_or(Cell::Null))
                .collect();
            let speaker = work.speaker();
            let states = States {
                before: None,
                after: &row,
                speaker: &speaker,
            };
            rules::check(&schema, &states, &mut problems);
            rules::check_required_when(&schema, &states, &mut problems);
        }
        let references = self
            .check_references(work, &schema, &cells, writer, &mut problems)
            .await?;
        if !problems.is_empty() {
            return Err(prepare::invalid(&schema, problems));
        }
        password::hash(&schema, &mut cells).await?;
        cells.set(&schema, "id", Cell::Text(id.clone()));
        let cells: Vec<Cell> = cells
            .0
            .into_iter()
            .map(|cell| cell.unwrap_or(Cell::Null))
            .collect();
        self.check_assignment(work, &schema, &cells)?;
        if !grant.check.matches(&schema, &cells) && !self.related_fits(grant, &cells).await? {
            return Err(not_allowed(&schema, "create a record like this"));
        }
        let moment = Moment {
            schema: &schema,
            event: HookEvent::AfterInsert,
            id: &id,
            before: None,
            after: Some(&cells),
        };
        self.after_hooks(work, &moment, &given, &mut effects)
            .await?;
        let autonumbers = write::autonumbers(&schema, &cells, work.now);
        Ok(NewRow {
            effects,
            schema,
            cells,
            id,
            autonumbers,
            references,
        })
    }

    /// Changes a record.
    ///
    /// # Errors
    /// As spec/data-api.md §4, §6 and §13.
    pub async fn update(
        &self,
        work: &Work,
        object: &str,
        id: &str,
        body: &[u8],
        if_match: &str,
    ) -> Result<Record> {
        let body = malformed_first(Body::parse(body))?;
        let edit = work.open(object, ApiMethod::Update, Operation::Edit)?;
        let schema = Arc::clone(&edit.schema);
        let payload = prepare::payload(&edit, body?, writer(work))?;
        if payload.id.as_ref().is_some_and(|other| other != id) {
            return Err(Error::fields(vec![FieldViolation::new(
                "id",
                "invalid_format",
                "id cannot be changed; leave it out",
            )]));
        }
        let token = payload
            .expected_version
            .clone()
            .unwrap_or_else(|| if_match.to_owned());
        for _ in 0..ATTEMPTS {
            let columns: Vec<ColumnRef> = schema.columns.clone();
            let before = self
                .reach(work, &edit, Operation::Edit, id, &columns)
                .await?;
            self.check_version(work, &schema, &columns, &before, id, &token)
                .await?;
            if payload.cells.0.iter().all(Option::is_none) && payload.problems.is_empty() {
                return self.answer(work, &schema, &before).await;
            }
            let prepared = self.prepare_update(work, &edit, &payload, id, &before);
            let (after, references, effects) = prepared.await?;
            let effects = Arc::new(effects);
            let change = Arc::new(Change::of(work, write::Action::Update));
            let job = Arc::new(write::Update {
                schema: Arc::clone(&schema),
                rows: edit.rows.clone(),
                id: id.to_owned(),
                version: version_of(&columns, &before),
                before,
                after,
                references,
            });
            let once = work.once.clone();
            let applied = self
                .db
                .write(move |tx| {
                    let (job, change) = (Arc::clone(&job), Arc::clone(&change));
                    let (effects, once) = (Arc::clone(&effects), once.clone());
                    async move {
                        let applied = apply_update(tx, &job, &effects, &change).await?;
                        if let (Some(_), Some(once)) = (&applied, &once) {
                            once.claim_or_undo(tx).await?;
                        }
                        Ok::<_, Error>(applied)
                    }
                    .boxed()
                })
                .await?;
            if let Some(after) = applied {
                self.changes.wake();
                return self.answer(work, &schema, &after).await;
            }
        }
        Err(moved(&schema, id))
    }

    async fn prepare_update(
        &self,
        work: &Work,
        grant: &Grant,
        payload: &Payload,
        id: &str,
        before: &[Cell],
    ) -> Result<(Vec<Cell>, Vec<(String, String, Vec<String>)>, Vec<Effect>)> {
        let schema = &grant.schema;
        let mut cells = payload.cells.clone();
        let mut problems = payload.problems.clone();
        // Setting owner or organisation to what it is already is no transfer.
        for field in ["owner_id", "organization_id"] {
            if let Some(position) = schema.position(field)
                && cells.0[position].as_ref() == Some(&before[position])
            {
                cells.0[position] = None;
            }
        }
        if !grant.transfer
            && ["owner_id", "organization_id"]
                .iter()
                .any(|field| cells.get(schema, field).is_some())
        {
            return Err(not_allowed(schema, "change the owner or the organisation"));
        }
        let mut effects = Vec::new();
        if problems.is_empty() {
            let moment = Moment {
                schema,
                event: HookEvent::BeforeUpdate,
                id,
                before: Some(before),
                after: None,
            };
            self.before_hooks(work, &moment, &mut cells, &mut effects)
                .await?;
        }
        let given = cells.clone();
        prepare::check_required(schema, &cells, &mut problems);
        if work.principal.is_bound_by_apps() {
            let speaker = work.speaker();
            if writer(work) == Writer::Caller {
                rules::drop_readonly(schema, before, &mut cells, &speaker);
            }
            let states = States {
                before: Some(before),
                after: &overlay(before, &cells),
                speaker: &speaker,
            };
            rules::check(schema, &states, &mut problems);
            rules::check_required_when(schema, &states, &mut problems);
        }
        let references = self
            .check_references(work, schema, &cells, writer(work), &mut problems)
            .await?;
        if !problems.is_empty() {
            return Err(prepare::invalid(schema, problems));
        }
        password::hash(schema, &mut cells).await?;
        let mut after = overlay(before, &cells);
        set(schema, &mut after, "updated_at", Cell::DateTime(work.now));
        if let Some(user) = work.principal.user_id() {
            set(
                schema,
                &mut after,
                "updated_by",
                Cell::Text(user.to_owned()),
            );
        }
        if schema.is_versioned() {
            let version = version_of(&schema.columns, before);
            set(schema, &mut after, "version", Cell::Integer(version + 1));
        }
        if !grant.check.matches(schema, &after) && !self.related_fits(grant, &after).await? {
            return Err(not_allowed(schema, "change the record to this"));
        }
        let moment = Moment {
            schema,
            event: HookEvent::AfterUpdate,
            id,
            before: Some(before),
            after: Some(&after),
        };
        self.after_hooks(work, &moment, &given, &mut effects)
            .await?;
        Ok((after, references, effects))
    }

    /// Makes a change ready that a hook asks for.
    ///
    /// # Errors
    /// Those of [`Engine::update`].
    pub(super) async fn prepare_change(
        &self,
        work: &Work,
        object: &str,
        id: &str,
        data: &serde_json::Value,
    ) -> Result<(write::Update, Vec<Effect>)> {
        let edit = work.open(object, ApiMethod::Update, Operation::Edit)?;
        let schema = Arc::clone(&edit.schema);
        let body = Body::parse(data.to_string().as_bytes())?;
        let payload = prepare::payload(&edit, body, writer(work))?;
        let before = self
            .reach(work, &edit, Operation::Edit, id, &schema.columns)
            .await?;
        let prepared = self.prepare_update(work, &edit, &payload, id, &before);
        let (after, references, effects) = prepared.await?;
        let job = write::Update {
            rows: edit.rows.clone(),
            id: id.to_owned(),
            version: version_of(&schema.columns, &before),
            before,
            after,
            references,
            schema,
        };
        Ok((job, effects))
    }

    /// The row as the operation reaches it. Not visible is 404; visible but out of reach is 403.
    pub(super) async fn reach(
        &self,
        work: &Work,
        grant: &Grant,
        operation: Operation,
        id: &str,
        columns: &[ColumnRef],
    ) -> Result<Vec<Cell>> {
        if let Some(row) = self.row(grant, id, columns).await? {
            // An edit right never reaches further than what may be read.
            let read = work.grant(&grant.schema, Operation::Read);
            return match read {
                // What was just read under the same predicate, or would be under none, need not be
                // read again.
                Ok(read) if read.rows == Predicate::True || read.rows == grant.rows => Ok(row),
                Ok(read) if self.is_visible(&read, id).await? => Ok(row),
                _ => Err(record_not_found(grant.schema.name(), id)),
            };
        }
        match work.grant(&grant.schema, Operation::Read) {
            Ok(read) if self.is_visible(&read, id).await? => Err(not_allowed(
                &grant.schema,
                &format!("{} this record", operation.as_str()),
            )
            .with("id", id)
            .with("operation", operation.as_str())),
            _ => Err(record_not_found(grant.schema.name(), id)),
        }
    }

    /// Refuses a stale version, with the record as the caller may see it.
    pub(super) async fn check_version(
        &self,
        work: &Work,
        schema: &Arc<Schema>,
        columns: &[ColumnRef],
        row: &[Cell],
        id: &str,
        token: &str,
    ) -> Result<()> {
        let updated_at = schema.position("updated_at").map(|position| &row[position]);
        let version = version_of(columns, row);
        if prepare::version_fits(token, version, updated_at)? {
            return Ok(());
        }
        let bare = token.trim().trim_start_matches("W/").trim_matches('"');
        let current = if bare.bytes().all(|byte| byte.is_ascii_digit()) {
            version.to_string()
        } else {
            updated_at.map_or_else(String::new, |cell| {
                cell.to_json().as_str().unwrap_or_default().to_owned()
            })
        };
        let shown = self.answer(work, schema, row).await.ok();
        let record: serde_json::Value = shown
            .and_then(|record| serde_json::from_slice(&record.json).ok())
            .unwrap_or_default();
        Err(Error::new(
            Reason::ConcurrentUpdate,
            format!("Record {}/{id} was modified by another user", schema.name()),
        )
        .with("object", schema.name())
        .with("id", id)
        .with("expectedVersion", bare)
        .with("currentVersion", current)
        .with("currentRecord", record))
    }

    /// The record as the caller may read it. A caller who may write but not read gets its id.
    pub(super) async fn answer(
        &self,
        work: &Work,
        schema: &Arc<Schema>,
        cells: &[Cell],
    ) -> Result<Record> {
        let read = work.grant(schema, Operation::Read);
        let (mut columns, mut shown) = (Vec::new(), Vec::new());
        for (column, cell) in schema.columns.iter().zip(cells) {
            let name = column.field.name.as_str();
            let secret = matches!(
                column.field.field_type,
                FieldType::Password | FieldType::Secret
            ) || column.field.internal
                || name == "deleted_at";
            let readable = match &read {
                Ok(grant) => grant.can_read(name),
                Err(_) => name == "id",
            };
            if readable && !secret {
                columns.push(Arc::clone(column));
                shown.push(cell.clone());
            }
        }
        let id = schema
            .position("id")
            .and_then(|position| cells[position].as_text())
            .unwrap_or_default();
        let mut json = record_json(&columns, &shown);
        if !schema.formulas.is_empty()
            && let Ok(grant) = &read
        {
            let formulas = query::readable_formulas(grant);
            let found = self
                .look_up(work, &formulas, &schema.columns, &[cells])
                .await?;
            json.pop();
            write_formulas(
                &mut json,
                &formulas,
                &schema.columns,
                cells,
                &found,
                &work.speaker(),
            );
            json.push(b'}');
        }
        Ok(Record {
            id: id.to_owned(),
            version: version_of(&schema.columns, cells),
            json,
        })
    }
}

/// Owner and organisation of a new record may be named only by those who may transfer.
fn check_transfer(work: &Work, grant: &Grant, cells: &Cells) -> Result<()> {
    if grant.transfer {
        return Ok(());
    }
    let own = [
        ("owner_id", work.principal.user_id()),
        ("organization_id", work.principal.organization_id()),
    ];
    for (field, own) in own {
        match cells.get(&grant.schema, field) {
            Some(Cell::Text(given)) if Some(given.as_str()) != own => {
                return Err(not_allowed(
                    &grant.schema,
                    "create a record for another owner or organisation",
                )
                .with("field", field));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The row with the cells that were named laid over it.
fn overlay(before: &[Cell], cells: &Cells) -> Vec<Cell> {
    before
        .iter()
        .zip(&cells.0)
        .map(|(old, new)| new.clone().unwrap_or_else(|| old.clone()))
        .collect()
}

/// Sets what only the server decides about a new record.
fn stamp_new(work: &Work, schema: &Schema, cells: &mut Cells, writer: Writer) -> Result<()> {
    let user = work
        .principal
        .user_id()
        .map_or(Cell::Null, |id| Cell::Text(id.to_owned()));
    let mut put = |field: &str, cell: Cell| {
        let given = cells.get(schema, field).is_some_and(|cell| !cell.is_null());
        // The system may bring history along.
        if writer == Writer::Caller || !given {
            cells.set(schema, field, cell);
        }
    };
    put("created_at", Cell::DateTime(work.now));
    put("updated_at", Cell::DateTime(work.now));
    put("created_by", user.clone());
    put("updated_by", user.clone());
    put("version", Cell::Integer(1));
    put("deleted_at", Cell::Null);
    if cells.get(schema, "owner_id").is_none_or(Cell::is_null) {
        cells.set(schema, "owner_id", user);
    }
    if schema.object.tenancy
        && cells
            .get(schema, "organization_id")
            .is_none_or(Cell::is_null)
    {
        let organization = match &work.principal {
            Principal::User(identity) => identity.organization_id.clone().ok_or_else(|| {
                Error::denied("You act in no organisation").with("reason", "NO_ORGANIZATION")
            })?,
            Principal::System(_) => super::seed::DEFAULT_ORGANIZATION.to_owned(),
        };
        cells.set(schema, "organization_id", Cell::Text(organization));
    }
    Ok(())
}

pub(super) fn writer(work: &Work) -> Writer {
    match work.principal {
        Principal::User(_) => Writer::Caller,
        Principal::System(_) => Writer::System,
    }
}

pub(super) fn scope(work: &Work) -> Scope {
    Scope {
        now: work.now,
        user_id: work.principal.user_id().map(str::to_owned),
        speaker: work.speaker(),
    }
}

fn set(schema: &Schema, cells: &mut [Cell], field: &str, cell: Cell) {
    if let Some(position) = schema.position(field) {
        cells[position] = cell;
    }
}

fn not_allowed(schema: &Schema, what: &str) -> Error {
    Error::denied(format!("Not allowed to {what} of {}", schema.name()))
        .with("object", schema.name())
}

/// Whether the object is one whose records grant rights.
pub(super) fn is_assignment(schema: &Schema) -> bool {
    ASSIGNMENTS.contains(&schema.name())
}
