//! Actions as metadata declares them (spec/automation.md §1), compiled.

use std::{collections::HashMap, sync::Arc, time::Duration};

use expr::Program;
use mesh::registry::{Item, Snapshot};
use metadata::expression::{Dialect, Expression};
use script::{Capabilities, Kind as ScriptKind, Limits, Script};
use serde_json::{Map, Value};

use super::param::{self, Param};

/// An action that is given no time of its own.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// An operation that an app declares.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) description: String,
    /// The object whose records it is about; none where it is global.
    pub(crate) object: Option<String>,
    /// What it takes; none where it takes anything.
    pub(crate) params: Option<Vec<Param>>,
    /// System permission keys; all of them are needed.
    pub(crate) required_permissions: Vec<String>,
    /// Must hold for the record, where there is one.
    pub(crate) guard: Option<Guard>,
    /// Under which name the record's id goes along to a flow or an API.
    pub(crate) record_id_param: Option<String>,
    /// Whether it runs for several records at once.
    pub(crate) is_bulk: bool,
    pub(crate) timeout: Duration,
    pub(crate) run: Run,
}

/// An enforced condition.
#[derive(Debug)]
pub(crate) enum Guard {
    Condition(Program),
    /// It does not compile, so nobody passes.
    Broken,
}

/// What an action does.
#[derive(Debug)]
pub(crate) enum Run {
    /// JavaScript.
    Script(Box<Script>, Limits),
    /// CEL; its value is the result.
    Expression(Box<Program>),
    /// A route of the REST API.
    Api(Api),
    /// A flow.
    Flow(String),
    /// Something of the user interface, which no API can do: type and target.
    Interface(String, String),
    /// A function of that name would be needed, which no metadata can bring.
    Bodiless(String),
    /// Why it cannot run.
    Broken(String),
}

/// A call of the REST API.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) method: String,
    /// Path with placeholders.
    pub(crate) target: String,
    /// The key under which the parameters go; flat without one.
    pub(crate) wrap: Option<String>,
    /// Added to the body last.
    pub(crate) extra: Map<String, Value>,
}

/// All actions.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    by_name: HashMap<String, Vec<Arc<Action>>>,
}

impl Actions {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut actions = Self::default();
        for item in snapshot.items("action") {
            let action = Arc::new(Action::of(item, snapshot));
            let same = actions.by_name.entry(item.name.clone()).or_default();
            same.push(action);
        }
        actions
    }

    /// Those of that name.
    pub(crate) fn named(&self, name: &str) -> &[Arc<Action>] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The one of that name and object; without an object the global one.
    pub(crate) fn find(&self, object: Option<&str>, name: &str) -> Option<&Arc<Action>> {
        let mut same = self.named(name).iter();
        same.find(|action| action.object.as_deref() == object)
    }

    /// All, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Action>> {
        self.by_name.values().flatten()
    }
}

impl Action {
    fn of(item: &Item, snapshot: &Snapshot) -> Self {
        let value = &item.value;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let object = text("objectName").or_else(|| text("object"));
        let object = object.filter(|object| !object.is_empty());
        let timeout = value.get("timeout").and_then(Value::as_u64);
        let timeout = timeout.map_or(TIMEOUT_DEFAULT, Duration::from_millis);
        let name = value.get("name").and_then(Value::as_str);
        let name = name.unwrap_or(&item.name).to_owned();
        Self {
            label: text("label").unwrap_or_else(|| name.clone()),
            description: description(value),
            params: param::declared(value.get("params"), object.as_deref(), snapshot),
            required_permissions: texts(value.get("requiredPermissions")),
            guard: guard(value.get("guard")),
            record_id_param: text("recordIdParam"),
            is_bulk: value.get("bulkEnabled") == Some(&Value::Bool(true)),
            timeout: timeout.min(TIMEOUT_DEFAULT),
            run: run(&name, value),
            object,
            name,
        }
    }
}

/// What the action says about itself: for agents first, then for people.
fn description(value: &Value) -> String {
    let for_agents = value.pointer("/ai/description");
    let texts = [for_agents, value.get("description")];
    let mut texts = texts.into_iter().flatten().filter_map(Value::as_str);
    texts.next().unwrap_or_default().to_owned()
}

fn guard(value: Option<&Value>) -> Option<Guard> {
    let value = value.filter(|value| !value.is_null())?;
    let source = Expression::from_value(value, Dialect::Cel);
    let program = source.and_then(|source| Program::compile_condition(&source.source).ok());
    Some(program.map_or(Guard::Broken, Guard::Condition))
}

fn run(name: &str, value: &Value) -> Run {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let target = text("target").or_else(|| text("execute"));
    let kind = text("type").unwrap_or("script");
    match (kind, target) {
        ("script", _) => match value.get("body") {
            Some(body) => body_run(name, body),
            None => Run::Bodiless(target.unwrap_or_default().to_owned()),
        },
        ("api", Some(target)) => Run::Api(Api {
            method: text("method").unwrap_or("POST").to_ascii_uppercase(),
            target: target.to_owned(),
            wrap: value
                .pointer("/bodyShape/wrap")
                .and_then(Value::as_str)
                .map(str::to_owned),
            extra: value
                .get("bodyExtra")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        }),
        ("flow", Some(target)) => Run::Flow(target.to_owned()),
        ("url" | "modal" | "form", target) => {
            Run::Interface(kind.to_owned(), target.unwrap_or_default().to_owned())
        }
        ("api" | "flow", None) => Run::Broken(format!("an action of type {kind} needs a target")),
        (other, _) => Run::Broken(format!("action type `{other}` is unknown")),
    }
}

/// A script body: JavaScript, or an expression.
pub(crate) fn body_run(name: &str, body: &Value) -> Run {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let Some(source) = body.as_str().or_else(|| text("source")) else {
        return Run::Broken("its body has no source".to_owned());
    };
    match text("language").unwrap_or("js") {
        "js" => {
            let number = |key: &str| body.get(key).and_then(Value::as_u64);
            let limits = Limits::ACTION.asked(
                number("timeoutMs"),
                number("memoryMb").and_then(|mb| usize::try_from(mb).ok()),
            );
            let script = Script {
                name: name.to_owned(),
                kind: ScriptKind::Action,
                source: source.to_owned(),
                capabilities: Capabilities::declared(&texts(body.get("capabilities")), source),
            };
            Run::Script(Box::new(script), limits)
        }
        "expression" => match Program::compile(source) {
            Ok(program) => Run::Expression(Box::new(program)),
            Err(error) => Run::Broken(format!("its expression does not compile: {error}")),
        },
        other => Run::Broken(format!("the language `{other}` is unknown")),
    }
}

/// A text, or the texts of a list.
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
