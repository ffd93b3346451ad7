//! Which agent answers.

use mesh::{Result, identity::Identity, registry::Snapshot};
use serde_json::Value;

use crate::domain::message::wrong;

/// Messages of a conversation that a model is told, where the agent says no number.
const MEMORY: i64 = 30;
/// Most of them.
const MEMORY_MAX: i64 = 200;

/// An agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agent {
    /// Its name; none for the built-in assistant.
    pub(crate) name: Option<String>,
    /// What it is told, with the instructions of its skills.
    pub(crate) instructions: String,
    /// Its tools and those of its skills, by name; empty: every one.
    pub(crate) tools: Vec<Value>,
    /// The model that it asks for.
    pub(crate) model: Value,
    /// How often the model may be asked with tools.
    pub(crate) iterations: Option<u32>,
    /// How many messages of a conversation the model is told.
    pub(crate) memory: i64,
}

/// The agent of that name, or the one that answers by default: that of an app, else the first one that
/// the caller may use, else the built-in assistant.
///
/// # Errors
/// VALIDATION_ERROR when there is none of that name that the caller may use.
pub(crate) fn choose(
    snapshot: &Snapshot,
    identity: &Identity,
    wanted: Option<(&str, &str)>,
) -> Result<Agent> {
    let usable = |name: &str| {
        let item = snapshot.item("agent", name)?;
        may_use(identity, &item.value).then_some(&item.value)
    };
    if let Some((name, field)) = wanted {
        let found = usable(name);
        let value = found.ok_or_else(|| wrong(field, "invalid_option", "names no agent"))?;
        return Ok(read(snapshot, identity, name, value));
    }
    let of_apps = snapshot.items("app").iter().filter(|app| {
        let required = app.value["requiredPermissions"].as_array();
        let mut required = required.into_iter().flatten().filter_map(Value::as_str);
        required.all(|key| identity.has_permission(key))
    });
    let of_apps = of_apps.filter_map(|app| app.value["defaultAgent"].as_str());
    let others = snapshot
        .items("agent")
        .iter()
        .map(|item| item.name.as_str());
    for name in of_apps.chain(others) {
        if let Some(value) = usable(name) {
            return Ok(read(snapshot, identity, name, value));
        }
    }
    Ok(Agent {
        instructions: "You help people with the records of a business application.".to_owned(),
        memory: MEMORY,
        ..Agent::default()
    })
}

fn may_use(identity: &Identity, value: &Value) -> bool {
    let texts = |key: &str| {
        let list = value[key].as_array().map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let access = texts("access");
    let is_one_of = |name: &&str| {
        identity.subject == *name
            || identity.permission_sets.iter().any(|set| set == name)
            || identity.positions.iter().any(|position| position == name)
    };
    value["active"] != false
        && texts("permissions")
            .iter()
            .all(|key| identity.has_permission(key))
        && (access.is_empty() || identity.is_admin() || access.iter().any(is_one_of))
}

fn read(snapshot: &Snapshot, identity: &Identity, name: &str, value: &Value) -> Agent {
    let mut instructions = value["instructions"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let mut tools = value["tools"].as_array().cloned().unwrap_or_default();
    let skills = value["skills"].as_array().map_or(&[][..], Vec::as_slice);
    for skill in skills.iter().filter_map(Value::as_str) {
        let Some(item) = snapshot.item("skill", skill) else {
            continue;
        };
        let needed = item.value["permissions"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let mut needed = needed.iter().filter_map(Value::as_str);
        if item.value["active"] == false || !needed.all(|key| identity.has_permission(key)) {
            continue;
        }
        if let Some(text) = item.value["instructions"].as_str() {
            instructions.push_str("\n\n");
            instructions.push_str(text);
        }
        tools.extend(
            item.value["tools"]
                .as_array()
                .into_iter()
                .flatten()
                .cloned(),
        );
    }
    let count = |path: [&str; 2]| value[path[0]][path[1]].as_i64().filter(|count| *count > 0);
    let iterations = count(["planning", "maxIterations"]);
    Agent {
        name: Some(name.to_owned()),
        instructions,
        tools,
        model: value["model"].clone(),
        iterations: iterations.and_then(|count| u32::try_from(count.min(50)).ok()),
        memory: count(["memory", "maxMessages"])
            .unwrap_or(MEMORY)
            .min(MEMORY_MAX),
    }
}
