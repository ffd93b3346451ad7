//! A path for each action: its input is what its parameters say.

use std::sync::Arc;

use mesh::{
    identity::Identity,
    openapi::{Contract, Fragment, Operation},
};
use metadata::{Param, params_schema};
use proto::annotations::v1::Expand;
use serde_json::{Value, json};

use super::Visible;
use crate::catalog::{Action, Catalog, GLOBAL, Run};

/// Adds the actions that the caller may invoke.
pub(super) fn describe(
    fragment: &mut Fragment,
    contract: &Contract,
    caller: &Identity,
    catalog: &Catalog,
    visible: &Visible,
) {
    let open = contract.open_to(caller);
    let generic: Vec<&Operation> = open
        .filter(|operation| operation.expand == Expand::Action)
        .collect();
    let mut actions: Vec<&Arc<Action>> = catalog.actions().collect();
    actions.sort_by(|a, b| (a.name(), a.object()).cmp(&(b.name(), b.object())));
    for action in actions {
        let permitted = action.spec.required_permissions.iter();
        let permitted = permitted.into_iter().all(|key| caller.has_permission(key));
        let seen = visible.has(&action.item);
        if !permitted || !seen || !is_invokable(&action.run) {
            continue;
        }
        for operation in &generic {
            if let Some(operation) = of_action(operation, action) {
                fragment.add(&operation.path, &operation.method, operation.value);
            }
        }
    }
}

fn is_invokable(run: &Run) -> bool {
    match run {
        Run::Code(_) | Run::Api(_) | Run::Flow(_) => true,
        Run::Interface(_) | Run::Bodiless(_) | Run::Broken(_) => false,
    }
}

/// The route for one action: under its object, which is never ambiguous; with the record in the path
/// where it is about records.
fn of_action(generic: &Operation, action: &Action) -> Option<Operation> {
    let takes_object = generic.path.contains("{object}");
    let takes_record = generic.path.contains("{recordId}");
    if !takes_object || (takes_record && action.object().is_none()) {
        return None;
    }
    let object = action.object().unwrap_or(GLOBAL);
    let mut operation = generic.expanded("object", object);
    operation = operation.expanded("action", action.name());
    let spec = &action.spec;
    let label = spec.label.as_deref().unwrap_or(action.name());
    operation.value.insert("summary".to_owned(), json!(label));
    // For agents first, then for people.
    let description = spec.ai.description.as_ref().or(spec.description.as_ref());
    if let Some(description) = description.filter(|text| !text.is_empty()) {
        let text = json!(description);
        operation.value.insert("description".to_owned(), text);
    }
    let mut input = params_schema(action.params.as_deref());
    if action.object().is_some() && !takes_record {
        let id = json!({"type": "string", "description": "Id of the record."});
        input["properties"]["recordId"] = id;
    }
    if let Some(body) = operation.request_mut() {
        body["schema"] = input;
    }
    let must_say = action.params.iter().flatten().any(Param::is_needed);
    if let (true, Some(Value::Object(body))) = (must_say, operation.value.get_mut("requestBody")) {
        body.insert("required".to_owned(), json!(true));
    }
    if let Some(answer) = operation.response_mut() {
        answer["schema"] = json!({"type": "object"});
    }
    Some(operation)
}
