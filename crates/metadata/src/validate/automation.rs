//! Actions, hooks, flows and agents: what they act on and whether they can run here.

use serde_json::Value;

use super::{Check, path_of, text};
use crate::item_type::ItemType;
use crate::package::Item;

/// Event names of hooks, without before/after.
const OPERATIONS: [&str; 9] = [
    "Insert",
    "Update",
    "Delete",
    "Find",
    "FindOne",
    "Count",
    "Aggregate",
    "UpdateMany",
    "DeleteMany",
];

pub(super) fn check(check: &mut Check<'_>) {
    let pkg = check.pkg;
    for item in &pkg.items {
        match item.item_type {
            ItemType::Action => action_checks(check, item),
            ItemType::Hook => hook_checks(check, item),
            ItemType::Flow => flow_checks(check, item),
            ItemType::Job => job_checks(check, item),
            ItemType::Function => function_checks(check, item),
            ItemType::Agent => {
                names(check, item, "skills", ItemType::Skill);
            }
            ItemType::Workflow | ItemType::Approval | ItemType::Webhook => {
                object_checks(check, item)
            }
            ItemType::Trigger
            | ItemType::Router
            | ItemType::Service
            | ItemType::Connector
            | ItemType::Api => {
                let kind = item.item_type.label();
                not_executable(
                    check,
                    item,
                    format!(
                        "{kind} \"{}\" is stored and served, but nothing here runs it",
                        item.name
                    ),
                    "use a hook, a flow or a webhook instead",
                );
            }
            _ => {}
        }
    }
    if let Some(module) = pkg.extra.get("runtimeModule").and_then(Value::as_str) {
        check.warn(
            None,
            "NOT_EXECUTABLE",
            "runtimeModule".to_owned(),
            format!("the module \"{module}\" is host code and is not run"),
            "put scripts into the `body` of actions and hooks",
        );
    }
}

fn not_executable(check: &mut Check<'_>, item: &Item, message: String, hint: &str) {
    check.warn(
        item.file.clone(),
        "NOT_EXECUTABLE",
        path_of(item),
        message,
        hint,
    );
}

fn object_checks(check: &mut Check<'_>, item: &Item) {
    if let Some(object) = &item.object {
        check.unknown_object(
            item.file.clone(),
            format!("{}.object", path_of(item)),
            object,
        );
    }
}

/// A script body: `{language, source}`, or the source itself.
fn has_body(value: &Value) -> bool {
    let source = match value.get("body") {
        Some(Value::String(source)) => Some(source.as_str()),
        Some(body) => text(body, "source"),
        None => None,
    };
    source.is_some_and(|source| !source.trim().is_empty())
}

fn action_checks(check: &mut Check<'_>, item: &Item) {
    object_checks(check, item);
    let target = text(&item.value, "target").or_else(|| text(&item.value, "execute"));
    let kind = text(&item.value, "type").unwrap_or("script");
    match (kind, target) {
        ("script", _) => {
            if !has_body(&item.value) {
                let name = target.unwrap_or("nothing");
                not_executable(
                    check,
                    item,
                    format!(
                        "the action has no `body`, only a target ({name}): calling it answers 501"
                    ),
                    "add `body: {language: js, source: ...}`",
                );
            }
        }
        ("flow", Some(flow)) => {
            let path = format!("{}.target", path_of(item));
            check.unknown_item(item, path, ItemType::Flow, flow);
        }
        ("flow" | "api" | "url" | "modal" | "form", None) => check.warn(
            item.file.clone(),
            "TARGET_MISSING",
            path_of(item),
            format!("an action of type {kind} needs a target"),
            "add `target`",
        ),
        ("api" | "url" | "modal" | "form", Some(_)) => {}
        (other, _) => not_executable(
            check,
            item,
            format!("action type \"{other}\" is unknown"),
            "use script, api, flow, url, modal or form",
        ),
    }
}

fn hook_checks(check: &mut Check<'_>, item: &Item) {
    let path = path_of(item);
    let objects = match item
        .value
        .get("object")
        .or_else(|| item.value.get("objectName"))
    {
        Some(Value::String(object)) => vec![object.as_str()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if objects.is_empty() {
        check.warn(
            item.file.clone(),
            "OBJECT_MISSING",
            path.clone(),
            "the hook names no object, so it never runs".to_owned(),
            "add `object`, or `object: \"*\"` for all",
        );
    }
    for object in objects.into_iter().filter(|object| *object != "*") {
        check.unknown_object(item.file.clone(), format!("{path}.object"), object);
    }
    let events = item.value.get("events").and_then(Value::as_array);
    let events: Vec<&str> = events
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if events.is_empty() {
        check.warn(
            item.file.clone(),
            "EVENTS_MISSING",
            path.clone(),
            "the hook names no events, so it never runs".to_owned(),
            "add `events`, for example [beforeInsert]",
        );
    }
    for event in events {
        let operation = event
            .strip_prefix("before")
            .or_else(|| event.strip_prefix("after"));
        if !operation.is_some_and(|operation| OPERATIONS.contains(&operation)) {
            check.warn(
                item.file.clone(),
                "UNKNOWN_EVENT",
                format!("{path}.events"),
                format!("event \"{event}\" never happens"),
                "use before or after with Insert, Update, Delete, Find, FindOne, Count or Aggregate",
            );
        }
    }
    if !has_body(&item.value) {
        not_executable(
            check,
            item,
            "the hook has no `body`, so it is not run".to_owned(),
            "add `body: {language: js, source: ...}`",
        );
    }
}

fn flow_checks(check: &mut Check<'_>, item: &Item) {
    let path = path_of(item);
    let list = |key: &str| item.value.get(key).and_then(Value::as_array);
    let nodes = list("nodes");
    // The other dialect is a list of steps, the first of which is the start.
    if nodes.is_none() && list("steps").is_some_and(|steps| !steps.is_empty()) {
        return;
    }
    let Some(nodes) = nodes.filter(|nodes| !nodes.is_empty()) else {
        not_executable(
            check,
            item,
            "the flow has no nodes".to_owned(),
            "add `nodes`, the first of type start, or `steps`",
        );
        return;
    };
    if !nodes.iter().any(|node| text(node, "type") == Some("start")) {
        not_executable(
            check,
            item,
            "the flow has no start node, so nothing can start it".to_owned(),
            "add a node of type start",
        );
    }
    let ids: Vec<&str> = nodes.iter().filter_map(|node| text(node, "id")).collect();
    for (i, node) in nodes.iter().enumerate() {
        let id = text(node, "id");
        let path = match id {
            Some(id) => format!("{path}.nodes.{id}"),
            None => format!("{path}.nodes[{i}]"),
        };
        if id.is_none_or(|id| ids.iter().filter(|other| **other == id).count() > 1) {
            check.warn(
                item.file.clone(),
                "NODE_ID",
                path.clone(),
                "the node has no id of its own, so edges cannot name it".to_owned(),
                "give each node its own `id`",
            );
        }
        let object = node
            .pointer("/config/objectName")
            .or_else(|| node.pointer("/config/object"));
        // Templates such as `{record.type}` are filled in at run time.
        if let Some(object) = object.and_then(Value::as_str).filter(|o| !o.contains('{')) {
            check.unknown_object(
                item.file.clone(),
                format!("{path}.config.objectName"),
                object,
            );
        }
    }
    for (i, edge) in item
        .value
        .get("edges")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        for key in ["source", "target"] {
            let Some(id) = text(edge, key).filter(|id| !ids.contains(id)) else {
                continue;
            };
            check.warn(
                item.file.clone(),
                "EDGE_DANGLING",
                format!("{path}.edges[{i}].{key}"),
                format!("the flow has no node \"{id}\""),
                "correct the id, or remove the edge",
            );
        }
    }
}

fn job_checks(check: &mut Check<'_>, item: &Item) {
    let runs = ["flow", "flowName", "action", "handler", "body", "target"];
    if !runs.into_iter().any(|key| item.value.get(key).is_some()) {
        not_executable(
            check,
            item,
            "the job does not say what to run".to_owned(),
            "add `flow` with the name of a flow, or `body`",
        );
    }
}

fn function_checks(check: &mut Check<'_>, item: &Item) {
    if !has_body(&item.value) {
        not_executable(
            check,
            item,
            format!(
                "function \"{}\" is only a name: calling it fails",
                item.name
            ),
            "put the script into the `body` of the action, hook or flow step that needs it",
        );
    }
}

fn names(check: &mut Check<'_>, item: &Item, key: &str, item_type: ItemType) {
    let list = item.value.get(key).and_then(Value::as_array);
    for name in list.into_iter().flatten().filter_map(Value::as_str) {
        check.unknown_item(item, format!("{}.{key}", path_of(item)), item_type, name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;
    use serde_json::json;

    #[test]
    fn scripts_without_body_are_not_executable() {
        let found = findings(json!({
            "objects": [{"name": "a", "fields": {"x": {"type": "text"}}}],
            "actions": [
                {"name": "named", "type": "script", "target": "doIt"},
                {"name": "good", "body": {"language": "js", "source": "return 1"}},
                {"name": "starts", "type": "flow", "target": "gone"}
            ],
            "hooks": [{"name": "h", "object": "a", "events": ["beforeInsert", "onMonday"]}],
            "functions": {"f": "f"}
        }));
        assert_eq!(
            found,
            [
                "UNKNOWN_EVENT hooks.h.events",
                "NOT_EXECUTABLE hooks.h",
                "NOT_EXECUTABLE actions.named",
                "DANGLING_REFERENCE actions.starts.target",
                "NOT_EXECUTABLE functions.f",
            ]
        );
    }

    #[test]
    fn flows_are_connected() {
        let found = findings(json!({"flows": [
            {"name": "empty", "nodes": []},
            {"name": "f", "nodes": [{"id": "s", "type": "start", "config": {"objectName": "gone"}}],
             "edges": [{"source": "s", "target": "t"}]}
        ]}));
        assert_eq!(
            found,
            [
                "NOT_EXECUTABLE flows.empty",
                "UNKNOWN_OBJECT flows.f.nodes.s.config.objectName",
                "EDGE_DANGLING flows.f.edges[0].target",
            ]
        );
    }
}
