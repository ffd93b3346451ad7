//! What a caller says when they invoke an action: the forms of the body (docs/reference/automation.md, "Actions").

use mesh::{Error, FieldViolation, Result};
use serde_json::{Map, Value};

use crate::catalog::Action;

/// Most records that one call may name.
const RECORDS_MAX: usize = 200;

/// The body of a call, sorted out.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Body {
    /// The record that it is about.
    pub(crate) record_id: Option<String>,
    /// Several of them.
    pub(crate) record_ids: Option<Vec<String>>,
    /// The parameters.
    pub(crate) input: Map<String, Value>,
}

/// Reads the JSON of a body; nothing is an empty object.
///
/// # Errors
/// VALIDATION_ERROR when it is no JSON object.
pub(crate) fn parse(json: &[u8]) -> Result<Map<String, Value>> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(json) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::validation(
            "INVALID_REQUEST",
            "The body must be a JSON object",
        )),
        Err(error) => Err(Error::validation(
            "MALFORMED_JSON",
            format!("The body is not JSON: {error}"),
        )),
    }
}

impl Body {
    /// Sorts out a body for an action; `path_id` is the record of the path.
    ///
    /// # Errors
    /// VALIDATION_ERROR naming what does not fit.
    pub(crate) fn read(
        mut map: Map<String, Value>,
        action: Option<&Action>,
        path_id: &str,
    ) -> Result<Self> {
        let declared = |name: &str| {
            let params = action.and_then(|action| action.params.as_deref());
            params.is_some_and(|params| params.iter().any(|param| param.name == name))
        };
        let is_about_records = action.is_none_or(|action| action.object().is_some());
        let mut record_id = None;
        for key in ["recordId", "id"] {
            let reserved = key == "recordId" || is_about_records;
            if reserved
                && !declared(key)
                && let Some(value) = map.remove(key)
            {
                record_id = record_id.or(one_id(key, &value)?);
            }
        }
        if !path_id.is_empty() {
            if record_id.as_deref().is_some_and(|other| other != path_id) {
                let text = "recordId differs from the record of the path";
                return Err(wrong("recordId", text));
            }
            record_id = Some(path_id.to_owned());
        }
        let record_ids = match map.remove("recordIds") {
            None | Some(Value::Null) => None,
            Some(value) => Some(several(&value, action)?),
        };
        if record_ids.is_some() && record_id.is_some() {
            let text = "give recordId or recordIds, not both";
            return Err(wrong("recordIds", text));
        }
        for key in ["params", "inputs"] {
            if declared(key) {
                continue;
            }
            match map.remove(key) {
                None | Some(Value::Null) => {}
                Some(Value::Object(nested)) => map.extend(nested),
                Some(_) => return Err(wrong(key, &format!("{key} must be an object"))),
            }
        }
        Ok(Self {
            record_id,
            record_ids,
            input: map,
        })
    }
}

fn one_id(key: &str, value: &Value) -> Result<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(id) if !id.is_empty() => Ok(Some(id.clone())),
        _ => Err(wrong(key, &format!("{key} must be the id of a record"))),
    }
}

fn several(value: &Value, action: Option<&Action>) -> Result<Vec<String>> {
    if !action.is_some_and(|action| action.spec.is_bulk) {
        return Err(wrong("recordIds", "the action takes one record at a time"));
    }
    let ids = value.as_array().and_then(|list| {
        let ids = list.iter().map(|id| id.as_str().map(str::to_owned));
        ids.collect::<Option<Vec<_>>>()
    });
    let ids = ids.ok_or_else(|| wrong("recordIds", "recordIds must be a list of ids"))?;
    if ids.is_empty() || ids.len() > RECORDS_MAX {
        let text = format!("recordIds must name 1 to {RECORDS_MAX} records");
        return Err(wrong("recordIds", &text));
    }
    Ok(ids)
}

fn wrong(field: &str, text: &str) -> Error {
    Error::fields(vec![FieldViolation::new(field, "invalid_value", text)])
}
