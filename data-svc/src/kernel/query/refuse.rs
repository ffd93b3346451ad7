//! The refusals of this module, worded in one place.
//!
//! Invariant: no refusal names a field that the caller may not read and did not name first.

use mesh::Error;

use crate::kernel::access::Grant;
use crate::kernel::query::suggest::nearest;

/// Longest piece of user text that an error repeats.
const ECHO_MAX: usize = 100;

/// `details.reason` of filters.
pub(super) const FILTER: &str = "INVALID_FILTER";
/// `details.reason` of unknown fields.
pub(super) const FIELD: &str = "INVALID_FIELD";
/// `details.reason` of sort keys.
pub(super) const SORT: &str = "INVALID_SORT";
/// `details.reason` of the query as a whole.
pub(super) const QUERY: &str = "INVALID_QUERY";

/// A filter that cannot be read.
pub(super) fn filter(message: impl Into<String>) -> Error {
    Error::validation(FILTER, message)
}

/// A query that cannot be read.
pub(super) fn query(parameter: &str, message: impl Into<String>) -> Error {
    Error::validation(QUERY, message).with("parameter", echo(parameter))
}

/// A parameter of the wrong shape or range.
pub(super) fn parameter(parameter: &str, message: impl Into<String>) -> Error {
    Error::new(mesh::error::Reason::ValidationError, message).with("parameter", parameter)
}

/// A name that is no field; suggests the nearest one that the caller may read.
pub(super) fn unknown_field(grant: &Grant, name: &str, reason: &str) -> Error {
    let object = grant.schema.name();
    let error = Error::validation(
        reason,
        format!("object `{object}` has no field `{}`", echo(name)),
    )
    .with("object", object)
    .with("field", echo(name));
    let known = grant.schema.object.fields.keys().map(String::as_str);
    match nearest(
        name,
        known.filter(|field| crate::kernel::query::is_visible(grant, field)),
    ) {
        Some(field) => error.with("hint", format!("did you mean `{field}`?")),
        None => error,
    }
}

/// A field that exists and cannot be used that way.
pub(super) fn field(grant: &Grant, name: &str, reason: &str, why: &str) -> Error {
    let object = grant.schema.name();
    Error::validation(
        reason,
        format!("field `{}` of object `{object}` {why}", echo(name)),
    )
    .with("object", object)
    .with("field", echo(name))
}

/// A field that the caller may not read.
pub(super) fn unreadable(grant: &Grant, name: &str) -> Error {
    let object = grant.schema.name();
    Error::denied(format!(
        "field `{}` of object `{object}` is not permitted",
        echo(name)
    ))
    .with("object", object)
    .with("field", echo(name))
}

/// User text, short enough to repeat.
pub(super) fn echo(text: &str) -> String {
    match text.char_indices().nth(ECHO_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
