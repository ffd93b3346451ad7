//! Fixture records that come with a package.

use serde_json::{Map, Value};

use crate::diagnostics::Diagnostic;
use crate::reader::Sink;

/// Records of one object, loaded with the package.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    /// The key of its item.
    pub name: String,
    /// The object they are records of.
    pub object: String,
    /// The field that tells whether a record is there already.
    pub external_id: String,
    /// What to do then.
    pub mode: SeedMode,
    /// Environments it is meant for; all when empty.
    pub env: Vec<String>,
    /// The records; values may be CEL envelopes, lookups natural keys.
    pub records: Vec<Map<String, Value>>,
}

impl Seed {
    /// Reads a seed item; `None` when it cannot be used.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let path = format!("data.{name}");
        let seed = crate::parse::seed::seed(name, value, path, &sink);
        (seed, sink.into_diagnostics())
    }
}

/// What happens when a seed record meets existing ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeedMode {
    /// Always insert.
    Insert,
    /// Change those that are there; add none.
    Update,
    /// Change those that are there; add the others.
    #[default]
    Upsert,
    /// Delete all, then insert.
    Replace,
    /// Add those that are not there; change none.
    Ignore,
}

impl SeedMode {
    /// The word used in metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            SeedMode::Insert => "insert",
            SeedMode::Update => "update",
            SeedMode::Upsert => "upsert",
            SeedMode::Replace => "replace",
            SeedMode::Ignore => "ignore",
        }
    }

    /// Reads the word used in metadata.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "insert" => Some(SeedMode::Insert),
            "update" => Some(SeedMode::Update),
            "upsert" => Some(SeedMode::Upsert),
            "replace" => Some(SeedMode::Replace),
            "ignore" => Some(SeedMode::Ignore),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_and_bad_records() {
        let value = json!({"object": "account", "records": [{"name": "Acme"}, "oops"]});
        let (seed, findings) = Seed::from_value("account", &value);
        let seed = seed.unwrap();
        assert_eq!(
            (seed.external_id.as_str(), seed.mode),
            ("name", SeedMode::Upsert)
        );
        assert_eq!(seed.records.len(), 1);
        assert_eq!(findings[0].path, "data.account.records[1]");
    }
}
