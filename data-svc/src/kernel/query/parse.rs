//! Reads requests: query parameters and bodies, syntactically.
//!
//! Invariant: every key either becomes part of the query or is refused; none is dropped.

use mesh::{Error, Result};
use proto::data::v1::ListRecordsRequest;
use serde_json::Value as Json;

use crate::kernel::query::{ExpandNode, Query, aggregate, expand, json, order, refuse, suggest};

/// Largest body, in bytes.
const BODY_MAX: usize = 1024 * 1024;
/// Fields chosen, and equality parameters, of one query.
const NAMES_MAX: usize = 500;
const IMPLICIT_MAX: usize = 200;
const NOT_YET: &str = "this runtime does not have it yet";

/// Reads the parameters of a list (objectql.md §2).
///
/// # Errors
/// 400 with the reason of what cannot be read.
pub fn from_list_request(request: &ListRecordsRequest) -> Result<Query> {
    let text = |text: &'_ str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let mut query = Query {
        filter: text(&request.r#where)
            .map(|text| filter_text(&text))
            .transpose()?,
        order: text(&request.order_by)
            .map(|text| order::read_text(&text))
            .transpose()?,
        limit: request.limit.map(u64::from),
        offset: request.offset.map(u64::from),
        cursor: text(&request.cursor),
        count: request.count.unwrap_or(true),
        ..Query::default()
    };
    (query.select, query.expand) = for_get(&request.select, &request.expand)?;
    for parameter in &request.filters {
        if let Some(refusal) = reserved(&parameter.name) {
            return Err(refusal);
        }
        if parameter.name == "distinct" {
            query.distinct = flag("distinct", &Json::from(parameter.value.as_str()))?;
            continue;
        }
        let known = query
            .implicit
            .iter_mut()
            .find(|(name, _)| *name == parameter.name);
        match known {
            Some((_, values)) => values.push(parameter.value.clone()),
            None => query
                .implicit
                .push((parameter.name.clone(), vec![parameter.value.clone()])),
        }
    }
    if request.filters.len() > IMPLICIT_MAX {
        return Err(
            refuse::filter(format!("more than {IMPLICIT_MAX} filter parameters"))
                .with("limit", IMPLICIT_MAX),
        );
    }
    together(query)
}

/// Reads the body of `POST /data/:object/query` (objectql.md §1).
///
/// # Errors
/// `MALFORMED_JSON`; `INVALID_QUERY` for an unknown key, another object, or what is not served
/// yet; and the reasons of the parts.
pub fn from_body(object: &str, body: &[u8]) -> Result<Query> {
    if body.len() > BODY_MAX {
        return Err(refuse::filter("the query is larger than 1 MiB").with("limit", BODY_MAX));
    }
    let value = json::read(body).map_err(|error| {
        Error::validation("MALFORMED_JSON", format!("the body is not JSON: {error}"))
    })?;
    let Json::Object(map) = value else {
        return Err(refuse::query("body", "the body must be a JSON object"));
    };
    let mut query = Query {
        count: true,
        ..Query::default()
    };
    for (key, value) in &map {
        let key = key.as_str();
        // An absent value and null are the same, except for a filter, where null asks for nothing.
        match key {
            "where" | "filter" | "filters" | "$filter" => {
                let filter = filter_value(value)?;
                if query.filter.as_ref().is_some_and(|other| *other != filter) {
                    return Err(
                        refuse::filter("two filters under different names").with("parameter", key)
                    );
                }
                query.filter = Some(filter);
            }
            _ if value.is_null() => {
                known(key)?;
            }
            "object" => {
                if value.as_str() != Some(object) {
                    return Err(refuse::query(
                        "object",
                        format!("the body names another object than `{object}`"),
                    )
                    .with("object", object));
                }
            }
            "fields" | "select" => once(&mut query.select, key, name_list(key, value)?)?,
            "orderBy" | "sort" | "$orderby" => {
                let keys = order::read(value)?;
                once(&mut query.order, key, (!keys.is_empty()).then_some(keys))?;
            }
            "limit" | "top" | "$top" => once(&mut query.limit, key, Some(whole(key, value)?))?,
            "offset" | "skip" | "$skip" => once(&mut query.offset, key, Some(whole(key, value)?))?,
            "cursor" => {
                let text = value
                    .as_str()
                    .ok_or_else(|| refuse::parameter("cursor", "cursor takes a string"))?;
                query.cursor = Some(text.to_owned()).filter(|text| !text.is_empty());
            }
            "expand" | "populate" | "$expand" => {
                let nodes = expand::read(value, 0)?;
                if !query.expand.is_empty() && query.expand != nodes {
                    return Err(twice(key));
                }
                query.expand = nodes;
            }
            "count" => query.count = flag(key, value)?,
            "distinct" => query.distinct = flag(key, value)?,
            "groupBy" => query.group_by = aggregate::read_keys(value)?,
            "aggregations" => query.aggregations = aggregate::read_aggregations(value)?,
            "having" => query.having = Some(filter_value(value)?),
            _ => {
                known(key)?;
                return Err(
                    refuse::query(key, format!("`{key}` is not available")).with("hint", NOT_YET)
                );
            }
        }
    }
    together(query)
}

/// Reads `select` and `expand` of a single read.
///
/// # Errors
/// `INVALID_QUERY`.
pub fn for_get(select: &str, expand: &str) -> Result<(Option<Vec<String>>, Vec<ExpandNode>)> {
    let select: Vec<String> = names(select).map(str::to_owned).collect();
    if select.len() > NAMES_MAX {
        return Err(
            refuse::query("select", format!("more than {NAMES_MAX} fields"))
                .with("limit", NAMES_MAX),
        );
    }
    let expand = expand::read_text(expand)?;
    Ok(((!select.is_empty()).then_some(select), expand))
}

/// The names of a comma list.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// A list of names, or a comma list in one text; `None` when it is empty.
pub(super) fn name_list(key: &str, value: &Json) -> Result<Option<Vec<String>>> {
    let shape = || refuse::query(key, format!("`{key}` takes a list of names"));
    let list: Vec<String> = match value {
        Json::String(text) => names(text).map(str::to_owned).collect(),
        Json::Array(items) => items
            .iter()
            .map(|item| {
                item.as_str()
                    .map(|name| name.trim().to_owned())
                    .ok_or_else(shape)
            })
            .collect::<Result<_>>()?,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => return Err(shape()),
    };
    if list.len() > NAMES_MAX {
        return Err(
            refuse::query(key, format!("more than {NAMES_MAX} fields")).with("limit", NAMES_MAX)
        );
    }
    Ok((!list.is_empty()).then_some(list))
}

/// A filter, or JSON text of one.
pub(super) fn filter_value(value: &Json) -> Result<Json> {
    match value {
        Json::String(text) => filter_text(text),
        Json::Object(_) | Json::Array(_) => Ok(value.clone()),
        Json::Null | Json::Bool(_) | Json::Number(_) => Err(no_filter()),
    }
}

fn filter_text(text: &str) -> Result<Json> {
    let value = json::read(text.as_bytes()).map_err(|error| {
        refuse::filter(format!("where is not JSON: {error}")).with("parameter", "where")
    })?;
    if value.is_object() || value.is_array() {
        Ok(value)
    } else {
        Err(no_filter())
    }
}

fn no_filter() -> Error {
    refuse::filter("where must be an object or an array of conditions")
        .with("parameter", "where")
        .with("hint", r#"for example {"status":{"$eq":"open"}}"#)
}

fn together(query: Query) -> Result<Query> {
    if query.cursor.is_some() && query.offset.is_some() {
        return Err(refuse::parameter(
            "offset",
            "cursor and offset do not go together",
        ));
    }
    Ok(query)
}

/// Names that never are fields; those that reach here are not served, or not so.
fn reserved(name: &str) -> Option<Error> {
    let error = |hint: &str| {
        refuse::query(name, format!("parameter `{name}` is not available here")).with("hint", hint)
    };
    Some(match name {
        "groupBy" | "aggregations" | "having" | "$apply" => error("use POST /query"),
        "search" | "searchFields" | "q" | "$search" => error(NOT_YET),
        "page" => error("use cursor, or offset"),
        "object" | "expectedVersion" => error("it has no meaning in a list"),
        // The gateway binds these; in a direct call they are fields of the message.
        "where" | "filter" | "filters" | "select" | "fields" | "orderBy" | "sort" | "limit"
        | "top" | "offset" | "skip" | "cursor" | "expand" | "populate" | "count" => {
            error("use the field of the request")
        }
        "pageSize" | "page_size" | "perPage" | "per_page" => {
            Error::validation(refuse::FIELD, format!("no field `{name}`"))
                .with("field", name)
                .with("hint", "did you mean `limit`?")
        }
        _ if name.starts_with('$') => Error::validation(
            refuse::QUERY,
            format!("unknown parameter `{}`", refuse::echo(name)),
        )
        .with("parameter", refuse::echo(name)),
        _ => return None,
    })
}

const KEYS: [&str; 29] = [
    "object",
    "fields",
    "select",
    "where",
    "filter",
    "filters",
    "$filter",
    "orderBy",
    "sort",
    "$orderby",
    "limit",
    "top",
    "$top",
    "offset",
    "skip",
    "$skip",
    "cursor",
    "expand",
    "populate",
    "$expand",
    "groupBy",
    "aggregations",
    "having",
    "distinct",
    "search",
    "searchFields",
    "count",
    "joins",
    "windowFunctions",
];

/// Refuses a key that no query has.
fn known(key: &str) -> Result<()> {
    if KEYS.contains(&key) {
        return Ok(());
    }
    let error = refuse::query(key, format!("a query has no key `{}`", refuse::echo(key)));
    Err(match suggest::nearest(key, KEYS.into_iter()) {
        Some(near) => error.with("hint", format!("did you mean `{near}`?")),
        None => error,
    })
}

fn once<T: PartialEq>(slot: &mut Option<T>, key: &str, value: Option<T>) -> Result<()> {
    if slot.is_some() && *slot != value {
        return Err(twice(key));
    }
    *slot = value;
    Ok(())
}

fn twice(key: &str) -> Error {
    refuse::query(
        key,
        format!("`{key}` is given twice, under different names"),
    )
}

fn whole(key: &str, value: &Json) -> Result<u64> {
    value
        .as_u64()
        .ok_or_else(|| refuse::parameter(key, format!("`{key}` must be a whole number, 0 or more")))
}

fn flag(key: &str, value: &Json) -> Result<bool> {
    crate::kernel::model::coerce::boolean(value)
        .ok_or_else(|| refuse::parameter(key, format!("`{key}` must be true or false")))
}
