//! What a model may call (spec/ai.md §8). Every call is made as the user; what they may not read looks
//! missing to the model, too.

mod catalogue;
mod peers;
mod run;

use serde_json::Value;

pub(crate) use catalogue::{Offered, definition, named};
pub(crate) use peers::Services;
pub(crate) use run::{Called, LIMIT, call, carry_out, told};

use crate::provider::ToolSpec;

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
    /// Lists the objects.
    ListObjects,
    /// Shows an object's fields.
    DescribeObject,
    /// Finds records.
    QueryRecords,
    /// Reads a record.
    GetRecord,
    /// Counts, sums and groups records.
    AggregateData,
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

impl Kind {
    /// What the row of a proposal calls it.
    pub(crate) fn action_name(&self) -> &str {
        match self {
            Self::CreateRecord => "create",
            Self::UpdateRecord => "update",
            Self::DeleteRecord => "delete",
            Self::Action { name, .. } | Self::Flow { name } => name,
            Self::ListObjects => "list_objects",
            Self::DescribeObject => "describe_object",
            Self::QueryRecords => "query_records",
            Self::GetRecord => "get_record",
            Self::AggregateData => "aggregate_data",
        }
    }
}

impl Tool {
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
