//! What happens on a delete, from top to bottom (docs/reference/data-api.md §5, §6).

use std::sync::Arc;

use futures::FutureExt as _;
use mesh::{Error, Result, error::Reason, identity::ADMIN_PERMISSION_SET};
use metadata::ApiMethod;

use super::{
    after::Context,
    apply::{self, DeferredWrite, conflict},
    hooks::{self, Invocation},
    idempotency::{self, Begun, Claim},
    prepare::Cells,
    reach::{self, ATTEMPTS},
};
use crate::kernel::{
    Kernel, Record, Work,
    access::{
        Grant, Principal,
        assignment::{self, USER_PERMISSION_SET},
    },
    model::{cell::Cell, hooks::HookEvent, rights::Operation, schema::Schema},
    store::{self, write::Delete},
};

/// The outcome of a deletion.
#[derive(Debug, Clone)]
pub struct Deleted {
    /// The object.
    pub object: String,
    /// The record that is gone.
    pub id: String,
}

/// Deletes a record, and what hangs on it; under an `Idempotency-Key` that is not empty, once for each
/// key. `token` is the version that the record must have, empty for any.
///
/// # Errors
/// As docs/reference/data-api.md §5, §6, and of a key as [`create`](super::create()).
pub async fn delete(
    kernel: &Kernel,
    work: &Work,
    (object, id): (&str, &str),
    token: &str,
    key: &str,
) -> Result<Deleted> {
    idempotency::check(key)?;
    let grant = work.open(object, ApiMethod::Delete, Operation::Delete)?;
    let parts = ["delete", object, id, token].map(str::as_bytes);
    let call = idempotency::Call::new(work, key, &parts);
    if let Begun::Fresh(claim) = idempotency::begin(kernel, work, &grant.schema, call).await? {
        let gone = remove(kernel, work, &grant, id, token, claim.clone()).await;
        idempotency::end(kernel, work, &grant.schema, claim, gone).await?;
    }
    Ok(Deleted {
        object: object.to_owned(),
        id: id.to_owned(),
    })
}

async fn remove(
    kernel: &Kernel,
    work: &Work,
    grant: &Arc<Grant>,
    id: &str,
    token: &str,
    claim: Option<Claim>,
) -> Result<Record> {
    let schema = &grant.schema;
    for _ in 0..ATTEMPTS {
        let before = reach::row(kernel, work, grant, Operation::Delete, id).await?;
        reach::check_version(kernel, work, schema, &before, id, token).await?;
        let (job, deferred_writes) = prepare(kernel, work, grant, id, before).await?;
        let gone = Record {
            id: id.to_owned(),
            version: job.version,
            json: format!("{{\"id\":{}}}", serde_json::Value::from(id)).into_bytes(),
        };
        let told = gone.clone();
        let prepared = Arc::new((
            job,
            deferred_writes,
            Context::of(kernel, work),
            gone,
            claim.clone(),
        ));
        let deleted = kernel
            .db
            .write::<_, Error, _>(move |tx| {
                let prepared = Arc::clone(&prepared);
                async move {
                    let (job, deferred_writes, context, gone, claim) = &*prepared;
                    let deleted = apply::delete(tx, context, job, deferred_writes).await?;
                    if let (true, Some(claim)) = (deleted, claim) {
                        claim.keep(tx, gone).await?;
                    }
                    Ok(deleted)
                }
                .boxed()
            })
            .await?;
        if deleted {
            return Ok(told);
        }
    }
    Err(conflict(schema, id))
}

/// Makes a deletion of a row ready, and what its hooks write.
async fn prepare(
    kernel: &Kernel,
    work: &Work,
    grant: &Grant,
    id: &str,
    before: Vec<Cell>,
) -> Result<(Delete, Vec<DeferredWrite>)> {
    let schema = &grant.schema;
    // Whoever could not give a right cannot take it from others either.
    assignment::check(&work.registry, &work.principal, schema, &before)?;
    check_last_admin(kernel, work, schema, &before).await?;
    let mut deferred_writes = Vec::new();
    for event in [HookEvent::BeforeDelete, HookEvent::AfterDelete] {
        let invocation = Invocation {
            schema,
            event,
            id,
            before: Some(&before),
            after: None,
        };
        let input = Cells::none(schema);
        hooks::after(kernel, work, &invocation, &input, &mut deferred_writes).await?;
    }
    let job = Delete {
        schema: Arc::clone(schema),
        rows: grant.rows.clone(),
        id: id.to_owned(),
        version: schema.version_of(&before),
        before,
    };
    Ok((job, deferred_writes))
}

/// Makes a deletion ready that a hook asks for.
///
/// # Errors
/// Those of [`delete`].
pub(super) async fn prepare_deletion(
    kernel: &Kernel,
    work: &Work,
    object: &str,
    id: &str,
) -> Result<DeferredWrite> {
    let grant = work.open(object, ApiMethod::Delete, Operation::Delete)?;
    let before = reach::row(kernel, work, &grant, Operation::Delete, id).await?;
    let (job, deferred_writes) = prepare(kernel, work, &grant, id, before).await?;
    Ok(DeferredWrite::Delete(Box::new(job), deferred_writes))
}

/// The last holder of `admin_full_access` keeps it.
async fn check_last_admin(
    kernel: &Kernel,
    work: &Work,
    schema: &Schema,
    row: &[Cell],
) -> Result<()> {
    if schema.name() != USER_PERMISSION_SET
        || schema.text_of(row, "permission_set") != Some(ADMIN_PERMISSION_SET)
    {
        return Ok(());
    }
    let holder = schema.text_of(row, "user_id").unwrap_or_default();
    let others = store::assignment::other_holders(&kernel.db, ADMIN_PERMISSION_SET, holder).await?;
    match (others, &work.principal) {
        (0, Principal::User(_)) => Err(Error::new(
            Reason::InvalidState,
            "The last administrator keeps admin_full_access",
        )
        .with("reason", "LAST_ADMIN")),
        _ => Ok(()),
    }
}
