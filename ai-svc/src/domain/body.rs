//! Bodies of requests: JSON objects whose every key is known.

use mesh::{Error, Result};
use serde_json::{Map, Value};

use super::message::wrong;

/// The JSON object of a body.
///
/// # Errors
/// VALIDATION_ERROR when it is none.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::validation(
            "INVALID_REQUEST",
            "The body must be a JSON object",
        )),
        Err(_) => Err(Error::validation("INVALID_JSON", "The body is not JSON")),
    }
}

/// Refuses keys that are in none of those lists.
///
/// # Errors
/// VALIDATION_ERROR naming the key.
pub(crate) fn known(map: &Map<String, Value>, lists: &[&[&str]]) -> Result<()> {
    for key in map.keys() {
        if !lists.iter().any(|list| list.contains(&key.as_str())) {
            return Err(wrong(key, "unknown_field", "is not known here"));
        }
    }
    Ok(())
}
