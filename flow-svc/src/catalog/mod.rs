//! What flow-svc makes of the metadata: its actions and flows, compiled once. What stands in the next
//! revision is taken over.

mod action;
mod flow;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use data_client::registry::Snapshot;
use metadata::{ItemType, Object};

pub(crate) use action::{Action, Code, Guard, Run, compile};
pub(crate) use flow::Flow;

/// The segment that stands for actions of no object.
pub(crate) const GLOBAL: &str = "global";

/// The metadata of one revision, as flow-svc needs it.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// Its number.
    pub(crate) revision: u64,
    /// The objects, by name, with the hashes of what is said of them.
    objects: HashMap<String, String>,
    /// The actions, by name: several objects may have one of the same.
    actions: HashMap<String, Vec<Arc<Action>>>,
    /// The flows, by name.
    flows: BTreeMap<String, Arc<Flow>>,
}

impl Catalog {
    /// Compiles a snapshot; `last` is what was made of the one before.
    pub(crate) fn compile(snapshot: &Snapshot, last: Option<&Self>) -> Self {
        let objects = snapshot.items(ItemType::Object).iter();
        let mut catalog = Self {
            revision: snapshot.revision,
            objects: objects
                .map(|item| (item.name.clone(), item.hash.clone()))
                .collect(),
            ..Self::default()
        };
        let object_of = |name: &str| -> Option<&Object> {
            let item = snapshot.item(ItemType::Object, name)?;
            item.definition.object().map(Arc::as_ref)
        };
        for item in snapshot.items(ItemType::Action) {
            let kept =
                last.and_then(|last| last.unchanged_action(&item.name, &item.hash, &catalog));
            let action = kept.or_else(|| Action::compile(item, object_of).map(Arc::new));
            let same = catalog.actions.entry(item.name.clone()).or_default();
            same.extend(action);
        }
        for item in snapshot.items(ItemType::Flow) {
            let kept = last.and_then(|last| last.flows.get(&item.name));
            if let Some(kept) = kept.filter(|flow| flow.item.hash == item.hash) {
                catalog.flows.insert(item.name.clone(), Arc::clone(kept));
                continue;
            }
            let Some(flow) = Flow::compile(item) else {
                continue;
            };
            for warning in &flow.warnings {
                tracing::warn!(flow = item.name, warning, "a flow does not do all it says");
            }
            if let Some(why) = &flow.spec.disabled {
                tracing::warn!(flow = item.name, why, "a flow cannot be started");
            }
            catalog.flows.insert(item.name.clone(), Arc::new(flow));
        }
        catalog
    }

    /// The action of that content, unless a field that its parameters stand for has changed.
    fn unchanged_action(&self, name: &str, hash: &str, now: &Self) -> Option<Arc<Action>> {
        let mut same = self.actions_named(name).iter();
        let action = same.find(|action| action.item.hash == hash)?;
        let params = action.spec.params.iter().flatten();
        let fields = params.filter(|param| param.field.is_some());
        let mut objects = fields.filter_map(|param| {
            let object = param.object_override.as_deref();
            object.or(action.object())
        });
        objects
            .all(|object| self.objects.get(object) == now.objects.get(object))
            .then(|| Arc::clone(action))
    }

    /// Whether there is an object of that name.
    pub(crate) fn has_object(&self, name: &str) -> bool {
        self.objects.contains_key(name)
    }

    /// The action of that name and object; without an object the global one.
    pub(crate) fn action(&self, object: Option<&str>, name: &str) -> Option<&Arc<Action>> {
        let mut same = self.actions_named(name).iter();
        same.find(|action| action.object() == object)
    }

    /// Those of that name.
    pub(crate) fn actions_named(&self, name: &str) -> &[Arc<Action>] {
        self.actions.get(name).map_or(&[], Vec::as_slice)
    }

    /// All actions, in no order.
    pub(crate) fn actions(&self) -> impl Iterator<Item = &Arc<Action>> {
        self.actions.values().flatten()
    }

    /// The flow of that name.
    pub(crate) fn flow(&self, name: &str) -> Option<&Arc<Flow>> {
        self.flows.get(name)
    }

    /// All flows, by name.
    pub(crate) fn flows(&self) -> impl Iterator<Item = &Arc<Flow>> {
        self.flows.values()
    }

    /// The objects whose changes trigger flows, sorted.
    pub(crate) fn triggering(&self) -> Vec<String> {
        let flows = self.flows().filter(|flow| flow.spec.disabled.is_none());
        let triggers = flows.flat_map(|flow| &flow.triggers);
        let mut objects: Vec<String> = triggers.map(|trigger| trigger.object.clone()).collect();
        objects.sort_unstable();
        objects.dedup();
        objects
    }
}

#[cfg(test)]
mod tests {
    use metadata::Item;
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(revision: u64, label: &str) -> Snapshot {
        let item = |item_type: ItemType, name: &str, value: Value| {
            Arc::new(Item::new(item_type, name, value).0)
        };
        let object = json!({"fields": {"f": {"type": "rating", "label": label}}});
        Snapshot::new(
            revision,
            [
                item(ItemType::Object, "ticket", object),
                item(
                    ItemType::Action,
                    "rate",
                    json!({"objectName": "ticket", "params": [{"field": "f"}]}),
                ),
                item(ItemType::Action, "ping", json!({"params": [{"name": "f"}]})),
                item(ItemType::Flow, "tidy", json!({"steps": [{"type": "end"}]})),
            ],
        )
    }

    #[test]
    fn what_did_not_change_is_not_compiled_again() {
        let first = Catalog::compile(&snapshot(1, "Rating"), None);
        let same = |second: &Catalog, object: Option<&str>, name: &str| {
            Arc::ptr_eq(
                first.action(object, name).unwrap(),
                second.action(object, name).unwrap(),
            )
        };
        let second = Catalog::compile(&snapshot(2, "Rating"), Some(&first));
        assert!(same(&second, Some("ticket"), "rate") && same(&second, None, "ping"));
        assert!(Arc::ptr_eq(
            first.flow("tidy").unwrap(),
            second.flow("tidy").unwrap()
        ));
        // The field that the parameter stands for has another label.
        let third = Catalog::compile(&snapshot(3, "Stars"), Some(&first));
        assert!(!same(&third, Some("ticket"), "rate") && same(&third, None, "ping"));
        let params = third
            .action(Some("ticket"), "rate")
            .unwrap()
            .params
            .as_ref();
        assert_eq!(params.unwrap()[0].label.as_deref(), Some("Stars"));
    }
}
