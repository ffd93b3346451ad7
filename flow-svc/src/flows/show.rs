//! Runs as the API shows them, and their cancellation.

use std::sync::Arc;

use mesh::{Ctx, Error, Result, clock, error::Reason, identity::Identity};
use metadata::automation::flow::RunAs;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, macros::format_description};

use super::{fault::Fault, journal::Outcome, start::unknown};
use crate::{
    app::App,
    store::{self, Run, Step},
};

/// Runs a page, unless asked for otherwise, and at most.
const PAGE: (u32, u32) = (50, 200);

/// Bytes that the outputs of a run's steps may have together, to be shown with it.
const OUTPUTS_MAX: usize = 1 << 20;

/// A page of runs.
pub(crate) struct List {
    pub(crate) items: Vec<Value>,
    pub(crate) total: i64,
    pub(crate) next_cursor: Option<String>,
}

/// The run as its starter or an administrator sees it.
///
/// # Errors
/// NOT_FOUND for everybody else.
pub(crate) async fn get(app: &App, ctx: &Ctx, flow: &str, id: &str) -> Result<Value> {
    let run = seen(app, ctx, flow, id).await?;
    shown_to(app, ctx.identity()?, &run).await
}

async fn seen(app: &App, ctx: &Ctx, flow: &str, id: &str) -> Result<Run> {
    let identity = ctx.identity()?;
    let run = match is_id(id) {
        true => store::find(&app.db, id).await?,
        false => None,
    };
    let run = run.filter(|run| run.flow == flow && is_visible(run, identity));
    run.ok_or_else(|| {
        Error::not_found(
            "RUN_NOT_FOUND",
            format!("There is no run `{id}` of `{flow}`"),
        )
        .with("flow", flow)
        .with("runId", id)
    })
}

/// Whether a text can be the id of a run.
fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_visible(run: &Run, identity: &Identity) -> bool {
    let is_theirs = run.user_id.as_deref() == Some(identity.subject.as_str());
    identity.is_admin() || (is_theirs && identity.kind == mesh::identity::Kind::User)
}

/// The runs of a flow that the caller may see, newest first.
///
/// # Errors
/// NOT_FOUND for an unknown flow, VALIDATION_ERROR for a limit of 0 or a cursor of another list.
pub(crate) async fn list(
    app: &App,
    ctx: &Ctx,
    flow: &str,
    limit: Option<u32>,
    cursor: &str,
) -> Result<List> {
    let catalog = app.catalog.current()?;
    if catalog.flow(flow).is_none() {
        return Err(unknown(flow));
    }
    let wrong = |parameter: &str, message: &str| {
        Error::validation("INVALID_REQUEST", message).with("parameter", parameter)
    };
    let limit = match limit {
        Some(0) => return Err(wrong("limit", "`limit` is at least 1")),
        limit => limit.unwrap_or(PAGE.0).min(PAGE.1),
    };
    if !cursor.is_empty() && !is_id(cursor) {
        return Err(wrong("cursor", "`cursor` is not one that a page gave"));
    }
    let identity = ctx.identity()?;
    let of = (!identity.is_admin()).then_some(identity.subject.as_str());
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut runs = store::list(&app.db, flow, of, cursor, i64::from(limit) + 1).await?;
    let has_more = runs.len() > wanted;
    runs.truncate(wanted);
    let next_cursor = runs.last().filter(|_| has_more).map(|run| run.id.clone());
    Ok(List {
        items: runs.iter().map(|run| Value::Object(shown(run))).collect(),
        total: store::total(&app.db, flow, of).await?,
        next_cursor,
    })
}

/// Cancels a run; what its steps have done stays done.
///
/// # Errors
/// As [`get`]; INVALID_STATE when it has ended.
pub(crate) async fn cancel(app: &Arc<App>, ctx: &Ctx, flow: &str, id: &str) -> Result<Value> {
    let run = seen(app, ctx, flow, id).await?;
    if !store::cancel(&app.db, id, clock::unix_ms()).await? {
        let now = store::find(&app.db, id).await?.unwrap_or(run);
        let status = now.status.as_str();
        let message = format!("The run has ended: {status}");
        return Err(Error::new(Reason::InvalidState, message)
            .with("status", status)
            .with("runId", id));
    }
    // Another process that drives it finds out with its next step, or when it renews its claim.
    app.driver.slots.abort(id);
    get(app, ctx, flow, id).await
}

/// A run as it is shown to somebody.
///
/// # Errors
/// Those of the database.
pub(crate) async fn shown_to(app: &App, identity: &Identity, run: &Run) -> Result<Value> {
    let steps = store::steps(&app.db, &run.id).await?;
    // What the platform read, its user need not be allowed to read.
    let with_outputs = RunAs::parse(&run.run_as) == RunAs::User || identity.is_admin();
    let mut shown = shown(run);
    shown.insert("steps".to_owned(), shown_steps(run, &steps, with_outputs));
    Ok(Value::Object(shown))
}

/// A run without its steps, as JSON.
fn shown(run: &Run) -> Map<String, Value> {
    // What cannot be read is null, and the warnings say so.
    let mut unread = Vec::new();
    let mut read = |what: &str, text: Option<&str>| {
        let read = text.map(serde_json::from_str::<Value>).transpose();
        let read = read
            .inspect_err(|_| unread.push(json!(format!("The {what} of this run cannot be read"))));
        read.ok().flatten().unwrap_or_default()
    };
    let input = read("input", Some(&run.input));
    let output = read("output", run.output.as_deref());
    let error = read("error", run.error.as_deref());
    let warnings = read("list of warnings", Some(&run.warnings));
    let mut warnings = warnings.as_array().cloned().unwrap_or_default();
    warnings.append(&mut unread);
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| {
        shown.insert(key.to_owned(), value);
    };
    put("id", json!(run.id));
    put("runId", json!(run.id));
    put("flow", json!(run.flow));
    put("flowName", json!(run.flow));
    put("flowVersion", json!(run.flow_version));
    put("status", json!(run.status.as_str()));
    let trigger = json!({
        "type": run.trigger_type,
        "userId": run.user_id,
        "object": run.object,
        "recordId": run.record_id,
    });
    put("trigger", trigger);
    put("input", input);
    put("output", output);
    put("error", error);
    put("startedAt", json!(moment(run.started_at_ms)));
    put("completedAt", json!(run.ended_at_ms.map(moment)));
    let lasted = run.ended_at_ms;
    let lasted = lasted.map(|ended| (ended - run.started_at_ms).max(0));
    put("durationMs", json!(lasted));
    if !warnings.is_empty() {
        put("warnings", Value::Array(warnings));
    }
    shown
}

/// Its steps. Where they gave too much to be told at once, `outputOmitted` stands for what the later
/// ones gave.
fn shown_steps(run: &Run, steps: &[Step], with_outputs: bool) -> Value {
    let is_open = run.status.is_open();
    let mut left = if with_outputs { OUTPUTS_MAX } else { 0 };
    let steps = steps.iter().filter(|step| step.level == 0);
    let steps = steps.map(|step| {
        let size = step.result.as_ref().map_or(0, String::len);
        let fits = size <= left;
        if fits {
            left -= size;
        }
        let mut shown = shown_step(step, with_outputs && fits, is_open);
        if with_outputs && !fits {
            shown["outputOmitted"] = json!(true);
        }
        shown
    });
    Value::Array(steps.collect())
}

fn shown_step(step: &Step, with_outputs: bool, is_open: bool) -> Value {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            shown.insert(key.to_owned(), value);
        }
    };
    let result = step.result.as_deref();
    let outcome = result.map(|text| {
        serde_json::from_str::<Outcome>(text).unwrap_or_else(|error| Outcome {
            fault: Some(Fault::damaged("result of a step", &error)),
            ..Outcome::default()
        })
    });
    // A run that was cancelled or failed elsewhere leaves steps behind that never ended.
    let status = match step.status.as_str() {
        "running" if !is_open => "skipped",
        status => status,
    };
    put("nodeId", json!(step.node_id));
    put("nodeType", json!(step.node_type));
    put("label", json!(step.label));
    put("status", json!(status));
    put("startedAt", json!(moment(step.started_at_ms)));
    put("completedAt", json!(step.completed_at_ms.map(moment)));
    let lasted = step
        .completed_at_ms
        .map(|ended| (ended - step.started_at_ms).max(0));
    put("durationMs", json!(lasted));
    put("iteration", json!(step.iteration));
    let attempt = step.retry + step.attempt - 1;
    put("retryAttempt", json!((attempt > 0).then_some(attempt)));
    if let Some(outcome) = outcome {
        if with_outputs {
            put("output", outcome.output);
        }
        let fault = outcome.fault.map(|fault| fault.shown());
        put("error", fault.unwrap_or_default());
    }
    Value::Object(shown)
}

/// A moment as the API writes it.
fn moment(ms: i64) -> String {
    let at: OffsetDateTime = clock::from_unix_ms(ms);
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.format(form).unwrap_or_default()
}
