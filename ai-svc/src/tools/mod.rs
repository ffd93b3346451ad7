//! What a model may call (docs/reference/ai.md). Every call is made as the user; what they may not read looks
//! missing to the model, too.
//!
//! Invariant: what a tool does is told by its kind, never by its name.

mod built_in;
mod catalogue;
mod run;
mod schema;
mod services;

use serde_json::Value;

pub(crate) use catalogue::{Offered, definition, named};
pub(crate) use run::{Called, LIMIT, call, carry_out, told};
pub(crate) use services::Services;

use crate::{domain::change::ChangeKind, provider::ToolSpec};

/// A tool.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    /// What a model is told of it.
    pub(crate) spec: ToolSpec,
    /// What it does.
    pub(crate) kind: Kind,
    /// Whether a call waits for a person.
    pub(crate) waits: bool,
    /// Hash of its definition.
    pub(crate) hash: String,
}

/// What a tool does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It looks something up.
    Read(Read),
    /// It changes something.
    Change(Change),
}

/// What a tool looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The objects.
    ListObjects,
    /// An object's fields.
    DescribeObject,
    /// Records.
    QueryRecords,
    /// A record.
    GetRecord,
    /// Counts, sums and groups of records.
    AggregateData,
}

/// What a tool changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Creates a record.
    CreateRecord,
    /// Changes a record.
    UpdateRecord,
    /// Deletes a record.
    DeleteRecord,
    /// Invokes an action.
    Action {
        /// Its name.
        name: String,
        /// The object that it belongs to.
        object: Option<String>,
        /// Whether it is about one record.
        of_record: bool,
    },
    /// Starts a flow.
    Flow {
        /// Its name.
        name: String,
    },
}

impl Change {
    /// Its kind, as a proposal keeps it.
    pub(crate) fn kind(&self) -> ChangeKind {
        match self {
            Self::CreateRecord => ChangeKind::CreateRecord,
            Self::UpdateRecord => ChangeKind::UpdateRecord,
            Self::DeleteRecord => ChangeKind::DeleteRecord,
            Self::Action { .. } => ChangeKind::Action,
            Self::Flow { .. } => ChangeKind::Flow,
        }
    }

    /// What the row of a proposal calls it.
    pub(crate) fn action_name(&self) -> &str {
        match self {
            Self::CreateRecord => "create",
            Self::UpdateRecord => "update",
            Self::DeleteRecord => "delete",
            Self::Action { name, .. } | Self::Flow { name } => name,
        }
    }
}

impl Tool {
    /// Whether a call runs an action or a flow of the app at once.
    pub(crate) fn runs_app(&self) -> bool {
        match &self.kind {
            Kind::Change(change) => !self.waits && !change.kind().writes_record(),
            Kind::Read(_) => false,
        }
    }

    /// The input under the names of its schema: models call some of them otherwise.
    pub(crate) fn normalised(&self, mut input: Value) -> Value {
        let Some(map) = input.as_object_mut() else {
            return input;
        };
        let known = &self.spec.parameters["properties"];
        for (name, others) in [
            ("objectName", &["object", "object_name"][..]),
            ("recordId", &["id", "record_id"][..]),
            ("data", &["fields", "values", "record"][..]),
            ("where", &["filter", "filters"][..]),
        ] {
            if known.get(name).is_none() || map.contains_key(name) {
                continue;
            }
            let other = others
                .iter()
                .find(|other| known.get(**other).is_none() && map.contains_key(**other));
            if let Some(value) = other.and_then(|other| map.remove(*other)) {
                map.insert(name.to_owned(), value);
            }
        }
        input
    }
}
