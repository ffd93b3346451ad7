//! What happens on a create, from top to bottom (docs/reference/data-api.md §3, §13).

use std::sync::Arc;

use futures::FutureExt as _;
use mesh::{Error, Result, error::Reason};
use metadata::ApiMethod;

use super::{
    after::Context,
    answer::View,
    apply::{self, NewRow},
    autonumber,
    body::Body,
    commit::{Change, Ready, commit},
    default::Scope,
    hooks::{self, Invocation},
    idempotency::{self, Begun},
    password,
    prepare::{self, Cells, Payload, Writer},
    reach::{ATTEMPTS, not_allowed},
    references,
    rules::{self, States},
};
use crate::kernel::{
    Kernel, Record, Work,
    access::{Grant, Principal, assignment},
    malformed_first,
    model::{
        DEFAULT_ORGANIZATION, cell::Cell, hooks::HookEvent, rights::Operation, schema::Schema,
    },
    query, store,
};

/// Creates a record; under an `Idempotency-Key` that is not empty, once for each key.
///
/// # Errors
/// As docs/reference/data-api.md §3 and §13; for a key, VALIDATION_ERROR `IDEMPOTENCY_KEY_REUSED` under which
/// something else was asked.
pub async fn create(
    kernel: &Kernel,
    work: &Work,
    object: &str,
    body: &[u8],
    key: &str,
) -> Result<Record> {
    idempotency::check(key)?;
    let parsed = malformed_first(Body::parse(body))?;
    let grant = work.open(object, ApiMethod::Create, Operation::Create)?;
    let call = idempotency::Call::new(work, key, &[object.as_bytes(), body]);
    let claim = match idempotency::begin(kernel, work, &grant.schema, call).await? {
        Begun::Answered(record) => return Ok(record),
        Begun::Fresh(claim) => claim,
    };
    let row = prepare(kernel, work, &grant, parsed?).await?;
    let view = View::of(work, &row.schema)?;
    let ready = Arc::new(Ready {
        change: Change::Create(row),
        view,
        context: Context::of(kernel, work),
        claim: claim.clone(),
    });
    let created = match commit(kernel, &ready).await {
        Ok(Some(written)) => ready.answer(kernel, written).await,
        Ok(None) => Err(Error::internal(anyhow::anyhow!("a new row had moved"))),
        Err(error) => Err(error),
    };
    idempotency::end(kernel, work, &grant.schema, claim, created).await
}

/// Creates several records in one transaction, all or none, and tells how many: those whose id, or
/// whose unique value, is there already are left out. For rooms that bring records along; no hooks
/// of others and no answers.
///
/// # Errors
/// As [`create`].
pub async fn create_all(
    kernel: &Kernel,
    work: &Work,
    records: Vec<(&str, serde_json::Map<String, serde_json::Value>)>,
) -> Result<usize> {
    let mut rows = Vec::new();
    for (object, fields) in records {
        let grant = work.open(object, ApiMethod::Create, Operation::Create)?;
        let body = Body::parse(serde_json::Value::Object(fields).to_string().as_bytes())?;
        rows.push(prepare(kernel, work, &grant, body).await?);
    }
    let job = Arc::new((rows, Context::of(kernel, work)));
    let mut attempt = 1;
    loop {
        let prepared = Arc::clone(&job);
        let created = kernel.db.write::<_, Error, _>(move |tx| {
            let job = Arc::clone(&prepared);
            async move {
                let (rows, context) = &*job;
                let mut created = 0;
                for row in rows {
                    if !store::write::is_there(tx, &row.schema, &row.cells).await? {
                        apply::create(tx, context, row).await?;
                        created += 1;
                    }
                }
                Ok(created)
            }
            .boxed()
        });
        match created.await {
            // Another one brings the same record along at this moment.
            Err(error) if error.reason() == Reason::UniqueViolation && attempt < ATTEMPTS => {
                attempt += 1;
            }
            Err(error) => return Err(error),
            Ok(created) => {
                kernel.after_write.committed();
                return Ok(created);
            }
        }
    }
}

/// Checks a body against everything that does not need the transaction.
pub(super) async fn prepare(
    kernel: &Kernel,
    work: &Work,
    grant: &Grant,
    body: Body,
) -> Result<NewRow> {
    let schema = Arc::clone(&grant.schema);
    let writer = Writer::of(work);
    let Payload {
        id,
        mut cells,
        mut problems,
        ..
    } = prepare::payload(grant, body, writer)?;
    check_transfer(work, grant, &cells)?;
    let id = id.unwrap_or_else(mesh::id::new);
    let mut deferred_writes = Vec::new();
    if problems.is_empty() {
        let before = Invocation {
            schema: &schema,
            event: HookEvent::BeforeInsert,
            id: &id,
            before: None,
            after: None,
        };
        hooks::before(kernel, work, &before, &mut cells, &mut deferred_writes).await?;
    }
    let given = cells.clone();
    let scope = Scope::of(work);
    prepare::apply_defaults(&schema, &mut cells, &scope, &mut problems);
    stamp(work, &schema, &mut cells, writer)?;
    prepare::check_required(&schema, &cells, &mut problems);
    if work.principal.is_bound_by_apps() {
        let row = cells.whole();
        let states = States {
            before: None,
            after: &row,
            eval_context: &scope.eval_context,
        };
        rules::check(&schema, &states, &mut problems);
        rules::check_required_when(&schema, &states, &mut problems);
    }
    let ties = references::check(kernel, work, &schema, &cells, writer, &mut problems).await?;
    if !problems.is_empty() {
        return Err(prepare::invalid(&schema, problems));
    }
    password::hash(&schema, &mut cells).await?;
    cells.set(&schema, "id", Cell::Text(id.clone()));
    let cells = cells.whole();
    assignment::check(&work.registry, &work.principal, &schema, &cells)?;
    let object = |name: &str| work.registry.schema(name);
    if !query::fits(&kernel.db, object, &schema, &grant.check, &cells).await? {
        return Err(not_allowed(&schema, "create a record like this"));
    }
    let after = Invocation {
        schema: &schema,
        event: HookEvent::AfterInsert,
        id: &id,
        before: None,
        after: Some(&cells),
    };
    hooks::after(kernel, work, &after, &given, &mut deferred_writes).await?;
    Ok(NewRow {
        autonumbers: autonumber::autonumbers(&schema, &cells, work.now),
        deferred_writes,
        schema,
        cells,
        id,
        ties,
    })
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
        if let Some(Cell::Text(given)) = cells.get(&grant.schema, field)
            && Some(given.as_str()) != own
        {
            return Err(not_allowed(
                &grant.schema,
                "create a record for another owner or organisation",
            )
            .with("field", field));
        }
    }
    Ok(())
}

/// Sets what only the server decides about a new record.
fn stamp(work: &Work, schema: &Schema, cells: &mut Cells, writer: Writer) -> Result<()> {
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
            Principal::System(_) => DEFAULT_ORGANIZATION.to_owned(),
        };
        cells.set(schema, "organization_id", Cell::Text(organization));
    }
    Ok(())
}
