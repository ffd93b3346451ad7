//! Hooks, parsed: scripts that run when records of an object are written (spec/automation.md §3).

use std::{collections::HashMap, sync::Arc};

use metadata::{Dialect, Expression};
use script::{Capabilities, Kind, Limits, Script};
use serde_json::Value;

use super::Item;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookEvent {
    /// Before a record is created; may change it or refuse.
    BeforeInsert,
    /// After a record was made ready to be created.
    AfterInsert,
    /// Before a record is changed; may change the change or refuse.
    BeforeUpdate,
    /// After a change was made ready.
    AfterUpdate,
    /// Before a record is deleted; may refuse.
    BeforeDelete,
    /// After a deletion was made ready.
    AfterDelete,
}

impl HookEvent {
    const ALL: [Self; 6] = [
        Self::BeforeInsert,
        Self::AfterInsert,
        Self::BeforeUpdate,
        Self::AfterUpdate,
        Self::BeforeDelete,
        Self::AfterDelete,
    ];

    /// The word in metadata and in `ctx.event`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeInsert => "beforeInsert",
            Self::AfterInsert => "afterInsert",
            Self::BeforeUpdate => "beforeUpdate",
            Self::AfterUpdate => "afterUpdate",
            Self::BeforeDelete => "beforeDelete",
            Self::AfterDelete => "afterDelete",
        }
    }

    /// Whether it comes before the write, when its input can still be changed.
    #[must_use]
    pub fn is_before(self) -> bool {
        matches!(
            self,
            Self::BeforeInsert | Self::BeforeUpdate | Self::BeforeDelete
        )
    }
}

/// A hook that runs.
#[derive(Debug)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// Lower comes first.
    pub priority: i64,
    /// CEL; the hook runs where it holds.
    pub condition: Option<String>,
    /// Whether a failure only is logged.
    pub failure_is_logged: bool,
    /// The script.
    pub script: Script,
    /// What it may use.
    pub limits: Limits,
}

/// The hooks of all objects.
#[derive(Debug, Default)]
pub struct Hooks {
    by_object: HashMap<(String, HookEvent), Vec<Arc<Hook>>>,
}

/// Objects of a hook that runs for all.
const EVERY: &str = "*";

impl Hooks {
    pub(super) fn of(items: &[Item]) -> Self {
        let mut hooks = Self::default();
        for item in items {
            let Ok(hook) = parse(&item.name, &item.value) else {
                continue;
            };
            let hook = Arc::new(hook);
            for object in texts(item.value.get("object")) {
                for event in events(&item.value) {
                    let key = (object.to_owned(), event);
                    hooks
                        .by_object
                        .entry(key)
                        .or_default()
                        .push(Arc::clone(&hook));
                }
            }
        }
        hooks
    }

    /// The hooks for an event of an object, in the order in which they run.
    #[must_use]
    pub fn of_event(&self, object: &str, event: HookEvent) -> Vec<Arc<Hook>> {
        if self.by_object.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for name in [object, EVERY] {
            let key = (name.to_owned(), event);
            found.extend(self.by_object.get(&key).into_iter().flatten().cloned());
        }
        // A stable sort: hooks of one priority run in the order of their names.
        found.sort_by_key(|hook| hook.priority);
        found
    }
}

/// The events of a hook that are carried out.
fn events(value: &Value) -> Vec<HookEvent> {
    let named = texts(value.get("events"));
    let known = HookEvent::ALL.into_iter();
    known
        .filter(|event| named.contains(&event.as_str()))
        .collect()
}

/// Why a hook does not run, in words; none when it does.
#[must_use]
pub fn idle_because(value: &Value) -> Option<String> {
    if let Err(why) = parse("", value) {
        return Some(why.to_owned());
    }
    let named = texts(value.get("events"));
    let unknown: Vec<&str> = named
        .into_iter()
        .filter(|name| !HookEvent::ALL.iter().any(|event| event.as_str() == *name))
        .collect();
    (!unknown.is_empty()).then(|| format!("it is not run on {}", unknown.join(", ")))
}

fn parse(name: &str, value: &Value) -> Result<Hook, &'static str> {
    let body = value.get("body").ok_or("it has no body")?;
    if body.get("language").and_then(Value::as_str).unwrap_or("js") != "js" {
        return Err("its body is not JavaScript");
    }
    let source = body.get("source").and_then(Value::as_str);
    let source = source.ok_or("its body has no source")?;
    let condition = match value.get("condition") {
        None | Some(Value::Null) => None,
        Some(condition) => {
            let condition = Expression::from_value(condition, Dialect::Cel);
            Some(condition.ok_or("its condition is no expression")?.source)
        }
    };
    let number = |key: &str| body.get(key).and_then(Value::as_u64);
    let flag = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or_default();
    Ok(Hook {
        name: name.to_owned(),
        priority: value.get("priority").and_then(Value::as_i64).unwrap_or(100),
        condition,
        failure_is_logged: flag("async")
            || value.get("onError").and_then(Value::as_str) == Some("log"),
        script: Script {
            name: name.to_owned(),
            kind: Kind::Hook,
            source: source.to_owned(),
            capabilities: Capabilities::declared(&texts(body.get("capabilities")), source),
        },
        limits: Limits::HOOK.asked(
            number("timeoutMs"),
            number("memoryMb").and_then(|mb| usize::try_from(mb).ok()),
        ),
    })
}

/// A text, or the texts of a list.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(name: &str, value: Value) -> Item {
        Item {
            name: name.to_owned(),
            package_id: "test".to_owned(),
            value,
            hash: String::new(),
        }
    }

    #[test]
    fn hooks_are_found_by_object_and_event_in_their_order() {
        let body = json!({"language": "js", "source": "", "timeoutMs": 100});
        let hooks = Hooks::of(&[
            item(
                "late",
                json!({"object": "ticket", "events": ["beforeInsert"], "body": body}),
            ),
            item(
                "early",
                json!({"object": ["ticket", "deal"], "priority": 1,
                "events": ["beforeInsert", "afterInsert"], "body": body}),
            ),
            item(
                "all",
                json!({"object": "*", "events": ["beforeInsert"], "priority": 50,
                "body": body, "onError": "log"}),
            ),
            item(
                "odd",
                json!({"object": "ticket", "events": ["beforeInsert"], "body": {}}),
            ),
        ]);
        let names = |object: &str, event| -> Vec<String> {
            let found = hooks.of_event(object, event);
            found.iter().map(|hook| hook.name.clone()).collect()
        };
        assert_eq!(
            names("ticket", HookEvent::BeforeInsert),
            ["early", "all", "late"]
        );
        assert_eq!(names("deal", HookEvent::AfterInsert), ["early"]);
        assert_eq!(names("line", HookEvent::AfterInsert), [""; 0]);
        let all = &hooks.of_event("line", HookEvent::BeforeInsert)[0];
        assert!(all.failure_is_logged);
        assert_eq!(all.limits.wall, std::time::Duration::from_millis(100));
    }

    #[test]
    fn what_does_not_run_says_why() {
        let body = json!({"language": "js", "source": "return"});
        let runs = json!({"object": "a", "events": ["beforeInsert"], "body": body});
        assert_eq!(idle_because(&runs), None);
        let reads = json!({"object": "a", "events": ["beforeFind"], "body": body});
        assert!(idle_because(&reads).unwrap().contains("beforeFind"));
        let bodiless = json!({"object": "a", "events": ["beforeInsert"]});
        assert!(idle_because(&bodiless).unwrap().contains("no body"));
    }
}
