//! Positions: the tree along which access to records is inherited. Formerly called roles.

use serde_json::Value;

use crate::diagnostics::Diagnostic;
use crate::reader::Sink;

/// A position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// API name.
    pub name: String,
    /// Name for people.
    pub label: String,
    /// Longer text for people.
    pub description: Option<String>,
    /// The position above.
    pub parent: Option<String>,
    /// Permission sets that come with it.
    pub permission_sets: Vec<String>,
    /// The package that declares it; empty outside a package.
    pub package_id: String,
}

impl Position {
    /// Reads a position; `None` when it cannot be used.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let path = format!("positions.{name}");
        let position = crate::parse::position::position(name, value, path, &sink);
        (position, sink.into_diagnostics())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_both_spellings_of_the_parent() {
        for key in ["parent", "parentRole"] {
            let (position, _) = Position::from_value("rep", &json!({key: "manager"}));
            assert_eq!(position.unwrap().parent.as_deref(), Some("manager"));
        }
    }
}
