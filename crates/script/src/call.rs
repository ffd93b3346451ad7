//! What a script asks of its host, and how the host answers.

use std::{collections::BTreeSet, fmt, future::Future};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A call of `ctx.api`, `ctx.data`, `ctx.engine` or `ctx.ql`, in one form whatever the spelling.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(tag = "method", rename_all = "camelCase", deny_unknown_fields)]
pub enum Call {
    /// Records by a query; answered with a list.
    Find {
        /// The object.
        object: String,
        /// The query, as the API's; `{}` when the script gave none.
        query: Value,
    },
    /// One record by id or by a query; answered with a record or null.
    FindOne {
        /// The object.
        object: String,
        /// The id, if it is asked by id.
        #[serde(default)]
        id: Option<String>,
        /// The query, if it is asked by query.
        #[serde(default)]
        query: Value,
    },
    /// How many records match; answered with a number.
    Count {
        /// The object.
        object: String,
        /// The filter; `{}` when the script gave none.
        filter: Value,
    },
    /// Groups and sums; answered with a list.
    Aggregate {
        /// The object.
        object: String,
        /// The query with its groups and aggregations.
        query: Value,
    },
    /// A new record; answered with the record.
    Insert {
        /// The object.
        object: String,
        /// Its fields.
        data: Value,
    },
    /// A change; answered with the record.
    Update {
        /// The object.
        object: String,
        /// Which record.
        id: String,
        /// The fields to change.
        data: Value,
    },
    /// A record that is changed where it is found and made where not; answered with the record.
    Upsert {
        /// The object.
        object: String,
        /// Its fields, among them what it is found by.
        data: Value,
    },
    /// A deletion; answered with whatever, for example `true`.
    Delete {
        /// The object.
        object: String,
        /// Which record.
        id: String,
    },
}

impl Call {
    /// What a script must be allowed for this call.
    #[must_use]
    pub fn capability(&self) -> Capability {
        match self {
            Call::Find { .. }
            | Call::FindOne { .. }
            | Call::Count { .. }
            | Call::Aggregate { .. } => Capability::ApiRead,
            Call::Insert { .. }
            | Call::Update { .. }
            | Call::Upsert { .. }
            | Call::Delete { .. } => Capability::ApiWrite,
        }
    }

    /// The object it is about.
    #[must_use]
    pub fn object(&self) -> &str {
        match self {
            Call::Find { object, .. }
            | Call::FindOne { object, .. }
            | Call::Count { object, .. }
            | Call::Aggregate { object, .. }
            | Call::Insert { object, .. }
            | Call::Update { object, .. }
            | Call::Upsert { object, .. }
            | Call::Delete { object, .. } => object,
        }
    }
}

/// Why a host refuses a call. The script sees these four and nothing else, as an exception it may
/// catch.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct HostError {
    /// The class of the error in the script, for example `Error`.
    pub name: String,
    /// For people.
    pub message: String,
    /// In SCREAMING_SNAKE, for example `PERMISSION_DENIED`.
    pub code: String,
    /// Details per field, if any.
    #[serde(default)]
    pub fields: Option<Value>,
}

impl HostError {
    /// A refusal with a code and a message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            name: "Error".to_owned(),
            message: message.into(),
            code: code.into(),
            fields: None,
        }
    }
}

/// Who answers the calls of a script, as the caller on whose behalf it runs: every call is checked
/// as if that caller had made it.
///
/// Calls come one at a time, in the order the script made them. When a run ends before its time the
/// future of the call in flight is dropped.
pub trait Host: Sync {
    /// Answers a call. Capabilities have been checked, rights have not.
    fn call(&self, call: Call) -> impl Future<Output = Result<Value, HostError>> + Send;
}

/// A host for scripts that may not call anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHost;

impl Host for NoHost {
    async fn call(&self, _call: Call) -> Result<Value, HostError> {
        Err(HostError::new(
            "CAPABILITY_DENIED",
            "nothing can be called from here",
        ))
    }
}

/// What a script may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// `api.read`: find, count, aggregate.
    ApiRead,
    /// `api.write`: insert, update, upsert, delete.
    ApiWrite,
    /// `crypto.uuid`: random ids.
    CryptoUuid,
    /// `log`: lines in the run's log.
    Log,
}

impl Capability {
    /// As metadata writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Capability::ApiRead => "api.read",
            Capability::ApiWrite => "api.write",
            Capability::CryptoUuid => "crypto.uuid",
            Capability::Log => "log",
        }
    }

    fn named(name: &str) -> Option<Capability> {
        [
            Capability::ApiRead,
            Capability::ApiWrite,
            Capability::CryptoUuid,
            Capability::Log,
        ]
        .into_iter()
        .find(|capability| capability.name() == name)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<Capability>);

impl Capabilities {
    /// Those that metadata lists; an empty list stands for what the body visibly uses. Names that
    /// are unknown allow nothing.
    #[must_use]
    pub fn declared<S: AsRef<str>>(names: &[S], source: &str) -> Self {
        if names.is_empty() {
            return Self::inferred(source);
        }
        let known = names
            .iter()
            .filter_map(|name| Capability::named(name.as_ref()));
        Self(known.collect())
    }

    /// What a body visibly uses, for bodies that declare nothing: a method that is called by its
    /// name, on a body that mentions the API at all. Whoever hides a call gets it denied.
    #[must_use]
    pub fn inferred(source: &str) -> Self {
        let any = |needles: &[&str]| needles.iter().any(|needle| source.contains(needle));
        let mut found = BTreeSet::new();
        if any(&["api", "engine", ".data", "data.", "ql"]) {
            if any(&[".find(", ".findOne(", ".count(", ".aggregate(", ".get("]) {
                found.insert(Capability::ApiRead);
            }
            if any(&[
                ".insert(",
                ".create(",
                ".update(",
                ".updateById(",
                ".upsert(",
                ".delete(",
            ]) {
                found.insert(Capability::ApiWrite);
            }
        }
        if any(&["randomUUID"]) {
            found.insert(Capability::CryptoUuid);
        }
        if any(&["console", "log"]) {
            found.insert(Capability::Log);
        }
        Self(found)
    }

    /// Whether a capability is among them.
    #[must_use]
    pub fn allow(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().collect())
    }
}
