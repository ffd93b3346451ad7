//! Hooks: scripts that run before or after reads and writes (docs/reference/automation.md, "Hooks").

use serde_json::Value;

use super::body::Body;
use super::retry::Backoff;
use crate::diagnostics::Diagnostic;
use crate::expression::Condition;
use crate::reader::{Reader, Sink};

/// A script around the reads and writes of objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// The objects it is for; `*` stands for all.
    pub objects: Vec<String>,
    /// When it runs.
    pub events: Vec<HookEvent>,
    /// Words among the events that name nothing that happens.
    pub unknown_events: Vec<String>,
    /// What it runs.
    pub body: Option<Body>,
    /// Lower comes first; 100 unless written.
    pub priority: i64,
    /// Runs after the transaction; its errors are only logged.
    pub is_async: bool,
    /// It runs where this holds.
    pub condition: Condition,
    /// What its failure does.
    pub on_error: OnError,
    /// How often a failed one is tried again, where it is asynchronous.
    pub retry: Option<Backoff>,
    /// The longest it may take, in milliseconds; the service that runs it sets the most.
    pub timeout_ms: Option<u64>,
}

/// What the failure of a hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The write fails; also where nothing is said.
    Abort,
    /// It is logged.
    Log,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookEvent {
    /// Before or after it.
    pub moment: HookMoment,
    /// What happens.
    pub operation: HookOperation,
}

/// Before what happens, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookMoment {
    /// When it can still be changed or refused.
    Before,
    /// When it is done.
    After,
}

/// What happens to records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookOperation {
    /// One is created.
    Insert,
    /// One is changed.
    Update,
    /// One is deleted.
    Delete,
    /// Several are read.
    Find,
    /// One is read.
    FindOne,
    /// They are counted.
    Count,
    /// They are summed up.
    Aggregate,
    /// Several are changed at once.
    UpdateMany,
    /// Several are deleted at once.
    DeleteMany,
}

impl HookOperation {
    /// Every operation.
    pub const ALL: [HookOperation; 9] = [
        HookOperation::Insert,
        HookOperation::Update,
        HookOperation::Delete,
        HookOperation::Find,
        HookOperation::FindOne,
        HookOperation::Count,
        HookOperation::Aggregate,
        HookOperation::UpdateMany,
        HookOperation::DeleteMany,
    ];

    /// The word in an event, behind `before` or `after`.
    pub fn as_str(self) -> &'static str {
        match self {
            HookOperation::Insert => "Insert",
            HookOperation::Update => "Update",
            HookOperation::Delete => "Delete",
            HookOperation::Find => "Find",
            HookOperation::FindOne => "FindOne",
            HookOperation::Count => "Count",
            HookOperation::Aggregate => "Aggregate",
            HookOperation::UpdateMany => "UpdateMany",
            HookOperation::DeleteMany => "DeleteMany",
        }
    }
}

impl HookEvent {
    /// Reads `beforeInsert` and its kin.
    pub fn parse(word: &str) -> Option<Self> {
        let (moment, operation) = match word.strip_prefix("before") {
            Some(operation) => (HookMoment::Before, operation),
            None => (HookMoment::After, word.strip_prefix("after")?),
        };
        let mut operations = HookOperation::ALL.into_iter();
        let operation = operations.find(|one| one.as_str() == operation)?;
        Some(Self { moment, operation })
    }
}

impl Hook {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("hooks.{name}"), &sink);
        let hook = reader.map(|reader| Self::read(name, &reader));
        (hook, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let (mut events, mut unknown_events) = (Vec::new(), Vec::new());
        for word in reader.strings(&["events"]).unwrap_or_default() {
            match HookEvent::parse(&word) {
                Some(event) => events.push(event),
                None => unknown_events.push(word),
            }
        }
        Self {
            name: name.to_owned(),
            objects: reader
                .strings(&["object", "objectName"])
                .unwrap_or_default(),
            events,
            unknown_events,
            body: Body::read(reader, &["body"]),
            priority: reader.integer(&["priority"]).unwrap_or(100),
            is_async: reader.flag(&["async"]).unwrap_or(false),
            condition: reader.condition(&["condition"]),
            on_error: match reader.string(&["onError"]).as_deref() {
                Some("log") => OnError::Log,
                None | Some(_) => OnError::Abort,
            },
            retry: reader
                .object(&["retryPolicy"])
                .map(|retry| Backoff::read(&retry, 0)),
            timeout_ms: reader.natural(&["timeout", "timeoutMs"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_read_and_what_never_happens_is_kept_apart() {
        let value = json!({"object": "ticket", "events": ["beforeInsert", "afterFindOne", "onMonday"],
            "onError": "log", "condition": ""});
        let hook = Hook::from_value("h", &value).0.unwrap();
        assert_eq!(hook.objects, ["ticket"]);
        let insert = HookEvent {
            moment: HookMoment::Before,
            operation: HookOperation::Insert,
        };
        assert_eq!((hook.events[0], hook.events.len()), (insert, 2));
        assert_eq!(hook.unknown_events, ["onMonday"]);
        assert_eq!((hook.on_error, hook.priority), (OnError::Log, 100));
        assert_eq!(hook.condition, Condition::Unreadable);
    }
}
