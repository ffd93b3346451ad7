//! Runs a script for an action or a step of a flow, and says what came of it.

use data_client::script_host::RecordHost;
use mesh::{Ctx, Error, Result, error::Reason, identity::Identity};
use script::{Context, Limits, LogLevel, Script, ScriptErrorKind};
use serde_json::{Value, json};

use crate::app::App;

/// Runs a script as the caller of `ctx`, no longer than that lasts. `key` begins the idempotency
/// keys of what it writes. Nothing returned is `None`.
///
/// # Errors
/// What the script let through of its calls' refusals; ACTION_FAILED for what it threw itself;
/// TIMEOUT; SERVICE_UNAVAILABLE when it did not run; INTERNAL for a script that is broken.
pub(crate) async fn run_script(
    app: &App,
    ctx: &Ctx,
    script: &Script,
    limits: Limits,
    context: &Context,
    key: Option<&str>,
) -> Result<Option<Value>> {
    let unavailable = || Error::unavailable("The sandbox for scripts");
    let pool = app.sandbox.get().await.map_err(|error| {
        tracing::error!(%error, "the sandbox does not start");
        unavailable()
    })?;
    let limits = Limits {
        wall: limits.wall.min(ctx.remaining()),
        ..limits
    };
    let host = RecordHost::new(&app.records, ctx, key);
    let ended = pool.run(script, context, limits, &host).await;
    let log = match &ended {
        Ok(outcome) => &outcome.log,
        Err(error) => &error.log,
    };
    for line in log {
        let (script, text) = (script.name.as_str(), line.text.as_str());
        match line.level {
            LogLevel::Debug => tracing::debug!(script, text, "a script says"),
            LogLevel::Info => tracing::info!(script, text, "a script says"),
            LogLevel::Warn | LogLevel::Error => tracing::warn!(script, text, "a script says"),
        }
    }
    let kind = match ended {
        Ok(outcome) => return Ok(outcome.value),
        Err(error) => error.kind,
    };
    Err(match kind {
        ScriptErrorKind::Thrown(thrown) => {
            let refused = thrown.call.and_then(|call| host.refusal(call));
            refused.unwrap_or_else(|| {
                let error = Error::new(Reason::ActionFailed, thrown.message);
                let code = thrown.code.unwrap_or_else(|| "ACTION_FAILED".to_owned());
                let error = error.with("reason", code);
                match thrown.fields {
                    Some(fields) => error.with("fields", fields),
                    None => error,
                }
            })
        }
        ScriptErrorKind::Timeout(_) => {
            Error::new(Reason::Timeout, format!("`{}` took too long", script.name))
        }
        ScriptErrorKind::Busy | ScriptErrorKind::Unavailable(_) => unavailable(),
        other => Error::internal(anyhow::anyhow!("the script `{}`: {other}", script.name)),
    })
}

/// The organisation as scripts and expressions see it; null where there is none.
pub(crate) fn organization_of(identity: &Identity) -> Value {
    match &identity.organization_id {
        Some(id) => json!({"id": id}),
        None => Value::Null,
    }
}
