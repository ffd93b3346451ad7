//! Actions of type `flow`: a run of the flow, waited for (docs/reference/automation.md, "Actions").

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{Ctx, Error, Result, error::Reason};
use serde_json::{Map, Value, json};

use super::start::{How, start};
use crate::{
    app::{App, FlowCall},
    catalog::{Action, Catalog},
    store::{Run, Status},
};

/// Left of the caller's time for the answer.
const MARGIN: Duration = Duration::from_millis(500);

/// Runs the flow of an action as the caller and answers `{runId, status, output}`, also while it still
/// runs.
///
/// # Errors
/// FLOW_FAILED when it failed; those of starting it.
pub(crate) fn run_for_action<'a>(
    app: &'a Arc<App>,
    ctx: &'a Ctx,
    call: FlowCall<'a>,
) -> BoxFuture<'a, Result<Value>> {
    async move {
        let mut input = call.input;
        if let Some(id) = call.record_id {
            let catalog = app.catalog.current()?;
            name_record(&catalog, call.action, call.flow, id, &mut input);
        }
        let key = call
            .key
            .map(|key| format!("{key}:flow"))
            .unwrap_or_default();
        let how = How {
            trigger: "action",
            object: call.action.object(),
            record_id: call.record_id,
            key: &key,
            wait: ctx.remaining().saturating_sub(MARGIN),
        };
        let run = start(app, ctx, call.flow, input, how).await?;
        answer(call.flow, &run)
    }
    .boxed()
}

fn answer(flow: &str, run: &Run) -> Result<Value> {
    let read = |text: &Option<String>| -> Result<Value> {
        let read = text.as_deref().map(serde_json::from_str).transpose();
        Ok(read.map_err(Error::internal)?.unwrap_or_default())
    };
    if matches!(run.status, Status::Failed | Status::Cancelled) {
        let error = read(&run.error)?;
        let text = |key: &str| error.get(key).and_then(Value::as_str);
        let message = text("message").unwrap_or("It did not come to its end");
        let failed = Error::new(Reason::FlowFailed, format!("`{flow}`: {message}"))
            .with("runId", run.id.as_str())
            .with("status", run.status.as_str());
        return Err(match text("code") {
            Some(code) => failed.with("reason", code),
            None => failed,
        });
    }
    Ok(json!({
        "runId": run.id,
        "status": run.status.as_str(),
        "output": read(&run.output)?,
    }))
}

/// Hands the record's id on under every name that the flow knows it by: `recordId`, the name of the
/// object with `Id`, and what the action says.
fn name_record(
    catalog: &Catalog,
    action: &Action,
    flow: &str,
    id: &str,
    inputs: &mut Map<String, Value>,
) {
    let object = action.object().map(camel);
    let names = [
        Some("recordId".to_owned()),
        object.map(|object| format!("{object}Id")),
        action.spec.record_id_param.clone(),
    ];
    let declared = catalog.flow(flow);
    for name in names.into_iter().flatten() {
        let known = declared.is_none_or(|flow| flow.spec.inputs().any(|one| one.name == name));
        if known && !inputs.contains_key(&name) {
            inputs.insert(name, json!(id));
        }
    }
}

/// `support_ticket` → `supportTicket`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(rest);
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_become_names_of_inputs() {
        assert_eq!(camel("support_ticket"), "supportTicket");
        assert_eq!(camel("ticket"), "ticket");
        assert_eq!(camel("a__b"), "aB");
    }
}
