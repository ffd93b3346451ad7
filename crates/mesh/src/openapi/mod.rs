//! OpenAPI 3.0.3 from the contract: what a service serves, as one caller may see it
//! (docs/reference/discovery.md).
//!
//! A service answers a [`Fragment`]; the gateway merges the fragments of all. What the contract
//! says is compiled once, into a [`Contract`]; a fragment is a pure function of it, of the
//! registry where the service has one, and of the caller's rights.
//!
//! Invariant: whether a caller may see a route is asked of the guard, so that the document cannot
//! promise what the guard refuses.

mod contract;
mod schema;

use std::{collections::BTreeMap, sync::LazyLock};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

pub use contract::{Contract, Operation};

use crate::{Ctx, Result, identity::Identity};

/// What a service says of itself.
pub trait Describe: Send + Sync + 'static {
    /// Revision of the metadata that it serves; 0 when it serves none.
    fn revision(&self) -> u64;

    /// Its fragment, as the caller may see it, and the revision that it was made of.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a caller.
    fn fragment<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Result<(u64, Fragment)>>;
}

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

/// The key of all that decides what a fragment shows, but for the registry: the caller's rights,
/// never who they are, and the contract of this build.
#[must_use]
pub fn rights_key(identity: &Identity) -> String {
    let rights = json!([
        identity.kind,
        identity.purpose,
        identity.permission_sets,
        identity.positions,
        identity.system_permissions,
        identity.scopes,
    ]);
    static CONTRACT: LazyLock<[u8; 32]> =
        LazyLock::new(|| Sha256::digest(proto::FILE_DESCRIPTOR_SET).into());
    let mut hash = Sha256::new();
    hash.update(*CONTRACT);
    hash.update(rights.to_string());
    hash.finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Kind;

    #[test]
    fn the_key_tells_rights_apart_and_not_people() {
        let ann = Identity {
            subject: "ann".to_owned(),
            permission_sets: vec!["agent".to_owned()],
            ..Identity::nobody(Kind::User)
        };
        let bob = Identity {
            subject: "bob".to_owned(),
            email: "bob@example.com".to_owned(),
            session_id: Some("s".to_owned()),
            ..ann.clone()
        };
        assert_eq!(rights_key(&ann), rights_key(&bob));
        let narrowed = Identity {
            scopes: Some(Vec::new()),
            ..ann.clone()
        };
        let admin = Identity {
            permission_sets: vec!["admin_full_access".to_owned()],
            ..ann.clone()
        };
        assert_ne!(rights_key(&ann), rights_key(&narrowed));
        assert_ne!(rights_key(&ann), rights_key(&admin));
    }
}
