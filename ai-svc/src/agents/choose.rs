//! Which agent answers.

use data_client::registry::Snapshot;
use mesh::{Result, identity::Identity};
use metadata::{
    App, ItemType,
    ai::{ModelChoice, ToolReference},
};

use crate::domain::message::wrong;

/// Messages of a conversation that a model is told, where the agent says no number.
const MEMORY: u32 = 30;
/// Most of them.
const MEMORY_MAX: u32 = 200;
/// How often a model may be asked with tools at most, whatever an agent says.
const ITERATIONS_MAX: u32 = 50;

/// An agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agent {
    /// Its name; none for the built-in assistant.
    pub(crate) name: Option<String>,
    /// What it is told, with the instructions of its skills.
    pub(crate) instructions: String,
    /// Its tools and those of its skills; empty: every one.
    pub(crate) tools: Vec<ToolReference>,
    /// The model that it asks for.
    pub(crate) model: Option<ModelChoice>,
    /// How often the model may be asked with tools.
    pub(crate) iterations: Option<u32>,
    /// How many messages of a conversation the model is told.
    pub(crate) memory: u32,
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
        let item = snapshot.item(ItemType::Agent, name)?;
        let agent = item.definition.agent()?;
        may_use(identity, agent).then(|| assembled(snapshot, identity, agent))
    };
    if let Some((name, field)) = wanted {
        let found = usable(name);
        return found.ok_or_else(|| wrong(field, "invalid_option", "names no agent"));
    }
    let apps = snapshot.items(ItemType::App).iter();
    let apps = apps.filter_map(|item| item.definition.app());
    let of_apps = apps
        .filter(|app| sees(identity, app))
        .filter_map(|app| app.default_agent.as_deref());
    let all = snapshot.items(ItemType::Agent).iter();
    let mut names = of_apps.chain(all.map(|item| item.name.as_str()));
    Ok(names.find_map(usable).unwrap_or_else(|| Agent {
        instructions: "You help people with the records of a business application.".to_owned(),
        memory: MEMORY,
        ..Agent::default()
    }))
}

fn sees(identity: &Identity, app: &App) -> bool {
    let mut required = app.required_permissions.iter();
    required.all(|key| identity.has_permission(key))
}

fn may_use(identity: &Identity, agent: &metadata::Agent) -> bool {
    let is_one_of = |name: &String| {
        identity.subject == *name
            || identity.permission_sets.contains(name)
            || identity.positions.contains(name)
    };
    let mut permissions = agent.permissions.iter();
    agent.is_active
        && permissions.all(|key| identity.has_permission(key))
        && (agent.access.is_empty() || identity.is_admin() || agent.access.iter().any(is_one_of))
}

/// An agent with the skills that the caller may use.
fn assembled(snapshot: &Snapshot, identity: &Identity, agent: &metadata::Agent) -> Agent {
    let mut instructions = agent.instructions.clone().unwrap_or_default();
    let mut tools = agent.tools.clone();
    for name in &agent.skills {
        let item = snapshot.item(ItemType::Skill, name);
        let Some(skill) = item.and_then(|item| item.definition.skill()) else {
            continue;
        };
        let mut needed = skill.permissions.iter();
        if !skill.is_active || !needed.all(|key| identity.has_permission(key)) {
            continue;
        }
        if let Some(text) = &skill.instructions {
            instructions.push_str("\n\n");
            instructions.push_str(text);
        }
        tools.extend(skill.tools.iter().cloned());
    }
    let stated = |count: Option<u32>| count.filter(|count| *count > 0);
    Agent {
        name: Some(agent.name.clone()),
        instructions,
        tools,
        model: agent.model.clone(),
        iterations: stated(agent.iterations_max).map(|count| count.min(ITERATIONS_MAX)),
        memory: stated(agent.messages_max).unwrap_or(MEMORY).min(MEMORY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh::identity::Kind;
    use metadata::Item;
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(items: &[(ItemType, &str, Value)]) -> Snapshot {
        let items = items.iter();
        Snapshot::new(
            1,
            items.map(|(kind, name, value)| Arc::new(Item::new(*kind, *name, value.clone()).0)),
        )
    }

    fn somebody(permissions: &[&str]) -> Identity {
        Identity {
            subject: "u1".to_owned(),
            system_permissions: permissions.iter().map(|&key| key.to_owned()).collect(),
            ..Identity::nobody(Kind::User)
        }
    }

    #[test]
    fn who_answers_follows_from_app_access_and_order() {
        let snapshot = snapshot(&[
            (
                ItemType::App,
                "desk",
                json!({"requiredPermissions": ["desk"], "defaultAgent": "helper"}),
            ),
            (ItemType::Agent, "away", json!({"active": false})),
            (ItemType::Agent, "boss", json!({"access": ["manager"]})),
            (ItemType::Agent, "clerk", json!({"permissions": []})),
            (ItemType::Agent, "helper", json!({"permissions": ["help"]})),
        ]);
        let chosen = |permissions: &[&str], wanted: Option<&str>| {
            let wanted = wanted.map(|name| (name, "agent"));
            let chosen = choose(&snapshot, &somebody(permissions), wanted);
            chosen.map(|agent| agent.name.unwrap_or_default()).ok()
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(chosen(&["desk", "help"], None), some("helper"));
        assert_eq!(chosen(&["help"], None), some("clerk"));
        assert_eq!(chosen(&["desk"], None), some("clerk"));
        assert_eq!(chosen(&["help"], Some("helper")), some("helper"));
        for refused in ["away", "boss", "helper", "nobody"] {
            assert_eq!(chosen(&[], Some(refused)), None, "{refused}");
        }
    }

    #[test]
    fn skills_add_what_their_user_may_have() {
        let snapshot = snapshot(&[
            (
                ItemType::Agent,
                "a",
                json!({"instructions": "A", "skills": ["s", "secret", "off"], "tools": ["get_record"],
                    "planning": {"maxIterations": 90}, "memory": {"maxMessages": 0}}),
            ),
            (
                ItemType::Skill,
                "s",
                json!({"instructions": "S", "tools": ["action_*"]}),
            ),
            (
                ItemType::Skill,
                "secret",
                json!({"instructions": "X", "permissions": ["x"]}),
            ),
            (
                ItemType::Skill,
                "off",
                json!({"instructions": "Y", "active": false}),
            ),
        ]);
        let agent = choose(&snapshot, &somebody(&[]), None).unwrap();
        assert_eq!(agent.instructions, "A\n\nS");
        let tools: Vec<_> = agent.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(tools, ["get_record", "action_*"]);
        assert_eq!((agent.iterations, agent.memory), (Some(50), MEMORY));
    }
}
