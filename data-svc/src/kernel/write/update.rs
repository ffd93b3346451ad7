//! What happens on an update, from top to bottom (docs/reference/data-api.md §4, §6, §13).

use std::sync::Arc;

use mesh::{Error, FieldViolation, Result};
use metadata::ApiMethod;

use super::{
    after::Context,
    answer::View,
    apply::{DeferredWrite, conflict},
    body::Body,
    commit::{Change, Ready, commit},
    hooks::{self, Invocation},
    idempotency::{self, Begun, Claim},
    password,
    prepare::{self, Cells, Payload, Writer},
    reach::{self, ATTEMPTS, not_allowed},
    references,
    rules::{self, States},
};
use crate::kernel::{
    Kernel, Record, Work,
    access::{Grant, assignment},
    malformed_first,
    model::{cell::Cell, hooks::HookEvent, rights::Operation, schema::Schema},
    query,
    store::write::Update,
};

/// Changes a record; under an `Idempotency-Key` that is not empty, once for each key. `if_match` is
/// the version that the record must have, empty for any; the body may name it instead
/// (`expectedVersion`).
///
/// # Errors
/// As docs/reference/data-api.md §4, §6 and §13, and of a key as [`create`](super::create()).
pub async fn update(
    kernel: &Kernel,
    work: &Work,
    (object, id): (&str, &str),
    body: &[u8],
    if_match: &str,
    key: &str,
) -> Result<Record> {
    idempotency::check(key)?;
    let parsed = malformed_first(Body::parse(body))?;
    let edit = work.open(object, ApiMethod::Update, Operation::Edit)?;
    let parts = ["update", object, id, if_match].map(str::as_bytes);
    let call = idempotency::Call::new(work, key, &[parts.as_slice(), &[body]].concat());
    let claim = match idempotency::begin(kernel, work, &edit.schema, call).await? {
        Begun::Answered(record) => return Ok(record),
        Begun::Fresh(claim) => claim,
    };
    let changed = change(kernel, work, &edit, id, parsed, if_match, claim.clone()).await;
    idempotency::end(kernel, work, &edit.schema, claim, changed).await
}

async fn change(
    kernel: &Kernel,
    work: &Work,
    edit: &Grant,
    id: &str,
    body: Result<Body>,
    if_match: &str,
    claim: Option<Claim>,
) -> Result<Record> {
    let schema = &edit.schema;
    let payload = prepare::payload(edit, body?, Writer::of(work))?;
    if payload.id.as_ref().is_some_and(|other| other != id) {
        return Err(Error::fields(vec![FieldViolation::new(
            "id",
            "invalid_format",
            "id cannot be changed; leave it out",
        )]));
    }
    let token = payload.expected_version.as_deref().unwrap_or(if_match);
    for _ in 0..ATTEMPTS {
        let before = reach::row(kernel, work, edit, Operation::Edit, id).await?;
        reach::check_version(kernel, work, schema, &before, id, token).await?;
        if payload.cells.0.iter().all(Option::is_none) && payload.problems.is_empty() {
            let view = View::of(work, schema)?;
            return idempotency::keep_alone(kernel, claim, view, before).await;
        }
        let (job, deferred_writes) = prepare(kernel, work, edit, &payload, id, before).await?;
        let view = View::of(work, schema)?;
        let ready = Arc::new(Ready {
            change: Change::Update(job, deferred_writes),
            view,
            context: Context::of(kernel, work),
            claim: claim.clone(),
        });
        if let Some(written) = commit(kernel, &ready).await? {
            return ready.answer(kernel, written).await;
        }
    }
    Err(conflict(schema, id))
}

/// Makes a change of a row ready, and what its hooks write.
async fn prepare(
    kernel: &Kernel,
    work: &Work,
    grant: &Grant,
    payload: &Payload,
    id: &str,
    before: Vec<Cell>,
) -> Result<(Update, Vec<DeferredWrite>)> {
    let schema = &grant.schema;
    let writer = Writer::of(work);
    let mut cells = payload.cells.clone();
    let mut problems = payload.problems.clone();
    check_transfer(grant, &before, &mut cells)?;
    let mut deferred_writes = Vec::new();
    if problems.is_empty() {
        let invocation = Invocation {
            schema,
            event: HookEvent::BeforeUpdate,
            id,
            before: Some(&before),
            after: None,
        };
        hooks::before(kernel, work, &invocation, &mut cells, &mut deferred_writes).await?;
    }
    let given = cells.clone();
    prepare::check_required(schema, &cells, &mut problems);
    if work.principal.is_bound_by_apps() {
        let eval_context = work.eval_context();
        if writer == Writer::Caller {
            rules::drop_readonly(schema, &before, &mut cells, &eval_context);
        }
        let states = States {
            before: Some(&before),
            after: &cells.over(&before),
            eval_context: &eval_context,
        };
        rules::check(schema, &states, &mut problems);
        rules::check_required_when(schema, &states, &mut problems);
    }
    let ties = references::check(kernel, work, schema, &cells, writer, &mut problems).await?;
    if !problems.is_empty() {
        return Err(prepare::invalid(schema, problems));
    }
    password::hash(schema, &mut cells).await?;
    let mut after = cells.over(&before);
    stamp(work, schema, &before, &mut after);
    for row in [&before, &after] {
        assignment::check(&work.registry, &work.principal, schema, row)?;
    }
    let object = |name: &str| work.registry.schema(name);
    if !query::fits(&kernel.db, object, schema, &grant.check, &after).await? {
        return Err(not_allowed(schema, "change the record to this"));
    }
    let invocation = Invocation {
        schema,
        event: HookEvent::AfterUpdate,
        id,
        before: Some(&before),
        after: Some(&after),
    };
    hooks::after(kernel, work, &invocation, &given, &mut deferred_writes).await?;
    let job = Update {
        schema: Arc::clone(schema),
        rows: grant.rows.clone(),
        id: id.to_owned(),
        version: schema.version_of(&before),
        before,
        after,
        references: ties,
    };
    Ok((job, deferred_writes))
}

/// Makes a change ready that a hook asks for.
///
/// # Errors
/// Those of [`update`].
pub(super) async fn prepare_change(
    kernel: &Kernel,
    work: &Work,
    object: &str,
    id: &str,
    data: &serde_json::Value,
) -> Result<(Update, Vec<DeferredWrite>)> {
    let edit = work.open(object, ApiMethod::Update, Operation::Edit)?;
    let body = Body::parse(data.to_string().as_bytes())?;
    let payload = prepare::payload(&edit, body, Writer::of(work))?;
    let before = reach::row(kernel, work, &edit, Operation::Edit, id).await?;
    prepare(kernel, work, &edit, &payload, id, before).await
}

/// Owner and organisation are changed only by those who may transfer; setting them to what they are
/// already is no transfer.
fn check_transfer(grant: &Grant, before: &[Cell], cells: &mut Cells) -> Result<()> {
    let schema = &grant.schema;
    let mut is_transfer = false;
    for field in ["owner_id", "organization_id"] {
        let Some(position) = schema.position(field) else {
            continue;
        };
        if cells.0[position].as_ref() == Some(&before[position]) {
            cells.0[position] = None;
        }
        is_transfer |= cells.0[position].is_some();
    }
    match is_transfer && !grant.transfer {
        true => Err(not_allowed(schema, "change the owner or the organisation")),
        false => Ok(()),
    }
}

/// Sets what only the server decides about a changed record.
fn stamp(work: &Work, schema: &Schema, before: &[Cell], after: &mut [Cell]) {
    schema.put(after, "updated_at", Cell::DateTime(work.now));
    if let Some(user) = work.principal.user_id() {
        schema.put(after, "updated_by", Cell::Text(user.to_owned()));
    }
    schema.put(
        after,
        "version",
        Cell::Integer(schema.version_of(before) + 1),
    );
}
