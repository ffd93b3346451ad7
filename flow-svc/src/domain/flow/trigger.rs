//! What starts a flow by itself: a change of a record.

use serde_json::{Map, Value};

use super::Condition;

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Create,
    Update,
    Delete,
}

impl Event {
    /// The one that a change names.
    pub(crate) fn of_operation(operation: &str) -> Option<Self> {
        match operation {
            "create" => Some(Self::Create),
            "update" => Some(Self::Update),
            "delete" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// After which changes a flow starts.
#[derive(Debug)]
pub(crate) struct Trigger {
    pub(crate) object: String,
    pub(crate) events: Vec<Event>,
    pub(crate) condition: Option<Condition>,
}

/// Reads the trigger of a start node, or of a list of steps; what cannot be had goes to `warnings`.
pub(super) fn read(config: &Map<String, Value>, warnings: &mut Vec<String>) -> Option<Trigger> {
    let kinds = config.get("triggerType").or_else(|| config.get("when"))?;
    let object = config.get("objectName").or_else(|| config.get("object"));
    let kinds: Vec<&str> = match kinds {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let mut events = Vec::new();
    for kind in kinds {
        let words = kind.replace('_', "-");
        let words = words.strip_prefix("record-").unwrap_or(&words);
        match words.split_once('-') {
            Some(("after", event)) => match event {
                "create" | "insert" => events.push(Event::Create),
                "update" => events.push(Event::Update),
                "delete" => events.push(Event::Delete),
                "write" => events.extend([Event::Create, Event::Update]),
                _ => warnings.push(format!("the trigger `{kind}` is unknown")),
            },
            Some(("before", _)) => warnings.push(format!(
                "the trigger `{kind}` does not fire: flows before a write are not built"
            )),
            // A schedule, a call: nothing that a record tells.
            _ => {}
        }
    }
    if events.is_empty() {
        return None;
    }
    let Some(object) = object.and_then(Value::as_str) else {
        warnings.push("its trigger names no object, so it never fires".to_owned());
        return None;
    };
    let condition = config.get("condition").or_else(|| config.get("criteria"));
    let condition = condition.and_then(Condition::of);
    if let Some(fault) = condition.as_ref().and_then(Condition::fault) {
        warnings.push(format!("it never fires, its condition is wrong: {fault}"));
    }
    Some(Trigger {
        object: object.to_owned(),
        events,
        condition,
    })
}
