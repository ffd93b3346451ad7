//! Actions, hooks, flows and agents: what they act on and whether they can run here.

use serde_json::Value;

use super::{Check, path_of};
use crate::automation::{Action, ActionKind, Body, Flow, Function, Hook, Job};
use crate::definition::Definition;
use crate::item_type::ItemType;
use crate::package::Item;

pub(super) fn check(check: &mut Check<'_>) {
    let pkg = check.pkg;
    for item in &pkg.items {
        match &item.definition {
            Definition::Action(action) => action_checks(check, item, action),
            Definition::Hook(hook) => hook_checks(check, item, hook),
            Definition::Flow(flow) => flow_checks(check, item, flow),
            Definition::Job(job) => job_checks(check, item, job),
            Definition::Function(function) => function_checks(check, item, function),
            Definition::Agent(agent) => {
                for skill in &agent.skills {
                    let path = format!("{}.skills", path_of(item));
                    check.unknown_item(item, path, ItemType::Skill, skill);
                }
            }
            Definition::ApprovalProcess(_) | Definition::Webhook(_) => object_checks(check, item),
            Definition::Untyped => untyped_checks(check, item),
            Definition::Object(_)
            | Definition::PermissionSet(_)
            | Definition::Position(_)
            | Definition::SharingRule(_)
            | Definition::Mapping(_)
            | Definition::Dataset(_)
            | Definition::View(_)
            | Definition::App(_)
            | Definition::Report(_)
            | Definition::EmailTemplate(_)
            | Definition::Skill(_)
            | Definition::Tool(_) => {}
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

fn untyped_checks(check: &mut Check<'_>, item: &Item) {
    match item.item_type {
        ItemType::Workflow => object_checks(check, item),
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

fn action_checks(check: &mut Check<'_>, item: &Item, action: &Action) {
    object_checks(check, item);
    match (&action.kind, &action.target) {
        (ActionKind::Script, target) => {
            if !action.has_code() {
                let name = target.as_deref().unwrap_or("nothing");
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
        (ActionKind::Flow, Some(flow)) => {
            let path = format!("{}.target", path_of(item));
            check.unknown_item(item, path, ItemType::Flow, flow);
        }
        (ActionKind::Other(kind), _) => not_executable(
            check,
            item,
            format!("action type \"{kind}\" is unknown"),
            "use script, api, flow, url, modal or form",
        ),
        (kind, None) => check.warn(
            item.file.clone(),
            "TARGET_MISSING",
            path_of(item),
            format!("an action of type {} needs a target", kind.as_str()),
            "add `target`",
        ),
        (ActionKind::Api | ActionKind::Url | ActionKind::Modal | ActionKind::Form, Some(_)) => {}
    }
}

fn hook_checks(check: &mut Check<'_>, item: &Item, hook: &Hook) {
    let path = path_of(item);
    if hook.objects.is_empty() {
        check.warn(
            item.file.clone(),
            "OBJECT_MISSING",
            path.clone(),
            "the hook names no object, so it never runs".to_owned(),
            "add `object`, or `object: \"*\"` for all",
        );
    }
    for object in hook.objects.iter().filter(|object| *object != "*") {
        check.unknown_object(item.file.clone(), format!("{path}.object"), object);
    }
    if hook.events.is_empty() && hook.unknown_events.is_empty() {
        check.warn(
            item.file.clone(),
            "EVENTS_MISSING",
            path.clone(),
            "the hook names no events, so it never runs".to_owned(),
            "add `events`, for example [beforeInsert]",
        );
    }
    for event in &hook.unknown_events {
        check.warn(
            item.file.clone(),
            "UNKNOWN_EVENT",
            format!("{path}.events"),
            format!("event \"{event}\" never happens"),
            "use before or after with Insert, Update, Delete, Find, FindOne, Count or Aggregate",
        );
    }
    if !hook.body.as_ref().is_some_and(Body::has_source) {
        not_executable(
            check,
            item,
            "the hook has no `body`, so it is not run".to_owned(),
            "add `body: {language: js, source: ...}`",
        );
    }
}

fn flow_checks(check: &mut Check<'_>, item: &Item, flow: &Flow) {
    let path = path_of(item);
    // The other dialect is a list of steps, the first of which is the start.
    let Some(outline) = &flow.outline else {
        return;
    };
    if outline.nodes.is_empty() {
        not_executable(
            check,
            item,
            "the flow has no nodes".to_owned(),
            "add `nodes`, the first of type start, or `steps`",
        );
        return;
    }
    if !outline.nodes.iter().any(|node| node.is_start) {
        not_executable(
            check,
            item,
            "the flow has no start node, so nothing can start it".to_owned(),
            "add a node of type start",
        );
    }
    let ids: Vec<&str> = outline
        .nodes
        .iter()
        .filter_map(|node| node.id.as_deref())
        .collect();
    for (i, node) in outline.nodes.iter().enumerate() {
        let id = node.id.as_deref();
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
        // Templates such as `{record.type}` are filled in at run time.
        if let Some(object) = node
            .object
            .as_deref()
            .filter(|object| !object.contains('{'))
        {
            check.unknown_object(
                item.file.clone(),
                format!("{path}.config.objectName"),
                object,
            );
        }
    }
    for (i, edge) in outline.edges.iter().enumerate() {
        for (key, end) in [("source", &edge.source), ("target", &edge.target)] {
            let Some(id) = end.as_deref().filter(|id| !ids.contains(id)) else {
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

fn job_checks(check: &mut Check<'_>, item: &Item, job: &Job) {
    if job.target.is_none() {
        not_executable(
            check,
            item,
            "the job does not say what to run".to_owned(),
            "add `flow` with the name of a flow, or `body`",
        );
    }
}

fn function_checks(check: &mut Check<'_>, item: &Item, function: &Function) {
    if !function.body.as_ref().is_some_and(Body::has_source) {
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
