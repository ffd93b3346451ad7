//! Hooks of items (spec/automation.md §3).

use std::sync::Arc;

use metadata::{Dialect, Expression};
use script::{Capabilities, Kind, Limits, Script};
use serde_json::Value;

use crate::kernel::model::{
    hooks::{Hook, HookEvent, Hooks},
    registry::Item,
};

/// The hooks of items; one that cannot run is left out, and told by [`idle_because`].
pub(super) fn of(items: &[Item]) -> Hooks {
    let mut hooks = Hooks::default();
    for item in items {
        let Ok(hook) = parse(&item.name, &item.value) else {
            continue;
        };
        let hook = Arc::new(hook);
        for object in texts(item.value.get("object")) {
            for event in events(&item.value) {
                hooks.add(object, event, Arc::clone(&hook));
            }
        }
    }
    hooks
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
pub(super) fn idle_because(value: &Value) -> Option<String> {
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
        let hooks = of(&[
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
