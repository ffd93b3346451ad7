//! Runs hooks (docs/reference/automation.md §3). All of them run before the transaction, on the row as it is
//! to be; what they write is made ready with it and applied in its transaction, so that it stands or
//! falls with the record, and no transaction waits for a script (docs/adr/0005-hooks-before-the-transaction.md).
//!
//! Invariant: a hook reads and writes as the writer, through the same guard as every other door.

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{Error, Result, error::Reason};
use script::{Context, LogLevel, LogLine, Pool, ScriptErrorKind};
use serde_json::{Map, Value, json};

use super::{
    apply::DeferredWrite,
    body::Body,
    hook_host::HookHost,
    prepare::{self, Cells, Writer},
};
use crate::kernel::{
    Kernel, Work, access, eval,
    model::{
        cell::Cell,
        hooks::{Hook, HookEvent},
        schema::Schema,
    },
};

/// Fields that no hook sets.
const MANAGED: [&str; 8] = [
    "id",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "version",
    "deleted_at",
    "expectedVersion",
];

/// A write that hooks look at.
pub(super) struct Invocation<'m> {
    pub(super) schema: &'m Arc<Schema>,
    pub(super) event: HookEvent,
    pub(super) id: &'m str,
    /// The row as it is; none for a new one.
    pub(super) before: Option<&'m [Cell]>,
    /// The row as it is to be, in after-hooks.
    pub(super) after: Option<&'m [Cell]>,
}

async fn sandbox(kernel: &Kernel) -> Result<&Pool> {
    kernel.scripts.get().await.map_err(|error| {
        tracing::error!(%error, "the sandbox does not start");
        Error::unavailable("The sandbox for scripts")
    })
}

/// Lets before-hooks change what is to be written.
///
/// # Errors
/// What a hook refuses; TIMEOUT, SERVICE_UNAVAILABLE when it cannot run.
pub(super) async fn before(
    kernel: &Kernel,
    work: &Work,
    invocation: &Invocation<'_>,
    cells: &mut Cells,
    deferred_writes: &mut Vec<DeferredWrite>,
) -> Result<()> {
    for hook in hooks(work, invocation) {
        let input = named(invocation.schema, cells);
        let changed = run(
            kernel,
            work,
            invocation,
            &hook,
            input.clone(),
            deferred_writes,
        )
        .await?;
        if let Some(changed) = changed {
            take_over(invocation.schema, &input, changed, cells)
                .map_err(|error| error.with("hook", hook.name.as_str()))?;
        }
    }
    Ok(())
}

/// Runs the hooks that only look on.
///
/// # Errors
/// Those of [`before`].
pub(super) async fn after(
    kernel: &Kernel,
    work: &Work,
    invocation: &Invocation<'_>,
    input: &Cells,
    deferred_writes: &mut Vec<DeferredWrite>,
) -> Result<()> {
    for hook in hooks(work, invocation) {
        let input = named(invocation.schema, input);
        run(kernel, work, invocation, &hook, input, deferred_writes).await?;
    }
    Ok(())
}

/// Runs one hook; gives its input as it left it, and adds what it wrote.
fn run<'h>(
    kernel: &'h Kernel,
    work: &'h Work,
    invocation: &'h Invocation<'_>,
    hook: &'h Hook,
    input: Map<String, Value>,
    deferred_writes: &'h mut Vec<DeferredWrite>,
) -> BoxFuture<'h, Result<Option<Map<String, Value>>>> {
    async move {
        let host = HookHost::new(kernel, work, invocation)?;
        match run_script(kernel, work, invocation, hook, input, &host).await {
            Ok(changed) => {
                deferred_writes.append(&mut host.into_effects());
                Ok(changed)
            }
            Err(error) if hook.failure_is_logged => {
                tracing::warn!(hook = hook.name, %error, "a hook failed; its failure does not count");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
    .boxed()
}

async fn run_script(
    kernel: &Kernel,
    work: &Work,
    invocation: &Invocation<'_>,
    hook: &Hook,
    input: Map<String, Value>,
    host: &HookHost<'_>,
) -> Result<Option<Map<String, Value>>> {
    let record = |cells: &[Cell]| eval::record(invocation.schema, cells);
    let previous = invocation.before.map(record);
    let result = invocation.after.map(record);
    let eval_context = work.eval_context();
    if let Some(condition) = &hook.condition {
        let merged = result.clone().unwrap_or_else(|| {
            let mut merged = previous.clone().unwrap_or_else(|| json!({}));
            if let Value::Object(fields) = &mut merged {
                fields.extend(input.clone());
            }
            merged
        });
        let before = previous.clone().unwrap_or_default();
        let scope = eval_context.scope().record(&merged).previous(&before);
        let program = eval::program(condition);
        let holds = program.and_then(|program| program.holds(&scope).ok());
        if holds == Some(false) {
            return Ok(None);
        }
    }
    let context = Context {
        input: Value::Object(input),
        user: Some(eval_context.user().clone()).filter(|user| !user.is_null()),
        org: Some(eval_context.organization().clone()).filter(|org| !org.is_null()),
        event: Some(invocation.event.as_str().to_owned()),
        object: Some(invocation.schema.name().to_owned()),
        record: result.clone().or_else(|| previous.clone()),
        record_id: Some(invocation.id.to_owned()),
        previous,
        result,
        ..Context::default()
    };
    let pool = sandbox(kernel).await?;
    match pool.run(&hook.script, &context, hook.limits, host).await {
        Ok(outcome) => {
            tell(hook, &outcome.log);
            Ok(match outcome.input {
                Value::Object(input) => Some(input),
                _ => None,
            })
        }
        Err(failed) => {
            tell(hook, &failed.log);
            Err(refusal(hook, failed.kind, host))
        }
    }
}

fn hooks(work: &Work, invocation: &Invocation<'_>) -> Vec<Arc<Hook>> {
    if !work.principal.is_bound_by_apps() {
        return Vec::new();
    }
    let hooks = &work.registry.hooks;
    hooks.of_event(invocation.schema.name(), invocation.event)
}

/// The cells that are named, as the script sees them.
fn named(schema: &Schema, cells: &Cells) -> Map<String, Value> {
    let named = schema.columns.iter().zip(&cells.0);
    named
        .filter_map(|(column, cell)| Some((column.field.name.clone(), cell.as_ref()?.to_json())))
        .collect()
}

/// Takes over what a hook changed; what it left alone keeps its exact value.
fn take_over(
    schema: &Arc<Schema>,
    before: &Map<String, Value>,
    mut after: Map<String, Value>,
    cells: &mut Cells,
) -> Result<()> {
    for name in MANAGED {
        after.remove(name);
    }
    for (name, _) in before {
        if !after.contains_key(name)
            && !MANAGED.contains(&name.as_str())
            && let Some(position) = schema.position(name)
        {
            cells.0[position] = None;
        }
    }
    after.retain(|name, value| before.get(name) != Some(value));
    if after.is_empty() {
        return Ok(());
    }
    let text = Value::Object(after).to_string();
    // The app's own code is not bound by what its user may edit.
    let grant = access::everything(schema);
    let payload = prepare::payload(&grant, Body::parse(text.as_bytes())?, Writer::System)?;
    if !payload.problems.is_empty() {
        return Err(prepare::invalid(schema, payload.problems));
    }
    for (slot, cell) in cells.0.iter_mut().zip(payload.cells.0) {
        if cell.is_some() {
            *slot = cell;
        }
    }
    Ok(())
}

fn tell(hook: &Hook, log: &[LogLine]) {
    for line in log {
        let (hook, text) = (hook.name.as_str(), line.text.as_str());
        match line.level {
            LogLevel::Debug => tracing::debug!(hook, text, "a script says"),
            LogLevel::Info => tracing::info!(hook, text, "a script says"),
            LogLevel::Warn | LogLevel::Error => tracing::warn!(hook, text, "a script says"),
        }
    }
}

/// What the caller is told when a hook fails.
fn refusal(hook: &Hook, kind: ScriptErrorKind, host: &HookHost<'_>) -> Error {
    let error = match kind {
        ScriptErrorKind::Thrown(thrown) => {
            if let Some(known) = thrown.call.and_then(|call| host.refused(call)) {
                return known.with("hook", hook.name.as_str());
            }
            let code = thrown.code.as_deref().unwrap_or("HOOK_REJECTED");
            let mut error = Error::validation(code, thrown.message.as_str());
            if let Some(fields) = thrown.fields {
                error = error.with("fields", fields);
            }
            error
        }
        ScriptErrorKind::Timeout(_) => Error::new(
            Reason::Timeout,
            format!("The hook `{}` took too long", hook.name),
        ),
        ScriptErrorKind::Busy | ScriptErrorKind::Unavailable(_) => {
            Error::unavailable("The sandbox for scripts")
        }
        other => Error::new(
            Reason::Internal,
            format!("The hook `{}` failed: {other}", hook.name),
        ),
    };
    error.with("hook", hook.name.as_str())
}
