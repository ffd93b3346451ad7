//! What starts a flow by itself: a change of a record.

use serde_json::Value;

use crate::expression::{Dialect, Expression};
use crate::reader::Reader;

/// What happens to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is created.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
}

impl ChangeKind {
    /// The word of a change.
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Create => "create",
            ChangeKind::Update => "update",
            ChangeKind::Delete => "delete",
        }
    }

    /// Reads the word of a change.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "create" => Some(ChangeKind::Create),
            "update" => Some(ChangeKind::Update),
            "delete" => Some(ChangeKind::Delete),
            _ => None,
        }
    }
}

/// Whether a flow may still change or refuse what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Before the write.
    Before,
    /// After its commit.
    After,
}

/// Which changes start a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The object whose records they are of.
    pub object: String,
    /// Before or after them.
    pub timing: Timing,
    /// Which.
    pub events: Vec<ChangeKind>,
    /// It starts where this holds.
    pub condition: Option<Expression>,
}

/// Reads the triggers of a start node, or of a list of steps; what cannot be had goes to `warnings`.
pub(super) fn triggers(config: &Reader<'_>, warnings: &mut Vec<String>) -> Vec<Trigger> {
    let kinds = match config.raw(&["triggerType", "when"]) {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        _ => Vec::new(),
    };
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for kind in kinds {
        let words = kind.replace('_', "-");
        let words = words.strip_prefix("record-").unwrap_or(&words);
        let (events, event) = match words.split_once('-') {
            Some(("before", event)) => (&mut before, event),
            Some(("after", event)) => (&mut after, event),
            // A schedule, a call: nothing that a record tells.
            _ => continue,
        };
        match event {
            "create" | "insert" => events.push(ChangeKind::Create),
            "update" => events.push(ChangeKind::Update),
            "delete" => events.push(ChangeKind::Delete),
            "write" => events.extend([ChangeKind::Create, ChangeKind::Update]),
            _ => warnings.push(format!("the trigger `{kind}` is unknown")),
        }
    }
    let timed = [(Timing::Before, before), (Timing::After, after)];
    let timed = timed.into_iter().filter(|(_, events)| !events.is_empty());
    let timed: Vec<(Timing, Vec<ChangeKind>)> = timed.collect();
    if timed.is_empty() {
        return Vec::new();
    }
    let Some(object) = config.string(&["objectName", "object"]) else {
        warnings.push("its trigger names no object, so it never fires".to_owned());
        return Vec::new();
    };
    let condition = config.expression(&["condition", "criteria"], Dialect::Cel);
    let triggers = timed.into_iter().map(|(timing, events)| Trigger {
        object: object.clone(),
        timing,
        events,
        condition: condition.clone(),
    });
    triggers.collect()
}
