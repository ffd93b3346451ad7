//! Reads the item of a flow, whichever dialect it is written in.

use serde_json::Value;

use super::graph::Graph;
use super::node::NodeConfig;
use super::outline::outline;
use super::{Flow, FlowKind, FlowStatus, OnFailure, RunAs, Variable, check, nodes, steps, trigger};
use crate::automation::action::AiExposure;
use crate::automation::job::Schedule;
use crate::automation::param::ActionParam;
use crate::automation::retry::Backoff;
use crate::reader::Reader;

pub(super) fn flow(name: &str, reader: &Reader<'_>) -> Flow {
    let mut warnings = Vec::new();
    let steps = reader.raw(&["steps"]).and_then(Value::as_array);
    let steps = steps.filter(|_| reader.raw(&["nodes"]).is_none());
    let read = match steps {
        Some(steps) => steps::graph(steps, reader, 0, &mut warnings),
        None => nodes::graph(reader, 0, &mut warnings),
    };
    let status = reader.string(&["status"]);
    let status = status
        .as_deref()
        .map_or(FlowStatus::Draft, FlowStatus::parse);
    let mut disabled = (!status.is_on()).then(|| format!("its status is `{}`", status.as_str()));
    let graph = read.unwrap_or_else(|why| {
        disabled.get_or_insert(why);
        Graph::default()
    });
    if let Some(node) = check::circle(&graph) {
        disabled.get_or_insert(format!("its nodes form a circle at `{node}`"));
    }
    if graph.nodes.is_empty() {
        disabled.get_or_insert("it has no steps".to_owned());
    }
    let mut triggers = Vec::new();
    let mut schedule = None;
    for node in &graph.nodes {
        if let NodeConfig::Start(start) = &node.config {
            triggers.extend(start.triggers.iter().cloned());
            schedule = schedule.or_else(|| start.schedule.clone());
        }
    }
    if let Some(Value::Object(_)) = reader.raw(&["trigger"])
        && let Some(config) = reader.object(&["trigger"])
    {
        triggers.extend(trigger::triggers(&config, &mut warnings));
    }
    let handling = reader.object(&["errorHandling"]);
    let fallback = handling
        .as_ref()
        .and_then(|handling| handling.string(&["fallbackNodeId"]));
    let place = |id: String| graph.nodes.iter().position(|node| node.id == id);
    let kind = reader.string(&["type"]);
    let object = reader.string(&["objectName", "object"]);
    Flow {
        name: name.to_owned(),
        label: reader.string(&["label"]),
        description: reader.string(&["description"]),
        ai: AiExposure::read(reader),
        object,
        version: reader.integer(&["version"]).unwrap_or(1),
        kind: kind
            .as_deref()
            .map_or(FlowKind::Autolaunched, FlowKind::parse),
        status,
        run_as: RunAs::parse(&reader.string(&["runAs"]).unwrap_or_default()),
        required_permissions: reader.required_permissions(),
        variables: variables(reader),
        on_failure: handling.as_ref().map_or(OnFailure::Fail, on_failure),
        fallback: fallback.and_then(place),
        triggers,
        schedule: schedule.or_else(|| Schedule::read(reader)),
        outline: steps.is_none().then(|| outline(reader)),
        graph,
        disabled,
        warnings,
    }
}

/// Variables of either dialect: `variables`, and `inputs` and `outputs`.
fn variables(reader: &Reader<'_>) -> Vec<Variable> {
    let mut variables = Vec::new();
    for (_, one) in reader.objects(&["variables"]) {
        let (is_input, is_output) = (is(&one, "isInput"), is(&one, "isOutput"));
        variables.extend(variable(None, &one, is_input, is_output));
    }
    if let Some(Value::Object(inputs)) = reader.raw(&["inputs"]) {
        for (name, input) in inputs {
            // An input may be a mere name.
            let nothing = serde_json::Map::new();
            let input = input.as_object().unwrap_or(&nothing);
            let path = format!("{}.{name}", reader.at("inputs"));
            let one = Reader::over(input, path, reader.sink);
            variables.extend(variable(Some(name), &one, true, false));
        }
    }
    let outputs = match reader.raw(&["outputs"]) {
        Some(Value::Object(declared)) => declared.keys().cloned().collect(),
        _ => reader.strings(&["outputs"]).unwrap_or_default(),
    };
    for name in outputs {
        let output = serde_json::Map::new();
        let one = Reader::over(&output, reader.at("outputs"), reader.sink);
        variables.extend(variable(Some(&name), &one, false, true));
    }
    variables
}

fn is(reader: &Reader<'_>, key: &str) -> bool {
    reader.flag(&[key]) == Some(true)
}

fn variable(
    name: Option<&str>,
    reader: &Reader<'_>,
    is_input: bool,
    is_output: bool,
) -> Option<Variable> {
    let declared = ActionParam::read(name, reader)?;
    Some(Variable {
        name: declared.name,
        label: declared.label,
        description: declared.description,
        variable_type: declared.param_type,
        multiple: declared.multiple == Some(true),
        options: declared.options.unwrap_or_default(),
        is_input,
        is_output,
        required: declared.required == Some(true),
        default: declared
            .default
            .or_else(|| reader.raw(&["default"]).cloned()),
    })
}

fn on_failure(handling: &Reader<'_>) -> OnFailure {
    match handling.string(&["strategy", "mode"]).as_deref() {
        Some("continue") => OnFailure::Continue,
        Some("retry") => OnFailure::Retry(Backoff::read(handling, 0)),
        None | Some(_) => OnFailure::Fail,
    }
}
