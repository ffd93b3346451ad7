//! Actions: what a user, an agent or a flow may do (docs/reference/automation.md, "Actions").

use serde_json::{Map, Value};

use super::body::Body;
use super::param::{ActionParam, Param};
use crate::diagnostics::Diagnostic;
use crate::expression::{Condition, Dialect, Expression};
use crate::object::Object;
use crate::reader::{Reader, Sink};

/// An operation that an app declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Its name; several objects may have one of the same name.
    pub name: String,
    /// Name for people, where one is written.
    pub label: Option<String>,
    /// What it does, for people.
    pub description: Option<String>,
    /// How it is offered to models.
    pub ai: AiExposure,
    /// The object whose records it is about; none where it is global.
    pub object: Option<String>,
    /// What it does when it is invoked.
    pub kind: ActionKind,
    /// What `kind` needs a name for: a route, a flow, an address, a modal, a function.
    pub target: Option<String>,
    /// The code of a script.
    pub body: Option<Body>,
    /// HTTP method of an API call; POST unless written.
    pub method: String,
    /// The key under which the parameters of an API call go; flat without one.
    pub body_wrap: Option<String>,
    /// Added to the body of an API call last.
    pub body_extra: Map<String, Value>,
    /// Under which name the record's id goes along to a flow or an API.
    pub record_id_param: Option<String>,
    /// Which field of the record goes along as its id; `id` unless written.
    pub record_id_field: Option<String>,
    /// What it takes; `None` where it takes anything.
    pub params: Option<Vec<ActionParam>>,
    /// System permission keys; all of them are needed.
    pub required_permissions: Vec<String>,
    /// Must hold for the record and the user, or the action is refused.
    pub guard: Condition,
    /// Shown when true. For user interfaces only.
    pub visible: Option<Expression>,
    /// Greyed out when true. For user interfaces only.
    pub disabled: Option<Expression>,
    /// Where a user interface offers it: `list_item`, `record_header`, …
    pub locations: Vec<String>,
    /// How its button looks; `danger` marks what cannot be undone.
    pub variant: Option<String>,
    /// What it is to the record; `delete` marks what destroys.
    pub mode: Option<String>,
    /// Asked before it runs.
    pub confirm_text: Option<String>,
    /// Said when it has run.
    pub success_message: Option<String>,
    /// Whether what is shown is read again when it has run.
    pub refresh_after: bool,
    /// The longest it may take, in milliseconds; the service that runs it sets the most.
    pub timeout_ms: Option<u64>,
    /// Whether it runs for several records at once.
    pub is_bulk: bool,
}

/// What an action does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionKind {
    /// Runs a script or an expression; also where nothing is said.
    Script,
    /// Calls a route of the REST API.
    Api,
    /// Starts a flow.
    Flow,
    /// Opens an address. For user interfaces only.
    Url,
    /// Opens a dialog. For user interfaces only.
    Modal,
    /// Opens a form. For user interfaces only.
    Form,
    /// Something that is not known here.
    Other(String),
}

impl ActionKind {
    /// The word used in metadata.
    pub fn as_str(&self) -> &str {
        match self {
            ActionKind::Script => "script",
            ActionKind::Api => "api",
            ActionKind::Flow => "flow",
            ActionKind::Url => "url",
            ActionKind::Modal => "modal",
            ActionKind::Form => "form",
            ActionKind::Other(word) => word,
        }
    }

    fn parse(word: &str) -> Self {
        match word {
            "script" => ActionKind::Script,
            "api" => ActionKind::Api,
            "flow" => ActionKind::Flow,
            "url" => ActionKind::Url,
            "modal" => ActionKind::Modal,
            "form" => ActionKind::Form,
            other => ActionKind::Other(other.to_owned()),
        }
    }

    /// Whether only a user interface can do it.
    pub fn is_of_interface(&self) -> bool {
        match self {
            ActionKind::Url | ActionKind::Modal | ActionKind::Form => true,
            ActionKind::Script | ActionKind::Api | ActionKind::Flow | ActionKind::Other(_) => false,
        }
    }
}

/// How an action or a flow is offered to models (`ai`, `aiExposed`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AiExposure {
    /// Whether it is offered at all; true unless written. Nonsense counts as false.
    pub is_exposed: bool,
    /// What it does, for models.
    pub description: Option<String>,
    /// Whether it changes nothing, so that it need not be approved.
    pub is_read_only: bool,
    /// Whether a person has to approve it; where nothing is said, the platform decides.
    pub requires_confirmation: Option<bool>,
}

impl AiExposure {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let ai = reader.object(&["ai"]);
        let nested = ai
            .as_ref()
            .is_none_or(|ai| ai.guard(&["exposed"], true, false));
        Self {
            is_exposed: nested && reader.guard(&["aiExposed"], true, false),
            description: ai.as_ref().and_then(|ai| ai.string(&["description"])),
            is_read_only: ai.as_ref().and_then(|ai| ai.flag(&["readOnly"])) == Some(true),
            requires_confirmation: ai
                .as_ref()
                .and_then(|ai| ai.flag(&["requiresConfirmation"])),
        }
    }

    /// Whether it may run for a model without a person's approval, as its author says.
    pub fn is_harmless(&self) -> bool {
        self.is_read_only || self.requires_confirmation == Some(false)
    }
}

impl Action {
    /// Reads one, with what could not be read of it. What an action needs to run is told when it is
    /// used: every action is kept.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("actions.{name}"), &sink);
        let action = reader.map(|reader| Self::read(name, &reader));
        (action, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let object = reader.string(&["objectName", "object"]);
        let kind = reader.string(&["type"]);
        let method = reader.string(&["method"]);
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            description: reader.string(&["description"]),
            ai: AiExposure::read(reader),
            object: object.filter(|object| !object.is_empty()),
            kind: kind
                .as_deref()
                .map_or(ActionKind::Script, ActionKind::parse),
            target: reader.string(&["target", "execute"]),
            body: Body::read(reader, &["body"]),
            method: method.as_deref().unwrap_or("POST").to_ascii_uppercase(),
            body_wrap: match reader.raw(&["bodyShape"]) {
                // `flat` is what it is anyway.
                None | Some(Value::String(_)) => None,
                Some(_) => reader
                    .object(&["bodyShape"])
                    .and_then(|shape| shape.string(&["wrap"])),
            },
            body_extra: reader.free_object(&["bodyExtra"]),
            record_id_param: reader.string(&["recordIdParam"]),
            record_id_field: reader.string(&["recordIdField"]),
            params: ActionParam::read_all(reader, &["params"]),
            required_permissions: reader.required_permissions(),
            guard: reader.condition(&["guard"]),
            visible: reader.expression(&["visible"], Dialect::Cel),
            disabled: reader.expression(&["disabled"], Dialect::Cel),
            locations: reader.strings(&["locations"]).unwrap_or_default(),
            variant: reader.string(&["variant"]),
            mode: reader.string(&["mode"]),
            confirm_text: reader.string(&["confirmText"]),
            success_message: reader.string(&["successMessage"]),
            refresh_after: reader.flag(&["refreshAfter"]).unwrap_or(false),
            timeout_ms: reader.natural(&["timeout", "timeoutMs"]),
            is_bulk: reader.flag(&["bulkEnabled"]).unwrap_or(false),
        }
    }

    /// Whether there is code that could run.
    pub fn has_code(&self) -> bool {
        self.body.as_ref().is_some_and(Body::has_source)
    }

    /// Whether it destroys something, or asks before it runs (docs/reference/ai.md, "Pending actions").
    pub fn is_dangerous(&self) -> bool {
        self.confirm_text
            .as_ref()
            .is_some_and(|text| !text.is_empty())
            || self.mode.as_deref() == Some("delete")
            || self.variant.as_deref() == Some("danger")
    }

    /// What it does, in words for a model: what is written for models, else for people, else its
    /// label or its name.
    pub fn described(&self) -> &str {
        let texts = [&self.ai.description, &self.description, &self.label];
        texts.into_iter().flatten().next().unwrap_or(&self.name)
    }

    /// Its parameters with what they inherit from the fields they stand for; `None` where it takes
    /// anything.
    pub fn resolved_params<'o>(
        &self,
        object_of: impl Fn(&str) -> Option<&'o Object>,
    ) -> Option<Vec<Param>> {
        let params = self.params.as_ref()?;
        let resolved = params.iter().map(|param| {
            let object = param.object_override.as_ref().or(self.object.as_ref());
            let field = param.field.as_ref().zip(object);
            let field = field.and_then(|(field, object)| object_of(object)?.fields.get(field));
            param.resolve(field)
        });
        Some(resolved.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> (Action, Vec<String>) {
        let (action, found) = Action::from_value("a", &value);
        let found = found.into_iter().map(|d| format!("{} {}", d.code, d.path));
        (action.unwrap(), found.collect())
    }

    #[test]
    fn an_action_says_what_it_is() {
        let (action, found) = read(
            json!({"type": "api", "execute": "/data/x", "method": "patch",
            "bodyShape": {"wrap": "changes"}, "objectName": "", "guard": true, "timeout": 300}),
        );
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(action.kind, ActionKind::Api);
        assert_eq!(action.target.as_deref(), Some("/data/x"));
        assert_eq!((action.method.as_str(), action.object), ("PATCH", None));
        assert_eq!(action.body_wrap.as_deref(), Some("changes"));
        assert!(matches!(action.guard, Condition::When(on) if on.source == "true"));
        assert!(action.params.is_none() && action.ai.is_exposed);
    }

    #[test]
    fn what_cannot_be_read_opens_nothing() {
        let (action, found) = read(json!({"guard": 1, "requiredPermissions": [{"any": 1}],
            "ai": {"exposed": "perhaps"}}));
        assert_eq!(action.guard, Condition::Unreadable);
        assert_eq!(action.required_permissions.len(), 1);
        assert!(!action.ai.is_exposed);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn parameters_inherit_from_the_object_they_name() {
        let object = |name: &str, label: &str| {
            let value = json!({"fields": {"f": {"type": "rating", "label": label}}});
            Object::from_value(name, &value).0.unwrap()
        };
        let objects = [object("ticket", "Here"), object("deal", "There")];
        let (action, _) = read(json!({"objectName": "ticket",
            "params": [{"field": "f"}, {"field": "f", "name": "g", "objectOverride": "deal"}, {"name": "h"}]}));
        let params = action.resolved_params(|name| objects.iter().find(|o| o.name == name));
        let params = params.unwrap();
        let told: Vec<_> = params
            .iter()
            .map(|p| (&*p.name, p.label.as_deref()))
            .collect();
        assert_eq!(
            told,
            [("f", Some("Here")), ("g", Some("There")), ("h", None)]
        );
        assert_eq!(params[0].schema()["type"], "number");
    }
}
