//! Why a request does not fit its route, or a reply its message. The crate knows no error of the mesh;
//! whoever calls it says these in the words of the catalogue.

use serde_json::Value;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request or a reply does not fit its route. Boxed, since it is rare and results are many.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    misfit: Misfit,
    message: String,
    details: Vec<(&'static str, Value)>,
    violations: Vec<Violation>,
    cause: Option<anyhow::Error>,
}

/// What kind of misfit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The request says what the route does not take.
    Request,
    /// The body is of a media type that the route does not take.
    MediaType,
    /// The reply is not what its descriptor says: the service's fault.
    Reply,
}

/// What is wrong with one field of a body (docs/reference/field-types.md §4).
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Path of the field in the body.
    pub field: String,
    /// What is wrong, for example `invalid_type`.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
    /// The values allowed, where they are few.
    pub options: Option<Vec<String>>,
}

/// An error taken apart, for whoever says it in words of their own.
#[derive(Debug)]
pub struct Parts {
    /// What kind of misfit it is.
    pub misfit: Misfit,
    /// What is wrong, without a full stop.
    pub message: String,
    /// The values that the message names, and the finer word as `reason`, in this order.
    pub details: Vec<(&'static str, Value)>,
    /// What is wrong with which field of the body; empty when that is not the matter.
    pub violations: Vec<Violation>,
    /// What lies behind a broken reply; for the log.
    pub cause: Option<anyhow::Error>,
}

impl Error {
    fn new(misfit: Misfit, message: String) -> Self {
        Self(Box::new(Inner {
            misfit,
            message,
            details: Vec::new(),
            violations: Vec::new(),
            cause: None,
        }))
    }

    /// The request says what the route does not take.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::new(Misfit::Request, message.into())
    }

    /// The body is of another media type.
    pub(crate) fn media_type(message: String) -> Self {
        Self::new(Misfit::MediaType, message)
    }

    /// The body does not fit its message.
    pub(crate) fn violations(violations: Vec<Violation>) -> Self {
        let first = violations.first();
        let message = first.map_or_else(String::new, |violation| violation.message.clone());
        let mut error = Self::new(Misfit::Request, message);
        error.0.violations = violations;
        error
    }

    /// The reply is not what its descriptor says.
    pub(crate) fn reply(cause: impl Into<anyhow::Error>) -> Self {
        let cause = cause.into();
        let mut error = Self::new(Misfit::Reply, format!("the reply is broken: {cause:#}"));
        error.0.cause = Some(cause);
        error
    }

    /// Adds a value that the message names.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.0.details.push((key, value.into()));
        self
    }

    /// The detail of that name.
    #[must_use]
    pub fn detail(&self, key: &str) -> Option<&Value> {
        let found = self.0.details.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| value)
    }

    /// What is wrong with which field.
    #[must_use]
    pub fn field_violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// All that it says.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        let Inner {
            misfit,
            message,
            details,
            violations,
            cause,
        } = *self.0;
        Parts {
            misfit,
            message,
            details,
            violations,
            cause,
        }
    }
}
