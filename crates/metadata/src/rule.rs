//! Validation rules of objects, parsed. Evaluating them is data-svc's work.

use indexmap::IndexMap;
use serde_json::Value;

use crate::diagnostics::Severity;

/// A rule that records must meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// Its name, unique in the object.
    pub name: String,
    /// What the user is told.
    pub message: String,
    /// Only `Error` blocks a write.
    pub severity: Severity,
    /// Checked on insert.
    pub on_insert: bool,
    /// Checked on update.
    pub on_update: bool,
    /// Lower comes first, 0 to 9999.
    pub priority: i64,
    /// Switched on.
    pub active: bool,
    /// What it checks.
    pub rule: Rule,
}

/// What a validation checks. Conditions are CEL; **true means invalid**.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// A condition on the record.
    Script {
        /// CEL, true = invalid.
        condition: String,
    },
    /// A condition whose error attaches to the first field.
    CrossField {
        /// The fields concerned.
        fields: Vec<String>,
        /// CEL, true = invalid.
        condition: String,
    },
    /// The shape of a text.
    Format {
        /// The field checked.
        field: String,
        /// Regular expression it must match.
        regex: Option<String>,
        /// Or a named format: email, url, phone, json.
        format: Option<String>,
    },
    /// Which changes of a field are allowed.
    StateMachine {
        /// The field that holds the state.
        field: String,
        /// From each state, the states it may change to.
        transitions: IndexMap<String, Vec<String>>,
        /// States an insert may start in; any when absent.
        initial_states: Option<Vec<String>>,
    },
    /// A JSON Schema over a field.
    JsonSchema {
        /// The field checked.
        field: String,
        /// The schema.
        schema: Value,
    },
    /// Another rule, when a condition holds.
    Conditional {
        /// CEL.
        when: String,
        /// Checked when it is true.
        then: Box<Validation>,
        /// Checked when it is not.
        otherwise: Option<Box<Validation>>,
    },
}

impl Rule {
    /// The word used in metadata.
    pub fn type_name(&self) -> &'static str {
        match self {
            Rule::Script { .. } => "script",
            Rule::CrossField { .. } => "cross_field",
            Rule::Format { .. } => "format",
            Rule::StateMachine { .. } => "state_machine",
            Rule::JsonSchema { .. } => "json_schema",
            Rule::Conditional { .. } => "conditional",
        }
    }

    /// The fields the rule names outright.
    pub fn fields(&self) -> Vec<&str> {
        match self {
            Rule::Script { .. } => Vec::new(),
            Rule::CrossField { fields, .. } => fields.iter().map(String::as_str).collect(),
            Rule::Format { field, .. }
            | Rule::StateMachine { field, .. }
            | Rule::JsonSchema { field, .. } => vec![field],
            Rule::Conditional {
                then, otherwise, ..
            } => {
                let mut fields = then.rule.fields();
                if let Some(otherwise) = otherwise {
                    fields.extend(otherwise.rule.fields());
                }
                fields
            }
        }
    }
}
