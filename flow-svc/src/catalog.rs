//! What flow-svc makes of the metadata: its actions and flows, compiled once a revision.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use mesh::registry::Snapshot;

use crate::domain::{
    action::{Action, Actions},
    flow::{self, Flow},
};

/// The metadata of one revision, as flow-svc needs it.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// Its number.
    pub(crate) revision: u64,
    /// Names of the objects.
    pub(crate) objects: HashSet<String>,
    /// The actions.
    pub(crate) actions: Actions,
    /// The flows, by name.
    pub(crate) flows: BTreeMap<String, Arc<Flow>>,
}

impl Catalog {
    /// Compiles a snapshot.
    pub(crate) fn compile(snapshot: Snapshot) -> Self {
        let objects = snapshot.items("object").iter();
        let objects: HashSet<String> = objects.map(|item| item.name.clone()).collect();
        Self {
            revision: snapshot.revision,
            actions: Actions::of(&snapshot),
            flows: flows(&snapshot),
            objects,
        }
    }

    /// The action of that name and object.
    pub(crate) fn action(&self, object: Option<&str>, name: &str) -> Option<&Arc<Action>> {
        self.actions.find(object, name)
    }

    /// The objects whose changes trigger flows, sorted.
    pub(crate) fn triggering(&self) -> Vec<String> {
        let flows = self.flows.values().filter(|flow| flow.disabled.is_none());
        let triggers = flows.flat_map(|flow| &flow.triggers);
        let mut objects: Vec<String> = triggers.map(|trigger| trigger.object.clone()).collect();
        objects.sort_unstable();
        objects.dedup();
        objects
    }
}

/// Compiles the flows; what is wrong with them is said in the log, once a revision.
fn flows(snapshot: &Snapshot) -> BTreeMap<String, Arc<Flow>> {
    let mut flows = BTreeMap::new();
    for item in snapshot.items("flow") {
        let flow = flow::compile(&item.name, &item.hash, &item.value);
        for warning in &flow.warnings {
            tracing::warn!(flow = item.name, warning, "a flow does not do all it says");
        }
        if let Some(why) = &flow.disabled {
            tracing::warn!(flow = item.name, why, "a flow cannot be started");
        }
        flows.insert(item.name.clone(), Arc::new(flow));
    }
    flows
}
