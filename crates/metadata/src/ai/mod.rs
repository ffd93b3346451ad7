//! Agents, their skills and their tools (docs/reference/ai.md, "Agents, skills, tools").

use serde_json::Value;

use crate::automation::AiExposure;
use crate::diagnostics::Diagnostic;
use crate::reader::{Reader, Sink};

/// Somebody who answers by means of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// What it is for, in a sentence.
    pub role: Option<String>,
    /// What the model is told.
    pub instructions: Option<String>,
    /// The model it speaks through.
    pub model: Option<ModelChoice>,
    /// Its skills, by name.
    pub skills: Vec<String>,
    /// Its own tools.
    pub tools: Vec<ToolReference>,
    /// Topics of the knowledge it may look into.
    pub knowledge_topics: Vec<String>,
    /// Indexes of the knowledge it may look into.
    pub knowledge_indexes: Vec<String>,
    /// Who may use it (permission sets or positions); empty for all. What cannot be read of it stands
    /// there as it was written, and nobody is that.
    pub access: Vec<String>,
    /// System permission keys; all of them are needed to use it. As with `access`.
    pub permissions: Vec<String>,
    /// Whether it answers at all; true unless written. Nonsense counts as false.
    pub is_active: bool,
    /// Who sees it, as written.
    pub visibility: Option<String>,
    /// Rounds of tools that it may take for an answer.
    pub iterations_max: Option<u32>,
    /// Messages that it remembers.
    pub messages_max: Option<u32>,
    /// What it may not do, as written.
    pub guardrails: Option<Value>,
}

/// The model of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelChoice {
    /// The provider, where one is named.
    pub provider: Option<String>,
    /// The id or alias of the model.
    pub model: Option<String>,
    /// How freely it chooses words.
    pub temperature: Option<f64>,
    /// Tokens of an answer at most.
    pub max_tokens: Option<u32>,
}

/// A tool that an agent or a skill names. A name may end in `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolReference {
    /// What kind of thing the name stands for, where it is said.
    pub kind: ToolReferenceKind,
    /// The name.
    pub name: String,
}

/// What the name of a tool stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolReferenceKind {
    /// A tool of that name.
    Tool,
    /// An action of that name.
    Action,
    /// A flow of that name.
    Flow,
    /// A tool over records.
    Query,
    /// A tool over knowledge.
    VectorSearch,
    /// Something that is not known here.
    Other(String),
}

/// A bundle of tools and instructions.
#[derive(Debug, Clone, PartialEq)]
pub struct Skill {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What the model is told.
    pub instructions: Option<String>,
    /// Its tools.
    pub tools: Vec<ToolReference>,
    /// Words that call for it.
    pub trigger_phrases: Vec<String>,
    /// Where it applies.
    pub trigger_conditions: Vec<TriggerCondition>,
    /// System permission keys; all of them are needed.
    pub permissions: Vec<String>,
    /// Whether it is used at all; true unless written. Nonsense counts as false.
    pub is_active: bool,
}

/// Where a skill applies: what the user looks at has that field like so.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerCondition {
    /// The field: `objectName`, or one of the record.
    pub field: String,
    /// How it is compared; `eq` unless written.
    pub operator: String,
    /// With what.
    pub value: Value,
}

/// A tool that an app declares itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// How it is offered to models.
    pub ai: AiExposure,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON Schema of what it takes, as written.
    pub parameters: Option<Value>,
    /// What it stands for.
    pub target: Option<ToolReference>,
}

impl ToolReferenceKind {
    fn parse(word: Option<&str>) -> Self {
        match word {
            None | Some("tool") => ToolReferenceKind::Tool,
            Some("action") => ToolReferenceKind::Action,
            Some("flow") => ToolReferenceKind::Flow,
            Some("query") => ToolReferenceKind::Query,
            Some("vector_search") => ToolReferenceKind::VectorSearch,
            Some(other) => ToolReferenceKind::Other(other.to_owned()),
        }
    }
}

impl ToolReference {
    /// Names, or `{type, name}`.
    fn read_all(reader: &Reader<'_>) -> Vec<Self> {
        let mut tools = Vec::new();
        let list = reader.raw(&["tools"]).and_then(Value::as_array);
        for entry in list.into_iter().flatten() {
            let text = |key: &str| entry.get(key).and_then(Value::as_str);
            if let Some(name) = entry.as_str().or_else(|| text("name")) {
                tools.push(Self {
                    kind: ToolReferenceKind::parse(text("type")),
                    name: name.to_owned(),
                });
            }
        }
        tools
    }
}

impl Agent {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("agents.{name}"), &sink);
        let agent = reader.map(|reader| Self::read(name, &reader));
        (agent, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let knowledge = reader.object(&["knowledge"]);
        let known = |key: &str| {
            let names = knowledge
                .as_ref()
                .and_then(|knowledge| knowledge.strings(&[key]));
            names.unwrap_or_default()
        };
        let nested = |object: &str, key: &str| reader.object(&[object])?.natural32(&[key]);
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            role: reader.string(&["role"]),
            instructions: reader.string(&["instructions"]),
            model: model(reader),
            skills: reader.strings(&["skills"]).unwrap_or_default(),
            tools: ToolReference::read_all(reader),
            knowledge_topics: known("topics"),
            knowledge_indexes: known("indexes"),
            access: reader.demands("access"),
            permissions: reader.demands("permissions"),
            is_active: reader.guard(&["active"], true, false),
            visibility: reader.string(&["visibility"]),
            iterations_max: nested("planning", "maxIterations"),
            messages_max: nested("memory", "maxMessages"),
            guardrails: reader.raw(&["guardrails"]).cloned(),
        }
    }
}

/// An alias, or `{provider, model, …}`.
fn model(reader: &Reader<'_>) -> Option<ModelChoice> {
    if let Value::String(alias) = reader.raw(&["model"])? {
        return Some(ModelChoice {
            provider: None,
            model: Some(alias.clone()),
            temperature: None,
            max_tokens: None,
        });
    }
    let model = reader.object(&["model"])?;
    Some(ModelChoice {
        provider: model.string(&["provider"]),
        model: model.string(&["model", "id"]),
        temperature: model.number(&["temperature"]),
        max_tokens: model.natural32(&["maxTokens"]),
    })
}

impl Skill {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("skills.{name}"), &sink);
        let skill = reader.map(|reader| Self::read(name, &reader));
        (skill, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let mut trigger_conditions = Vec::new();
        for (_, one) in reader.objects(&["triggerConditions"]) {
            if let Some(field) = one.string(&["field"]) {
                trigger_conditions.push(TriggerCondition {
                    field,
                    operator: one.string(&["operator"]).unwrap_or_else(|| "eq".to_owned()),
                    value: one.raw(&["value"]).cloned().unwrap_or_default(),
                });
            }
        }
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            description: reader.string(&["description"]),
            instructions: reader.string(&["instructions"]),
            tools: ToolReference::read_all(reader),
            trigger_phrases: reader.strings(&["triggerPhrases"]).unwrap_or_default(),
            trigger_conditions,
            permissions: reader.demands("permissions"),
            is_active: reader.guard(&["active"], true, false),
        }
    }
}

impl Tool {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("tools.{name}"), &sink);
        let tool = reader.map(|reader| Self::read(name, &reader));
        (tool, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let kind = reader.string(&["type"]);
        let kind = ToolReferenceKind::parse(kind.as_deref());
        let target = reader.string(&["target", "action", "flow", "handler"]);
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            ai: AiExposure::read(reader),
            description: reader.string(&["description"]),
            parameters: reader.raw(&["parameters", "inputSchema"]).cloned(),
            target: target.map(|name| ToolReference { kind, name }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agent_is_read_with_its_defaults() {
        let value = json!({"model": "smart", "tools": ["query_records", {"type": "action", "name": "close"}],
            "planning": {"maxIterations": 6}, "permissions": ["ai:chat", {"any": 1}]});
        let agent = Agent::from_value("a", &value).0.unwrap();
        assert_eq!(agent.model.unwrap().model.as_deref(), Some("smart"));
        assert_eq!(agent.tools[1].kind, ToolReferenceKind::Action);
        assert_eq!((agent.is_active, agent.iterations_max), (true, Some(6)));
        // A demand that cannot be read is one that nobody meets.
        assert_eq!(agent.permissions.len(), 2);
        assert!(
            !Agent::from_value("a", &json!({"active": "perhaps"}))
                .0
                .unwrap()
                .is_active
        );
    }
}
