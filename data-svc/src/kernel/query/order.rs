//! Sort keys: how they are written, and the columns they become.
//!
//! Invariant: the keys of a plan order its rows totally: the last one is unique among them.

use mesh::{Error, Result};
use serde_json::Value as Json;

use crate::kernel::query::{is_visible, refuse, resolve};
use crate::kernel::{
    access::Grant,
    model::{plan::Order, predicate::ColumnRef, schema::Storage},
};

const KEYS_MAX: usize = 10;

/// One sort key as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// Name of the field.
    pub field: String,
    /// From the largest down.
    pub descending: bool,
}

/// Reads `-a,b`, `name desc, amount asc`, or a JSON text.
///
/// # Errors
/// `INVALID_SORT`.
pub(super) fn read_text(text: &str) -> Result<Vec<SortKey>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.starts_with(['[', '{']) {
        let value = crate::kernel::query::json::read(text.as_bytes())
            .map_err(|error| invalid(format!("orderBy is not JSON: {error}")))?;
        return read(&value);
    }
    bounded(text.split(',').map(one_text).collect::<Result<Vec<_>>>()?)
}

/// Reads the forms of a body: text, a list of texts or objects, or a map.
///
/// # Errors
/// `INVALID_SORT`.
pub(super) fn read(value: &Json) -> Result<Vec<SortKey>> {
    let keys = match value {
        Json::String(text) => return read_text(text),
        Json::Array(items) => items.iter().map(one).collect::<Result<Vec<_>>>()?,
        Json::Object(map) => map
            .iter()
            .map(|(field, direction)| {
                Ok(SortKey {
                    field: field.clone(),
                    descending: is_descending(direction)?,
                })
            })
            .collect::<Result<Vec<_>>>()?,
        Json::Null | Json::Bool(_) | Json::Number(_) => {
            return Err(invalid("orderBy takes text, a list or a map".to_owned()));
        }
    };
    bounded(keys)
}

fn one(value: &Json) -> Result<SortKey> {
    match value {
        Json::String(text) => one_text(text),
        Json::Object(map) => {
            let Some(field) = map.get("field").and_then(Json::as_str) else {
                return Err(invalid("a sort key names a field".to_owned()));
            };
            if let Some(key) = map
                .keys()
                .find(|key| !matches!(key.as_str(), "field" | "order" | "direction"))
            {
                return Err(invalid(format!(
                    "a sort key has no `{}`",
                    refuse::echo(key)
                )));
            }
            let direction = map.get("order").or_else(|| map.get("direction"));
            Ok(SortKey {
                field: field.to_owned(),
                descending: direction.map_or(Ok(false), is_descending)?,
            })
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => {
            Err(invalid("a sort key is text or an object".to_owned()))
        }
    }
}

fn one_text(text: &str) -> Result<SortKey> {
    let text = text.trim();
    if let Some(field) = text.strip_prefix('-') {
        return key(field.trim(), true);
    }
    match text.split_once(char::is_whitespace) {
        Some((field, direction)) => key(field, is_descending(&Json::from(direction.trim()))?),
        None => key(text.strip_prefix('+').unwrap_or(text), false),
    }
}

fn key(field: &str, descending: bool) -> Result<SortKey> {
    if let Some((field, direction)) = field.split_once(':') {
        return Err(invalid(format!(
            "sort key `{}` is not understood",
            refuse::echo(field)
        ))
        .with("field", refuse::echo(field))
        .with(
            "hint",
            format!(
                "write `-{field}` or `{field} {direction}`",
                direction = refuse::echo(direction),
                field = refuse::echo(field)
            ),
        ));
    }
    if field.is_empty() || field.contains(char::is_whitespace) {
        return Err(invalid("a sort key names one field".to_owned()));
    }
    Ok(SortKey {
        field: field.to_owned(),
        descending,
    })
}

fn is_descending(direction: &Json) -> Result<bool> {
    match direction.as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("asc" | "ascending") => Ok(false),
        Some("desc" | "descending") => Ok(true),
        _ => Err(invalid(format!(
            "sort direction {} is neither asc nor desc",
            refuse::echo(&direction.to_string())
        ))),
    }
}

fn bounded(keys: Vec<SortKey>) -> Result<Vec<SortKey>> {
    if keys.len() > KEYS_MAX {
        return Err(invalid(format!("more than {KEYS_MAX} sort keys")).with("limit", KEYS_MAX));
    }
    Ok(keys)
}

fn invalid(message: String) -> Error {
    Error::validation(refuse::SORT, message).with("parameter", "orderBy")
}

/// The keys as columns, a tie-breaker last: `id`, or for `distinct` every chosen column.
///
/// # Errors
/// `INVALID_SORT`: unknown, computed, structured or repeated field; `PERMISSION_DENIED`:
/// unreadable field.
pub(super) fn resolve(
    keys: Option<&[SortKey]>,
    grant: &Grant,
    distinct: Option<&[ColumnRef]>,
) -> Result<Vec<Order>> {
    let mut order: Vec<Order> = Vec::new();
    for key in keys.unwrap_or_default() {
        let column = resolve::column(grant, &key.field, refuse::SORT)?;
        if column.storage == Storage::Json || crate::kernel::query::is_sealed(&column.field) {
            return Err(refuse::field(
                grant,
                &key.field,
                refuse::SORT,
                "has values without an order",
            ));
        }
        if distinct.is_some_and(|chosen| !chosen.contains(column)) {
            return Err(refuse::field(
                grant,
                &key.field,
                refuse::SORT,
                "is not among the distinct fields",
            ));
        }
        if order.iter().any(|one| one.column == *column) {
            return Err(refuse::field(
                grant,
                &key.field,
                refuse::SORT,
                "is a sort key twice",
            ));
        }
        // Nothing is left to order behind a unique key.
        if order
            .last()
            .is_none_or(|last| last.column.field.name != "id")
        {
            order.push(Order {
                column: column.clone(),
                descending: key.descending,
            });
        }
    }
    if keys.is_none()
        && distinct.is_none()
        && is_visible(grant, "created_at")
        && let Some(column) = grant.schema.column("created_at")
        && column.storage != Storage::Json
    {
        order.push(Order {
            column: column.clone(),
            descending: true,
        });
    }
    let descending = order
        .last()
        .map_or(keys.is_none() && distinct.is_none(), |last| last.descending);
    let id = grant.schema.column("id");
    for column in distinct.unwrap_or(id.map_or(&[], std::slice::from_ref)) {
        if !order.iter().any(|one| one.column == *column) {
            order.push(Order {
                column: column.clone(),
                descending,
            });
        }
    }
    Ok(order)
}
