//! Pages of a list, newest first.

use mesh::Result;
use serde_json::Value;

use crate::domain::message::wrong;

/// Items a page: by default, and at most.
const SIZE: (u32, u32) = (50, 200);

/// A page of a list.
pub(crate) struct Page {
    /// The items, as the API shows them.
    pub(crate) items: Vec<Value>,
    /// How many there are in all.
    pub(crate) total: i64,
    /// Where it goes on.
    pub(crate) next_cursor: Option<String>,
}

/// How many items a page has.
///
/// # Errors
/// VALIDATION_ERROR for none or too many.
pub(crate) fn size(limit: Option<u32>) -> Result<u32> {
    match limit {
        None => Ok(SIZE.0),
        Some(limit) if (1..=SIZE.1).contains(&limit) => Ok(limit),
        Some(_) => {
            let what = format!("must be a whole number of 1 to {}", SIZE.1);
            Err(wrong("limit", "range", &what))
        }
    }
}

/// The id that a cursor stands for.
///
/// # Errors
/// VALIDATION_ERROR for what is no cursor of ours.
pub(crate) fn cursor(text: &str) -> Result<Option<&str>> {
    let is_ours = text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match text {
        "" => Ok(None),
        _ if is_ours => Ok(Some(text)),
        _ => Err(wrong(
            "cursor",
            "invalid_format",
            "is no cursor of this list",
        )),
    }
}
