//! What flow-svc makes of the metadata: its actions and flows, compiled once a revision.

use std::{collections::HashSet, sync::Arc};

use mesh::registry::Snapshot;

use crate::domain::action::{Action, Actions};

/// The metadata of one revision, as flow-svc needs it.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// Its number.
    pub(crate) revision: u64,
    /// Names of the objects.
    pub(crate) objects: HashSet<String>,
    /// The actions.
    pub(crate) actions: Actions,
}

impl Catalog {
    /// Compiles a snapshot.
    pub(crate) fn compile(snapshot: Snapshot) -> Self {
        let objects = snapshot.items("object").iter();
        let objects: HashSet<String> = objects.map(|item| item.name.clone()).collect();
        Self {
            revision: snapshot.revision,
            actions: Actions::of(&snapshot),
            objects,
        }
    }

    /// The action of that name and object.
    pub(crate) fn action(&self, object: Option<&str>, name: &str) -> Option<&Arc<Action>> {
        self.actions.find(object, name)
    }
}
