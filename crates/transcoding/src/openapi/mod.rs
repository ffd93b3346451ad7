//! OpenAPI 3.0.3 from the contract: what a service serves (docs/reference/discovery.md).
//!
//! A service answers a [`Fragment`]; the gateway merges the fragments of all. What the contract
//! says is compiled once, into a [`Contract`]; a fragment is a pure function of it, of the
//! registry where the service has one, and of which entries are open to the caller.

mod contract;
mod schema;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use contract::{Contract, Operation};

/// What OpenAPI says of one service. All names are sorted, so that equal content is equal text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fragment {
    /// Operations by path and method.
    pub paths: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    /// Component schemas by name.
    pub schemas: BTreeMap<String, Value>,
    /// Descriptions of the tags.
    pub tags: BTreeMap<String, String>,
}

impl Fragment {
    /// Adds an operation.
    pub fn add(&mut self, path: &str, method: &http::Method, operation: Map<String, Value>) {
        let path = self.paths.entry(path.to_owned()).or_default();
        path.insert(method.as_str().to_ascii_lowercase(), operation);
    }

    /// Names of the schemas that paths and schemas refer to.
    #[must_use]
    pub fn references(&self) -> Vec<String> {
        let mut found = Vec::new();
        let operations = self.paths.values().flat_map(|path| path.values());
        for value in operations
            .flat_map(Map::values)
            .chain(self.schemas.values())
        {
            collect(value, &mut found);
        }
        found.sort();
        found.dedup();
        found
    }
}

/// Where component schemas stand.
const SCHEMAS: &str = "#/components/schemas/";

/// A reference to a component schema.
#[must_use]
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("{SCHEMAS}{name}")})
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            if let Some(name) = name.and_then(|target| target.strip_prefix(SCHEMAS)) {
                found.push(name.to_owned());
            }
            for value in map.values() {
                collect(value, found);
            }
        }
        Value::Array(list) => {
            for value in list {
                collect(value, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
