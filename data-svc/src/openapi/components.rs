//! Names of the schemas of objects, and which objects the caller may see.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use metadata::ApiMethod;

use crate::kernel::{
    Work,
    access::Grant,
    model::{registry::Registry, rights::Operation, schema::Schema},
};

/// The components of one object.
pub(super) struct Names {
    /// The record as it is read: `Ticket`.
    pub(super) record: String,
    /// The body of a create: `TicketCreate`.
    pub(super) create: String,
    /// The body of a change: `TicketUpdate`.
    pub(super) update: String,
}

/// The components of all objects of a registry. The names do not depend on who asks, so that a
/// generated client keeps its types when rights change.
pub(super) struct Components<'r> {
    registry: &'r Registry,
    names: HashMap<String, Names>,
}

impl<'r> Components<'r> {
    pub(super) fn new(registry: &'r Registry) -> Self {
        let mut taken =
            BTreeSet::from([crate::openapi::query::QUERY.to_owned(), "Error".to_owned()]);
        let mut names = HashMap::new();
        for schema in registry.schemas() {
            let name = schema.name();
            // `ticket_create` beside `ticket` would be called like its `TicketCreate`: then the
            // object's own name, which is unique and in another case, stands as it is.
            let [record, create, update] = candidates(&pascal(name))
                .filter(|names| names.iter().all(|name| !taken.contains(name)))
                .unwrap_or_else(|| suffixed(name, "_create", "_update"));
            taken.extend([record.clone(), create.clone(), update.clone()]);
            names.insert(
                name.to_owned(),
                Names {
                    record,
                    create,
                    update,
                },
            );
        }
        Self { registry, names }
    }

    pub(super) fn names(&self, object: &str) -> Option<&Names> {
        self.names.get(object)
    }

    /// The right to read an object that the API shows: what makes it visible at all.
    pub(super) fn read_grant(&self, work: &Work, schema: &Arc<Schema>) -> Option<Arc<Grant>> {
        let read = |method| work.open(schema.name(), method, Operation::Read).ok();
        if !schema.object.api_enabled {
            return None;
        }
        // An object may leave out one way of reading, or both, and stay visible.
        read(ApiMethod::Get)
            .or_else(|| read(ApiMethod::List))
            .or_else(|| work.grant(schema, Operation::Read).ok())
    }

    /// Name of the record's component, when it is part of the caller's document.
    pub(super) fn shown(&self, work: &Work, object: &str) -> Option<&str> {
        let schema = self.registry.schema(object)?;
        let readable = [ApiMethod::Get, ApiMethod::List];
        let readable = readable
            .into_iter()
            .any(|method| work.open(object, method, Operation::Read).is_ok());
        (schema.object.api_enabled && readable)
            .then(|| self.names(object))?
            .map(|names| names.record.as_str())
    }
}

fn candidates(name: &str) -> Option<[String; 3]> {
    (!name.is_empty()).then(|| suffixed(name, "Create", "Update"))
}

fn suffixed(name: &str, create: &str, update: &str) -> [String; 3] {
    [
        name.to_owned(),
        format!("{name}{create}"),
        format!("{name}{update}"),
    ]
}

/// `support_ticket` → `SupportTicket`.
fn pascal(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        })
        .collect()
}
