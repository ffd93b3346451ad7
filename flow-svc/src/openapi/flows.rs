//! A path to start each flow: its input is what its variables say.

use mesh::{
    identity::Identity,
    openapi::{Contract, Fragment, Operation},
};
use proto::annotations::v1::Expand;
use serde_json::{Map, Value, json};

use super::Visible;
use crate::{
    catalog::{Catalog, Flow},
    flows::may_start,
};

/// Adds the flows that the caller may start.
pub(super) fn describe(
    fragment: &mut Fragment,
    contract: &Contract,
    caller: &Identity,
    catalog: &Catalog,
    visible: &Visible,
) {
    let open = contract.open_to(caller);
    let generic: Vec<&Operation> = open
        .filter(|operation| operation.expand == Expand::Flow && operation.rpc == "StartFlow")
        .collect();
    for flow in catalog.flows() {
        let startable = flow.spec.disabled.is_none() && may_start(caller, flow).is_ok();
        if !startable || !visible.has(&flow.item) {
            continue;
        }
        for operation in &generic {
            let operation = of_flow(operation, flow);
            fragment.add(&operation.path, &operation.method, operation.value);
        }
    }
}

fn of_flow(generic: &Operation, flow: &Flow) -> Operation {
    let mut operation = generic.expanded("flow", flow.name());
    let label = flow.spec.label.as_deref().unwrap_or(flow.name());
    operation.value.insert("summary".to_owned(), json!(label));
    if let Some(description) = &flow.spec.description {
        let description = json!(description);
        operation
            .value
            .insert("description".to_owned(), description);
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    // A caller may hand in more than the flow declares, and is warned: so nothing is closed here.
    for input in flow.spec.input_params() {
        let schema = Value::Object(input.shape.schema());
        properties.insert(input.name.clone(), schema);
        if input.required {
            required.push(input.name);
        }
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if let Some(body) = operation.request_mut() {
        body["schema"] = schema;
    }
    if let (false, Some(Value::Object(body))) =
        (required.is_empty(), operation.value.get_mut("requestBody"))
    {
        body.insert("required".to_owned(), json!(true));
    }
    operation
}
