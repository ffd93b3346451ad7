//! Hooks: scripts that run when records of an object are written (docs/reference/automation.md §3).

use std::{collections::HashMap, sync::Arc};

use script::{Limits, Script};

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
    /// Every event that there is.
    pub const ALL: [Self; 6] = [
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
    /// Adds a hook for an event of an object, or of all (`*`).
    pub fn add(&mut self, object: &str, event: HookEvent, hook: Arc<Hook>) {
        let key = (object.to_owned(), event);
        self.by_object.entry(key).or_default().push(hook);
    }

    /// Whether any hook runs for an object.
    #[must_use]
    pub fn has(&self, object: &str) -> bool {
        let mut objects = self.by_object.keys().map(|(name, _)| name);
        objects.any(|name| name == object || name == EVERY)
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
