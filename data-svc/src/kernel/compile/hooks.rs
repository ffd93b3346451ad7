//! Hooks of items (docs/reference/automation.md §3).

use std::sync::Arc;

use metadata::{
    Condition, Definition, Hook as Declared,
    automation::{
        body::Language,
        hook::{HookMoment, HookOperation, OnError},
    },
};
use script::{Capabilities, Kind, Limits, Script};

use crate::kernel::model::{
    hooks::{Hook, HookEvent, Hooks},
    registry::Item,
};

/// The hooks of items; one that cannot run is left out, and told by [`idle_because`].
pub(super) fn of(items: &[Item]) -> Hooks {
    let mut hooks = Hooks::default();
    for item in items {
        let Definition::Hook(declared) = &item.definition else {
            continue;
        };
        let Ok(hook) = compile(&item.name, declared) else {
            continue;
        };
        let hook = Arc::new(hook);
        for object in &declared.objects {
            for event in declared.events.iter().filter_map(event) {
                hooks.add(object, event, Arc::clone(&hook));
            }
        }
    }
    hooks
}

/// The event of one that is carried out.
fn event(declared: &metadata::automation::hook::HookEvent) -> Option<HookEvent> {
    Some(match (declared.moment, declared.operation) {
        (HookMoment::Before, HookOperation::Insert) => HookEvent::BeforeInsert,
        (HookMoment::After, HookOperation::Insert) => HookEvent::AfterInsert,
        (HookMoment::Before, HookOperation::Update) => HookEvent::BeforeUpdate,
        (HookMoment::After, HookOperation::Update) => HookEvent::AfterUpdate,
        (HookMoment::Before, HookOperation::Delete) => HookEvent::BeforeDelete,
        (HookMoment::After, HookOperation::Delete) => HookEvent::AfterDelete,
        (
            HookMoment::Before | HookMoment::After,
            HookOperation::Find
            | HookOperation::FindOne
            | HookOperation::Count
            | HookOperation::Aggregate
            | HookOperation::UpdateMany
            | HookOperation::DeleteMany,
        ) => return None,
    })
}

/// Why a hook does not run, in words; none when it does.
#[must_use]
pub(super) fn idle_because(declared: &Declared) -> Option<String> {
    if let Err(why) = compile("", declared) {
        return Some(why.to_owned());
    }
    let unheard = declared.events.iter().filter(|one| event(one).is_none());
    let mut names: Vec<String> = unheard
        .map(|one| {
            let moment = match one.moment {
                HookMoment::Before => "before",
                HookMoment::After => "after",
            };
            format!("{moment}{}", one.operation.as_str())
        })
        .collect();
    names.extend(declared.unknown_events.iter().cloned());
    (!names.is_empty()).then(|| format!("it is not run on {}", names.join(", ")))
}

fn compile(name: &str, declared: &Declared) -> Result<Hook, &'static str> {
    let body = declared.body.as_ref().ok_or("it has no body")?;
    match body.language {
        Language::Js => {}
        Language::Expression | Language::Other(_) => return Err("its body is not JavaScript"),
    }
    if !body.has_source() {
        return Err("its body has no source");
    }
    let condition = match &declared.condition {
        Condition::Always => None,
        Condition::When(expression) => Some(expression.source.clone()),
        Condition::Unreadable => return Err("its condition is no expression"),
    };
    let asked: Vec<&str> = body.capabilities.iter().map(String::as_str).collect();
    Ok(Hook {
        name: name.to_owned(),
        priority: declared.priority,
        condition,
        failure_is_logged: declared.is_async || declared.on_error == OnError::Log,
        script: Script {
            name: name.to_owned(),
            kind: Kind::Hook,
            source: body.source.clone(),
            capabilities: Capabilities::declared(&asked, &body.source),
        },
        limits: Limits::HOOK.asked(
            body.timeout_ms,
            body.memory_mb.and_then(|mb| usize::try_from(mb).ok()),
        ),
    })
}

#[cfg(test)]
mod tests {
    use metadata::ItemType;
    use serde_json::{Value, json};

    use super::*;

    fn item(name: &str, value: Value) -> Item {
        let (item, _) = metadata::Item::new(ItemType::Hook, name, value);
        Item::new("test", item)
    }

    #[test]
    fn hooks_are_found_by_object_and_event_in_their_order() {
        let body = json!({"language": "js", "source": "return", "timeoutMs": 100});
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
        let idle = |value: Value| idle_because(&Declared::from_value("h", &value).0.unwrap());
        let runs = json!({"object": "a", "events": ["beforeInsert"], "body": body});
        assert_eq!(idle(runs), None);
        let reads = json!({"object": "a", "events": ["beforeFind"], "body": body});
        assert!(idle(reads).unwrap().contains("beforeFind"));
        let bodiless = json!({"object": "a", "events": ["beforeInsert"]});
        assert!(idle(bodiless).unwrap().contains("no body"));
    }
}
