//! Why a step, and with it perhaps the run, failed; and why driving a run stopped.

use mesh::{Error, error::Reason};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What failed, as runs and steps tell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fault {
    /// NO_EXECUTOR, EXECUTION_ERROR, NODE_FAILURE or TIMEOUT.
    pub(crate) code: String,
    /// For people.
    pub(crate) message: String,
    /// The finer word: the code of the refusal behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The step that failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) node_id: String,
    /// What the refusal told beside.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) details: Value,
    /// Whether nothing in the flow may go on from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) fatal: bool,
}

impl Fault {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            reason: None,
            node_id: String::new(),
            details: Value::Null,
            fatal: false,
        }
    }

    /// The step is not what it should be, or its values are not.
    pub(crate) fn execution(message: impl Into<String>) -> Self {
        Self::new("EXECUTION_ERROR", message)
    }

    /// Nothing here can run the step.
    pub(crate) fn no_executor(message: impl Into<String>) -> Self {
        Self::new("NO_EXECUTOR", message)
    }

    /// The step took longer than it may.
    pub(crate) fn timeout(ms: u64) -> Self {
        Self::new("TIMEOUT", format!("The step took longer than {ms} ms"))
    }

    /// The step was refused what it asked for.
    pub(crate) fn refused(error: &Error) -> Self {
        let code = match error.reason() {
            Reason::Timeout => "TIMEOUT",
            _ => "NODE_FAILURE",
        };
        let details = error.details();
        let is_empty = details.as_object().is_none_or(serde_json::Map::is_empty);
        Self {
            reason: Some(error.reason().rest_code().to_owned()),
            details: if is_empty { Value::Null } else { details },
            ..Self::new(code, error.message())
        }
    }

    /// The run may not go on at all.
    pub(crate) fn ended(error: &Error) -> Self {
        Self {
            fatal: true,
            ..Self::refused(error)
        }
    }

    /// Something that is kept of the run cannot be read, so the run may not go on at all.
    pub(crate) fn damaged(what: &str, error: &impl std::fmt::Display) -> Self {
        Self {
            reason: Some("DAMAGED".to_owned()),
            fatal: true,
            ..Self::execution(format!("The {what} of this run cannot be read: {error}"))
        }
    }

    /// Of that step, unless it is known already.
    pub(crate) fn at(mut self, node_id: &str) -> Self {
        if self.node_id.is_empty() {
            node_id.clone_into(&mut self.node_id);
        }
        self
    }

    /// As `$error` holds it.
    pub(crate) fn variable(&self) -> Value {
        json!({"nodeId": self.node_id, "message": self.message, "code": self.code,
            "reason": self.reason})
    }

    /// As a step or a run shows it.
    pub(crate) fn shown(&self) -> Value {
        let mut shown = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(shown) = &mut shown {
            shown.shift_remove("fatal");
        }
        shown
    }
}

/// Why driving a run stopped before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A step failed and nothing leads on from it.
    Failed(Box<Fault>),
    /// Another driver has the run, or it was cancelled.
    Lost,
    /// The journal cannot be written now; somebody goes on later.
    Later(Error),
    /// Nothing is to be done before that moment (milliseconds since 1970): the run waits without a slot.
    Parked(i64),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Failed(Box::new(fault))
    }
}
