//! Starting a run, and waiting for its end.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use mesh::{
    Ctx, Error, Result, clock, db::DbError, delegation::DelegationGrant, error::Reason,
    identity::Identity,
};
use metadata::automation::flow::RunAs;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};

use super::{actor::Actor, driver};
use crate::{
    app::App,
    catalog::Flow,
    store::{self, Inserted, NewRun, Run, StartKey, Status},
};

/// How long a key of a start is kept, in milliseconds.
const KEY_KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// Longest key, in characters.
const KEY_MAX: usize = 255;
/// How often a run that another process drives is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Runs that lead to a run at most.
pub(super) const DEPTH_MAX: i64 = 10;

/// How a run is started.
pub(crate) struct How<'h> {
    /// What starts it, as the run shows it: `api`, `action`.
    pub(crate) trigger: &'h str,
    /// The record that it is about.
    pub(crate) object: Option<&'h str>,
    /// Id of the record that it is about.
    pub(crate) record_id: Option<&'h str>,
    /// The same key starts one run, for 24 hours; empty for none.
    pub(crate) key: &'h str,
    /// How long its end is waited for.
    pub(crate) wait: Duration,
}

/// Starts a run as the caller of `ctx` and waits for its end, but not for ever: the run goes on.
///
/// # Errors
/// NOT_FOUND for an unknown flow, PERMISSION_DENIED, FLOW_DISABLED, VALIDATION_ERROR for an input
/// that is missing or a key that was used for another.
pub(crate) async fn start(
    app: &Arc<App>,
    ctx: &Ctx,
    flow: &str,
    input: Map<String, Value>,
    how: How<'_>,
) -> Result<Run> {
    let until = Instant::now() + how.wait;
    let catalog = app.catalog.current()?;
    let flow = catalog.flow(flow).ok_or_else(|| unknown(flow))?;
    let identity = ctx.identity()?;
    if how.trigger == "api" {
        may_start(identity, flow)?;
    }
    if let Some(why) = &flow.spec.disabled {
        let message = format!("The flow `{}` cannot be started: {why}", flow.name());
        return Err(Error::new(Reason::FlowDisabled, message).with("flow", flow.name()));
    }
    // What a run's action starts is one deeper than the run.
    let outer = store::depth_of(&app.db, &ctx.request_id).await?;
    let depth = outer.map_or(0, |depth| depth + 1);
    if depth > DEPTH_MAX {
        let message = format!("Flows start flows more than {DEPTH_MAX} deep");
        let error = Error::new(Reason::FlowFailed, message).with("reason", "DEPTH");
        return Err(error.with("flow", flow.name()));
    }
    let hash = request_hash(flow.name(), &input);
    let (input, warnings) = inputs(flow, input)?;
    let grant = match (DelegationGrant::of(identity), flow.spec.run_as) {
        (Ok(grant), _) => Some(grant),
        (Err(_), RunAs::System) => None,
        (Err(error), RunAs::User) => return Err(error),
    };
    let user_id = grant.as_ref().map(|grant| grant.user_id.clone());
    let new = NewRun {
        key: start_key(&identity.subject, how.key, hash)?,
        ..new_run(
            flow,
            New {
                trigger: how.trigger,
                user_id: user_id.as_deref(),
                grant: grant.as_ref(),
                object: how.object,
                record_id: how.record_id,
                input,
                context: json!({}),
                warnings,
                depth,
            },
        )?
    };
    let run = keep(app, new, ctx).await?;
    wait(app, run, until).await
}

/// Whether the caller may start a flow by its route (docs/reference/automation.md §4).
///
/// # Errors
/// PERMISSION_DENIED.
pub(crate) fn may_start(identity: &Identity, flow: &Flow) -> Result<()> {
    let missing = flow.spec.required_permissions.iter();
    if let Some(missing) = missing.clone().find(|key| !identity.has_permission(key)) {
        let message = format!("Starting the flow `{}` needs `{missing}`", flow.name());
        return Err(Error::denied(message).with("permission", missing.as_str()));
    }
    if flow.spec.run_as == RunAs::System && missing.len() == 0 && !identity.is_admin() {
        let message = format!(
            "The flow `{}` runs as the system; only an administrator starts it",
            flow.name()
        );
        return Err(Error::denied(message).with("flow", flow.name()));
    }
    Ok(())
}

pub(super) fn unknown(flow: &str) -> Error {
    Error::not_found("FLOW_NOT_FOUND", format!("There is no flow `{flow}`")).with("flow", flow)
}

/// The inputs that the flow declares, and what is said of the others.
///
/// # Errors
/// VALIDATION_ERROR when a required one is missing.
pub(super) fn inputs(
    flow: &Flow,
    mut given: Map<String, Value>,
) -> Result<(Map<String, Value>, Vec<String>)> {
    let mut taken = Map::new();
    let mut missing = Vec::new();
    for input in flow.spec.inputs() {
        match given.shift_remove(&input.name) {
            Some(value) if !value.is_null() => {
                taken.insert(input.name.clone(), value);
            }
            _ if flow.spec.is_needed(input) => {
                let message = format!("`{}` is required", input.name);
                missing.push(mesh::error::FieldViolation::new(
                    &input.name,
                    "required",
                    message,
                ));
            }
            _ => {}
        }
    }
    if !missing.is_empty() {
        return Err(Error::fields(missing).with("flow", flow.name()));
    }
    let ignored = given.keys();
    let warnings = ignored.map(|name| format!("The flow has no input `{name}`; it is ignored"));
    Ok((taken, warnings.collect()))
}

fn request_hash(flow: &str, input: &Map<String, Value>) -> String {
    let input = Value::Object(input.clone()).to_string();
    let hash = Sha256::digest(format!("{flow}\n{input}"));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn start_key(principal: &str, key: &str, hash: String) -> Result<Option<StartKey>> {
    match key.chars().count() {
        0 => Ok(None),
        1..=KEY_MAX if !key.contains('\0') => Ok(Some(StartKey {
            principal: principal.to_owned(),
            key: key.to_owned(),
            hash,
        })),
        _ => {
            let message = format!("The Idempotency-Key is text of at most {KEY_MAX} characters");
            let error = Error::validation("INVALID_REQUEST", message);
            Err(error.with("parameter", "Idempotency-Key"))
        }
    }
}

/// What a run begins with.
pub(super) struct New<'n> {
    pub(super) trigger: &'n str,
    pub(super) user_id: Option<&'n str>,
    pub(super) grant: Option<&'n DelegationGrant>,
    pub(super) object: Option<&'n str>,
    pub(super) record_id: Option<&'n str>,
    pub(super) input: Map<String, Value>,
    /// `record` and `previous`.
    pub(super) context: Value,
    pub(super) warnings: Vec<String>,
    pub(super) depth: i64,
}

/// A run that is still to be kept.
///
/// # Errors
/// INTERNAL.
pub(super) fn new_run(flow: &Flow, new: New<'_>) -> Result<NewRun> {
    let grant = new.grant.map(serde_json::to_string).transpose();
    Ok(NewRun {
        run: Run {
            id: mesh::id::new(),
            flow: flow.name().to_owned(),
            definition_hash: flow.item.hash.clone(),
            flow_version: flow.spec.version,
            status: Status::Pending,
            run_as: flow.spec.run_as.as_str().to_owned(),
            trigger_type: new.trigger.to_owned(),
            user_id: new.user_id.map(str::to_owned),
            object: new.object.map(str::to_owned),
            record_id: new.record_id.map(str::to_owned),
            grant: grant.map_err(Error::internal)?,
            input: Value::Object(new.input).to_string(),
            context: new.context.to_string(),
            warnings: json!(new.warnings).to_string(),
            depth: new.depth,
            correlation_id: mesh::id::new(),
            attempt: 1,
            output: None,
            error: None,
            started_at_ms: clock::unix_ms(),
            ended_at_ms: None,
        },
        definition: flow.item.value.to_string(),
        key: None,
    })
}

/// Keeps a run and drives it here; or finds the one that its key has started.
async fn keep(app: &Arc<App>, mut new: NewRun, ctx: &Ctx) -> Result<Run> {
    if let Some(run) = by_key(app, &new).await? {
        return Ok(run);
    }
    let slot = app.driver.slots.take(&new.run.id);
    if slot.is_some() {
        new.run.status = Status::Running;
    }
    // Before it is kept: a run that was refused is none.
    let actor = match RunAs::parse(&new.run.run_as) {
        RunAs::User => {
            let run = &new.run;
            Some(Actor::caller(app, ctx, &run.id, &run.correlation_id)?)
        }
        RunAs::System => None,
    };
    let (kept, claim) = (new.clone(), slot.as_ref().map(|_| app.driver.term));
    let inserted = app.db.write::<_, DbError, _>(move |tx| {
        let new = kept.clone();
        async move { store::insert(tx, &new, claim).await }.boxed()
    });
    let run = new.run.clone();
    match (inserted.await?, slot) {
        (Inserted::Claimed(job), Some(slot)) => {
            driver::drive(app, slot, job, run.clone(), actor);
        }
        (Inserted::Claimed(_) | Inserted::Waiting, _) => app.driver.queue.wake(),
        (Inserted::Already, _) => {
            // Another call with the same key was first.
            let first = by_key(app, &new).await?;
            return first.ok_or_else(|| Error::unavailable("The first call with this key"));
        }
    }
    Ok(run)
}

/// The run that the key of this one has started before.
async fn by_key(app: &App, new: &NewRun) -> Result<Option<Run>> {
    let Some(key) = &new.key else {
        return Ok(None);
    };
    let since_ms = new.run.started_at_ms - KEY_KEPT_MS;
    match store::started_by_key(&app.db, key, since_ms).await? {
        Some((_, first)) if first != key.hash => Err(Error::new(
            Reason::IdempotencyKeyReused,
            "The Idempotency-Key was used before with another flow or input",
        )
        .with("reason", "IDEMPOTENCY_KEY_REUSED")
        .with("parameter", "Idempotency-Key")),
        Some((id, _)) => Ok(store::find(&app.db, &id).await?),
        None => Ok(None),
    }
}

/// Waits for the end of a run; gives it as it is then.
async fn wait(app: &Arc<App>, run: Run, until: Instant) -> Result<Run> {
    let mut run = run;
    while run.status.is_open() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match app.driver.slots.ending(&run.id) {
            Some(ending) => {
                // Late or not: it is read then.
                let _ended = timeout(left, ending).await;
            }
            // Another process drives it, or nobody yet, or it has just ended.
            None => {
                let now = store::find(&app.db, &run.id).await?;
                run = now.ok_or_else(|| Error::internal(anyhow::anyhow!("a run is gone")))?;
                if run.status.is_open() {
                    sleep(LOOK.min(left)).await;
                }
                continue;
            }
        }
        let now = store::find(&app.db, &run.id).await?;
        run = now.ok_or_else(|| Error::internal(anyhow::anyhow!("a run is gone")))?;
    }
    Ok(run)
}
