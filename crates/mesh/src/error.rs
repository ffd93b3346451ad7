//! The one error that crosses the wire: a reason of the catalogue (`proto/objectmesh/errors/v1`),
//! a message, and the details that REST prints.
//!
//! Invariant: this is the only mapping between reasons, gRPC codes and HTTP statuses; each dynamic
//! value of a message is also in the details, so that clients never parse prose.

use std::{collections::HashMap, fmt};

use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _, pb};
use transcoding::Misfit;

pub use proto::errors::v1::ErrorReason as Reason;

use crate::{
    db::{DbError, lease::LeaseError},
    echo::{self, ECHO_MAX},
};

/// A result whose error can be answered to a client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Details travel in a trailer, and HTTP/2 peers refuse long ones.
const DETAILS_MAX: usize = 8 * 1024;
/// Field violations listed before the rest is only counted.
const FIELDS_MAX: usize = 50;
const DOMAIN: &str = "objectmesh";
const BODY_TYPE: &str = "type.googleapis.com/objectmesh.errors.v1.ErrorBody";

/// Why a call failed, in the contract's words.
pub struct Error(Box<Inner>);

struct Inner {
    reason: Reason,
    message: String,
    details: Map<String, Value>,
    fields: Vec<FieldViolation>,
    cause: Option<anyhow::Error>,
}

/// What is wrong with one field (docs/reference/field-types.md §4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldViolation {
    /// Name of the field, or a path below it.
    pub field: String,
    /// What is wrong, for example `required`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The field's label, when it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The values allowed, for `invalid_option`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<String>>,
    /// The validation rule, for `rule_violation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

impl FieldViolation {
    /// A violation without label and options.
    #[must_use]
    pub fn new(field: impl Into<String>, code: &str, message: impl Into<String>) -> Self {
        Self {
            field: echo::cut_words(field.into()),
            code: code.to_owned(),
            message: echo::cut_words(message.into()),
            label: None,
            options: None,
            rule: None,
        }
    }
}

impl Error {
    /// An error of that reason. The message has no full stop, says what and on what.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            reason,
            message: echo::cut_words(message.into()),
            details: Map::new(),
            fields: Vec::new(),
            cause: None,
        }))
    }

    /// `VALIDATION_ERROR` with the finer word in `details.reason` (docs/reference/errors.md).
    #[must_use]
    pub fn validation(finer: &str, message: impl Into<String>) -> Self {
        Self::new(Reason::ValidationError, message).with("reason", finer)
    }

    /// `VALIDATION_ERROR` listing what is wrong with each field; the message is the first one's.
    #[must_use]
    pub fn fields(fields: Vec<FieldViolation>) -> Self {
        let message = fields
            .first()
            .map_or_else(String::new, |violation| violation.message.clone());
        let mut error = Self::new(Reason::ValidationError, message);
        error.0.fields = fields;
        error
    }

    /// `NOT_FOUND` with the finer word in `details.reason`.
    #[must_use]
    pub fn not_found(finer: &str, message: impl Into<String>) -> Self {
        Self::new(Reason::NotFound, message).with("reason", finer)
    }

    /// `PERMISSION_DENIED`.
    #[must_use]
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Reason::PermissionDenied, message)
    }

    /// `UNAUTHENTICATED`.
    #[must_use]
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(Reason::Unauthenticated, message)
    }

    /// `SERVICE_UNAVAILABLE`; the caller may try again in a second.
    #[must_use]
    pub fn unavailable(what: &str) -> Self {
        Self::new(
            Reason::ServiceUnavailable,
            format!("{what} cannot answer now"),
        )
        .with("retryAfter", 1)
    }

    /// `TIMEOUT` (504) with `details.outcome: "unknown"`: a change may have been made or not, since
    /// `what` fell silent. Never 503, which says that nothing was done and invites a repeat.
    #[must_use]
    pub fn outcome_unknown(what: &str) -> Self {
        let message = format!("{what} fell silent: the change may have been made or not");
        Self::new(Reason::Timeout, message).with("outcome", "unknown")
    }

    /// Whether this says that nobody knows whether a change was made.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        self.detail("outcome").and_then(Value::as_str) == Some("unknown")
    }

    /// `INTERNAL`: the client learns nothing but that; the cause is logged where it is answered.
    #[must_use]
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        let mut error = Self::new(Reason::Internal, "Internal server error");
        error.0.cause = Some(cause.into());
        error
    }

    /// Adds a detail. Of a long text it holds the beginning, as the message does then.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if let Value::String(text) = &value
            && text.len() > ECHO_MAX
        {
            self.0.message = self.0.message.replace(text, &echo::cut(text));
        }
        let value = echo::cut_detail(key, value);
        self.0.details.insert(key.to_owned(), value);
        self
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// A detail.
    #[must_use]
    pub fn detail(&self, key: &str) -> Option<&Value> {
        self.0.details.get(key)
    }

    /// What is wrong with which field.
    #[must_use]
    pub fn field_violations(&self) -> &[FieldViolation] {
        &self.0.fields
    }

    /// What lies behind an `INTERNAL`; for the log, never for a client.
    #[must_use]
    pub fn cause(&self) -> Option<&anyhow::Error> {
        self.0.cause.as_ref()
    }

    /// Adds what lies below, for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The details as REST prints them: the metadata, and `fields` when there are any.
    #[must_use]
    pub fn details(&self) -> Value {
        let mut details = self.0.details.clone();
        if !self.0.fields.is_empty() {
            let shown = &self.0.fields[..self.0.fields.len().min(FIELDS_MAX)];
            details.insert("fields".to_owned(), json!(shown));
            if shown.len() < self.0.fields.len() {
                details.insert(
                    "fieldsOmitted".to_owned(),
                    json!(self.0.fields.len() - shown.len()),
                );
            }
        }
        Value::Object(details)
    }

    /// The `code` that REST prints: of a script of an app its own word, where it has the form of one
    /// (docs/reference/automation.md §1, "Result").
    fn code(&self) -> &str {
        let own = (self.0.reason == Reason::ActionFailed).then(|| self.detail("reason"));
        let own = own.flatten().and_then(Value::as_str);
        let is_code = |code: &&str| {
            let mut letters = code.bytes();
            letters
                .next()
                .is_some_and(|first| first.is_ascii_uppercase())
                && letters.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
                && code.len() <= 64
        };
        own.filter(is_code)
            .unwrap_or_else(|| self.0.reason.rest_code())
    }

    /// The seed's error envelope.
    #[must_use]
    pub fn envelope(&self) -> Value {
        json!({"error": {
            "code": self.code(),
            "message": self.0.message,
            "details": self.details(),
        }})
    }

    /// The error as it travels between services: `google.rpc.Status` with `ErrorInfo`,
    /// `BadRequest`, and the exact REST details beside them.
    #[must_use]
    pub fn into_status(self) -> Status {
        if let Some(cause) = &self.0.cause {
            tracing::error!(error = format!("{cause:#}"), "request failed");
        }
        let mut details = self.details();
        let mut text = details.to_string();
        if text.len() > DETAILS_MAX {
            if let Value::Object(map) = &mut details {
                map.retain(|_, value| value.to_string().len() < 512);
                map.insert("detailsCut".to_owned(), json!(true));
            }
            text = details.to_string();
        }
        let mut metadata = HashMap::new();
        if let Value::Object(map) = &details {
            for (key, value) in map.iter().filter(|(key, _)| *key != "fields") {
                let value = match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                if value.len() < 256 {
                    metadata.insert(key.clone(), value);
                }
            }
        }
        let mut standard = ErrorDetails::new();
        standard.set_error_info(self.0.reason.as_wire(), DOMAIN, metadata);
        for violation in self.0.fields.iter().take(FIELDS_MAX.min(10)) {
            standard.add_bad_request_violation(&violation.field, &violation.message);
        }
        let code = Code::from(self.0.reason.grpc_code());
        let status = Status::with_error_details(code, self.0.message.clone(), standard);
        let Ok(mut rich) = pb::Status::decode(status.details()) else {
            return status;
        };
        let body = proto::errors::v1::ErrorBody {
            details: text.into(),
        };
        rich.details.push(prost_types::Any {
            type_url: BODY_TYPE.to_owned(),
            value: body.encode_to_vec(),
        });
        Status::with_details(code, self.0.message, rich.encode_to_vec().into())
    }

    /// Reads an error back from a status. A status that none of our services made (transport,
    /// tonic itself) becomes the reason that its code stands for.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        let Some(info) = status
            .get_details_error_info()
            .filter(|info| info.domain == DOMAIN)
        else {
            return Self::from_code(status);
        };
        let Some(reason) = Reason::from_wire(&info.reason) else {
            return Self::from_code(status);
        };
        let mut error = Self::new(reason, status.message());
        let body = pb::Status::decode(status.details())
            .ok()
            .and_then(|rich| {
                rich.details
                    .into_iter()
                    .find(|any| any.type_url == BODY_TYPE)
            })
            .and_then(|any| proto::errors::v1::ErrorBody::decode(any.value.as_slice()).ok())
            .and_then(|body| serde_json::from_slice::<Map<String, Value>>(&body.details).ok());
        match body {
            Some(mut details) => {
                if let Some(fields) = details.remove("fields") {
                    error.0.fields = serde_json::from_value(fields).unwrap_or_default();
                }
                error.0.details = details;
            }
            None => {
                error.0.details = info
                    .metadata
                    .into_iter()
                    .map(|(key, value)| (key, Value::String(value)))
                    .collect();
            }
        }
        error
    }

    /// Whether a service of the mesh made this status, and not the transport.
    #[must_use]
    pub fn is_ours(status: &Status) -> bool {
        let info = status.get_details_error_info();
        info.is_some_and(|info| info.domain == DOMAIN)
    }

    fn from_code(status: &Status) -> Self {
        let (reason, message) = match status.code() {
            Code::Unauthenticated => (Reason::Unauthenticated, "Authentication required"),
            Code::PermissionDenied => (Reason::PermissionDenied, "Permission denied"),
            Code::InvalidArgument | Code::OutOfRange => {
                (Reason::ValidationError, "Invalid request")
            }
            Code::NotFound => (Reason::NotFound, "Not found"),
            Code::AlreadyExists => (Reason::UniqueViolation, "Already exists"),
            Code::Aborted => (Reason::ConcurrentUpdate, "Changed meanwhile"),
            Code::FailedPrecondition => (Reason::InvalidState, "Not in this state"),
            Code::ResourceExhausted => (Reason::RateLimited, "Too many requests"),
            Code::Unimplemented => (Reason::NotImplemented, "Not implemented"),
            // An expired grpc-timeout surfaces as CANCELLED in tonic; our own client is still there.
            Code::DeadlineExceeded => (Reason::Timeout, "The deadline passed"),
            Code::Cancelled if status.message() == "Timeout expired" => {
                (Reason::Timeout, "The deadline passed")
            }
            Code::Unavailable | Code::Cancelled => {
                return Self::unavailable("The service").caused_by(status);
            }
            Code::Unknown if std::error::Error::source(status).is_some() => {
                return Self::unavailable("The service").caused_by(status);
            }
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => {
                return Self::internal(anyhow::anyhow!("{status}"));
            }
        };
        Self::new(reason, message).caused_by(status)
    }

    fn caused_by(self, status: &Status) -> Self {
        self.with_cause(anyhow::anyhow!("{status}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("reason", &self.0.reason.as_wire())
            .field("message", &self.0.message)
            .field("details", &self.details())
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason.as_wire(), self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_ref().map(AsRef::as_ref)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.into_status()
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::from_status(&status)
    }
}

impl From<transcoding::Error> for Error {
    fn from(error: transcoding::Error) -> Self {
        let parts = error.into_parts();
        let error = match parts.misfit {
            Misfit::Reply => {
                let cause = parts.cause;
                return Self::internal(cause.unwrap_or_else(|| anyhow::anyhow!(parts.message)));
            }
            Misfit::MediaType => Self::new(Reason::UnsupportedMediaType, parts.message),
            Misfit::Request if parts.violations.is_empty() => {
                Self::new(Reason::ValidationError, parts.message)
            }
            Misfit::Request => Self::fields(parts.violations.into_iter().map(Into::into).collect()),
        };
        let details = parts.details.into_iter();
        details.fold(error, |error, (key, value)| error.with(key, value))
    }
}

impl From<transcoding::Violation> for FieldViolation {
    fn from(violation: transcoding::Violation) -> Self {
        Self {
            options: violation.options,
            ..Self::new(violation.field, violation.code, violation.message)
        }
    }
}

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(_) => Self::unavailable("The database"),
            DbError::CommitUnknown(_) => Self::outcome_unknown("The database").with_cause(error),
            DbError::Timeout => Self::new(Reason::Timeout, "The database took too long"),
            DbError::Serialization => Self::new(
                Reason::ConcurrentUpdate,
                "The data changed at the same time; try again",
            ),
            other => Self::internal(other),
        }
    }
}

impl From<LeaseError> for Error {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Db(error) => error.into(),
            LeaseError::Busy(name) | LeaseError::Lost(name) => {
                Self::unavailable("What another process does").with("lease", &*name)
            }
        }
    }
}

impl crate::db::Retry for Error {
    fn is_serialization_failure(&self) -> bool {
        self.0.reason == Reason::ConcurrentUpdate && self.0.details.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_survive_the_wire_exactly() {
        let error = Error::new(Reason::ConcurrentUpdate, "Record was modified")
            .with("expectedVersion", "3")
            .with("currentVersion", 5)
            .with("currentRecord", json!({"a": [1, null, "ü"]}));
        let back = Error::from_status(&error.into_status());
        assert_eq!(
            back.envelope(),
            json!({"error": {
                "code": "CONCURRENT_UPDATE",
                "message": "Record was modified",
                "details": {
                    "expectedVersion": "3",
                    "currentVersion": 5,
                    "currentRecord": {"a": [1, null, "ü"]},
                },
            }})
        );
    }

    #[test]
    fn long_details_are_cut_to_what_a_trailer_carries() {
        let fields = (0..500)
            .map(|i| FieldViolation::new(format!("field_{i}"), "required", "x".repeat(100)))
            .collect();
        let status = Error::fields(fields)
            .with("big", "y".repeat(20_000))
            .into_status();
        assert!(
            status.details().len() < 11_000,
            "{}",
            status.details().len()
        );
        assert_eq!(
            Error::from_status(&status).reason(),
            Reason::ValidationError
        );
    }

    #[test]
    fn an_internal_error_says_nothing_of_its_cause() {
        let status = Error::internal(anyhow::anyhow!("SELECT secret")).into_status();
        assert!(!format!("{status:?}").contains("SELECT"));
    }
}
