//! Reads the item of a flow, whichever dialect it is written in.

use serde_json::{Map, Value};

use super::{
    Backoff, Condition, Flow, Graph, Input, Kind, OnFailure, RunAs, check, nodes, steps, trigger,
};

/// Compiles a flow. One that makes no sense is there, disabled, and says why.
pub(crate) fn compile(name: &str, hash: &str, source: &Value) -> Flow {
    let empty = Map::new();
    let item = source.as_object().unwrap_or(&empty);
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    let mut warnings = Vec::new();
    let listed = item.get("steps").and_then(Value::as_array);
    let read = match listed {
        Some(listed) if !item.contains_key("nodes") => steps::graph(listed, 0, &mut warnings),
        _ => nodes::graph(item, 0, &mut warnings),
    };
    let mut disabled = match text("status").unwrap_or("draft") {
        "draft" | "active" => None,
        other => Some(format!("its status is `{other}`")),
    };
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
    for node in graph.nodes.iter().filter(|node| node.kind == Kind::Start) {
        triggers.extend(trigger::read(&node.config, &mut warnings));
    }
    if let Some(config) = item.get("trigger").and_then(Value::as_object) {
        triggers.extend(trigger::read(config, &mut warnings));
    }
    let is_scheduled = matches!(text("type"), Some("schedule" | "scheduled"));
    if is_scheduled || item.get("schedule").is_some_and(Value::is_object) {
        warnings.push("its schedule does not fire: schedules are not built".to_owned());
    }
    let (inputs, outputs, defaults) = variables(item);
    let handling = item.get("errorHandling").and_then(Value::as_object);
    let fallback = handling.and_then(|handling| handling.get("fallbackNodeId"));
    let fallback = fallback.and_then(Value::as_str);
    let place = |id: &str| graph.nodes.iter().position(|node| node.id == id);
    Flow {
        name: name.to_owned(),
        version: item.get("version").and_then(Value::as_i64).unwrap_or(1),
        hash: hash.to_owned(),
        source: source.clone(),
        disabled,
        run_as: RunAs::parse(text("runAs").unwrap_or_default()),
        required_permissions: texts(item.get("requiredPermissions")),
        inputs,
        outputs,
        defaults,
        on_failure: handling.map_or(OnFailure::Fail, on_failure),
        fallback: fallback.and_then(place),
        triggers: triggers.into_iter().filter(fires).collect(),
        graph,
        warnings,
    }
}

fn fires(trigger: &super::Trigger) -> bool {
    let fault = trigger.condition.as_ref().and_then(Condition::fault);
    fault.is_none()
}

/// The inputs, the names of the outputs, and what variables begin with.
fn variables(item: &Map<String, Value>) -> (Vec<Input>, Vec<String>, Map<String, Value>) {
    let (mut inputs, mut outputs, mut defaults) = (Vec::new(), Vec::new(), Map::new());
    let is = |value: &Value, key: &str| value.get(key) == Some(&Value::Bool(true));
    let default = |value: &Value| {
        let default = value.get("defaultValue").or_else(|| value.get("default"));
        default.cloned()
    };
    let variables = item.get("variables").and_then(Value::as_array);
    for variable in variables.into_iter().flatten() {
        let Some(name) = variable.get("name").and_then(Value::as_str) else {
            continue;
        };
        if is(variable, "isInput") {
            inputs.push(Input {
                name: name.to_owned(),
                required: is(variable, "required"),
            });
        }
        if is(variable, "isOutput") {
            outputs.push(name.to_owned());
        }
        if let Some(value) = default(variable) {
            defaults.insert(name.to_owned(), value);
        }
    }
    let declared = item.get("inputs").and_then(Value::as_object);
    for (name, input) in declared.into_iter().flatten() {
        inputs.push(Input {
            name: name.clone(),
            required: is(input, "required"),
        });
        if let Some(value) = default(input) {
            defaults.insert(name.clone(), value);
        }
    }
    match item.get("outputs") {
        Some(Value::Object(declared)) => outputs.extend(declared.keys().cloned()),
        other => outputs.extend(texts(other)),
    }
    (inputs, outputs, defaults)
}

fn on_failure(handling: &Map<String, Value>) -> OnFailure {
    let strategy = handling.get("strategy").or_else(|| handling.get("mode"));
    match strategy.and_then(Value::as_str) {
        Some("continue") => OnFailure::Continue,
        Some("retry") => OnFailure::Retry(read_backoff(handling, 0)),
        _ => OnFailure::Fail,
    }
}

/// The `retry` of a step, which counts all attempts.
pub(super) fn backoff(value: &Value) -> Option<Backoff> {
    let backoff = read_backoff(value.as_object()?, 1);
    (backoff.retries > 0).then_some(backoff)
}

fn read_backoff(value: &Map<String, Value>, firsts: i64) -> Backoff {
    let number = |keys: &[&str]| keys.iter().find_map(|key| value.get(*key)?.as_f64());
    let retries = value.get("maxRetries").and_then(Value::as_i64);
    let attempts = value.get("attempts").and_then(Value::as_i64);
    let retries = retries.or_else(|| attempts.map(|attempts| attempts - firsts));
    Backoff {
        retries: retries.unwrap_or(0).clamp(0, 20),
        delay_ms: number(&["retryDelayMs", "backoffMs", "delayMs"]).unwrap_or(1000.0),
        multiplier: number(&["backoffMultiplier", "multiplier"])
            .unwrap_or(1.0)
            .clamp(1.0, 10.0),
        delay_max_ms: number(&["maxRetryDelayMs"])
            .unwrap_or(60_000.0)
            .min(3_600_000.0),
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => {
            let texts = list.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
