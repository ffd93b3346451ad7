//! Actions of type `flow`: a run of the flow, waited for (spec/automation.md §1, "Execution by type").

use std::{sync::Arc, time::Duration};

use mesh::{Ctx, Error, Result, error::Reason};
use serde_json::{Map, Value, json};

use super::{App, flows};
use crate::{domain::action::Action, store::Status};

/// Left of the caller's time for the answer.
const MARGIN: Duration = Duration::from_millis(500);

impl App {
    /// Runs the flow as the caller and answers `{runId, status, output}`, also while it still runs.
    ///
    /// # Errors
    /// FLOW_FAILED when it failed; those of starting it.
    pub(super) async fn run_flow(
        self: &Arc<Self>,
        ctx: &Ctx,
        action: &Action,
        flow: &str,
        record_id: Option<&str>,
        input: Value,
        key: Option<&str>,
    ) -> Result<Value> {
        let mut inputs = match input {
            Value::Object(inputs) => inputs,
            _ => Map::new(),
        };
        if let Some(id) = record_id {
            let catalog = self.catalog.current()?;
            name_record(&catalog, action, flow, id, &mut inputs);
        }
        let key = key.map(|key| format!("{key}:flow")).unwrap_or_default();
        let how = flows::How {
            trigger: "action",
            object: action.object.as_deref(),
            record_id,
            key: &key,
            wait: ctx.remaining().saturating_sub(MARGIN),
        };
        let run = flows::start(self, ctx, flow, inputs, how).await?;
        let parse = |text: &Option<String>| -> Value {
            let value = text.as_deref().map(serde_json::from_str);
            value.and_then(Result::ok).unwrap_or_default()
        };
        if matches!(run.status, Status::Failed | Status::Cancelled) {
            let error = parse(&run.error);
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
            "output": parse(&run.output),
        }))
    }
}

/// Hands the record's id on under every name that the flow knows it by: `recordId`, the name of the
/// object with `Id`, and what the action says.
fn name_record(
    catalog: &crate::catalog::Catalog,
    action: &Action,
    flow: &str,
    id: &str,
    inputs: &mut Map<String, Value>,
) {
    let object = action.object.as_deref().map(camel);
    let names = [
        Some("recordId".to_owned()),
        object.map(|object| format!("{object}Id")),
        action.record_id_param.clone(),
    ];
    let declared = catalog.flows.get(flow);
    for name in names.into_iter().flatten() {
        let known = declared.is_none_or(|flow| flow.inputs.iter().any(|one| one.name == name));
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
