//! A path to start each flow: its input is what its variables say.

use mesh::{
    identity::Identity,
    openapi::{Contract, Fragment, Operation},
    route::Expand,
};
use serde_json::{Map, Value, json};

use super::Visible;
use crate::{
    app::flows::may_start,
    catalog::Catalog,
    domain::{flow::Flow, param::ValueType},
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
    for flow in catalog.flows.values() {
        let startable = flow.disabled.is_none() && may_start(caller, flow).is_ok();
        if !startable || !visible.has("flow", object_of(flow), &flow.name) {
            continue;
        }
        for operation in &generic {
            let operation = of_flow(operation, flow);
            fragment.add(&operation.path, &operation.method, operation.value);
        }
    }
}

/// The object that the flow is about as a whole, as its item says.
fn object_of(flow: &Flow) -> Option<&str> {
    let named = ["objectName", "object"].into_iter();
    named
        .filter_map(|key| flow.source.get(key).and_then(Value::as_str))
        .next()
}

fn of_flow(generic: &Operation, flow: &Flow) -> Operation {
    let mut operation = generic.expanded("flow", &flow.name);
    let text = |key: &str| flow.source.get(key).and_then(Value::as_str);
    let label = text("label").unwrap_or(&flow.name);
    operation.value.insert("summary".to_owned(), json!(label));
    if let Some(description) = text("description") {
        let description = json!(description);
        operation
            .value
            .insert("description".to_owned(), description);
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for input in &flow.inputs {
        let value_type = type_of(flow, &input.name).map_or(ValueType::Any, ValueType::of);
        properties.insert(input.name.clone(), value_type.schema());
        if input.required && !flow.defaults.contains_key(&input.name) {
            required.push(input.name.as_str());
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

/// The type that either dialect gives an input.
fn type_of<'f>(flow: &'f Flow, input: &str) -> Option<&'f str> {
    let variables = flow.source.get("variables").and_then(Value::as_array);
    let mut variables = variables.into_iter().flatten();
    let variable = variables.find(|one| one["name"] == *input);
    let declared = variable.or_else(|| flow.source.get("inputs")?.get(input));
    declared?.get("type")?.as_str()
}
