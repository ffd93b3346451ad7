//! A path for each flow: its input is what its variables say.

use mesh::{
    identity::Identity,
    openapi::{Contract, Fragment, Operation},
    route::Expand,
};
use serde_json::{Map, Value, json};

use super::Visible;
use crate::{
    catalog::Catalog,
    domain::flow::{Flow, Input, RunAs},
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
        .filter(|operation| operation.expand == Expand::Flow)
        .collect();
    for flow in catalog.flows.values() {
        if flow.disabled.is_some()
            || !visible.has("flow", None, &flow.name)
            || !may_start(flow, caller)
        {
            continue;
        }
        for operation in &generic {
            let operation = of_flow(operation, flow);
            fragment.add(&operation.path, &operation.method, operation.value);
        }
    }
}

/// As starting it checks it.
fn may_start(flow: &Flow, caller: &Identity) -> bool {
    let mut needed = flow.required_permissions.iter();
    let is_open = flow.run_as == RunAs::User || needed.len() > 0 || caller.is_admin();
    is_open && needed.all(|key| caller.has_permission(key))
}

fn of_flow(generic: &Operation, flow: &Flow) -> Operation {
    let starts = generic.path.ends_with("/start");
    let mut operation = generic.expanded("flow", &flow.name);
    if !starts {
        return operation;
    }
    let mut say = |key: &str, text: &str| {
        if !text.is_empty() {
            operation.value.insert(key.to_owned(), json!(text));
        }
    };
    say("summary", &flow.label);
    say("description", &flow.description);
    if let Some(body) = operation.request_mut() {
        body["schema"] = schema(&flow.inputs);
    }
    let must_say = flow.inputs.iter().any(|input| input.required);
    if let (true, Some(Value::Object(body))) = (must_say, operation.value.get_mut("requestBody")) {
        body.insert("required".to_owned(), json!(true));
    }
    if let Some(answer) = operation.response_mut() {
        answer["schema"] = json!({"type": "object"});
    }
    operation
}

fn schema(inputs: &[Input]) -> Value {
    let properties = inputs.iter().map(|input| {
        let schema = match input.input_type.as_str() {
            "text" | "string" | "textarea" | "date" | "datetime" => json!({"type": "string"}),
            "number" | "currency" | "integer" | "percent" => json!({"type": "number"}),
            "boolean" => json!({"type": "boolean"}),
            "object" | "record" => json!({"type": "object"}),
            "list" | "array" | "record_collection" => json!({"type": "array", "items": {}}),
            _ => json!({}),
        };
        (input.name.clone(), schema)
    });
    let properties: Map<String, Value> = properties.collect();
    let mut schema = json!({"type": "object", "properties": properties});
    let required = inputs.iter().filter(|input| input.required);
    let required: Vec<&str> = required.map(|input| input.name.as_str()).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}
