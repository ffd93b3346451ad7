//! A record body as it came in: top-level keys with the raw text of their values, so that numbers
//! keep every digit.

use std::fmt;

use mesh::{Error, Result};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Most keys an object may have.
const KEYS_MAX: usize = 1_000;
/// Deepest nesting of arrays and objects.
const DEPTH_MAX: usize = 64;

/// A JSON object, its keys in order, its values unparsed.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Keys and raw values.
    pub entries: Vec<(String, Box<RawValue>)>,
}

impl Body {
    /// Reads a body.
    ///
    /// # Errors
    /// VALIDATION_ERROR when it is no JSON object, has a key twice, or is too deep or too wide.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let malformed = |error: serde_json::Error| {
            Error::validation(
                "MALFORMED_JSON",
                format!("The body is not valid JSON: {error}"),
            )
        };
        check_depth(bytes)?;
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let entries = deserializer
            .deserialize_any(Entries)
            .and_then(|entries| deserializer.end().map(|()| entries));
        match entries {
            Ok(entries) => Ok(Self { entries }),
            Err(error) if error.is_data() => {
                Err(Error::validation("INVALID_REQUEST", strip_position(&error)))
            }
            Err(error) => Err(malformed(error)),
        }
    }

    /// Takes a key out.
    pub(super) fn take(&mut self, key: &str) -> Option<Box<RawValue>> {
        let index = self.entries.iter().position(|(name, _)| name == key)?;
        Some(self.entries.remove(index).1)
    }
}

/// The message without serde's "at line 1 column 7".
fn strip_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// Counts nesting without parsing: a recursive parser must not meet a body that is too deep.
fn check_depth(bytes: &[u8]) -> Result<()> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Error::validation(
                        "MALFORMED_JSON",
                        format!("The body is nested deeper than {DEPTH_MAX} levels"),
                    ));
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with the record's fields at top level")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(String, Box<RawValue>)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(serde::de::Error::custom(format!(
                    "The key `{key}` stands twice in the body"
                )));
            }
            if entries.len() == KEYS_MAX {
                return Err(serde::de::Error::custom(format!(
                    "The body has more than {KEYS_MAX} keys"
                )));
            }
            entries.push((key, map.next_value()?));
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &str) -> String {
        let error = Body::parse(body.as_bytes()).unwrap_err();
        error.detail("reason").unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn keys_keep_their_order_and_numbers_their_digits() {
        let body = Body::parse(br#"{"b": 12345678901234567890.123, "a": null}"#).unwrap();
        let entries: Vec<_> = body
            .entries
            .iter()
            .map(|(key, raw)| (key.as_str(), raw.get()))
            .collect();
        assert_eq!(entries, [("b", "12345678901234567890.123"), ("a", "null")]);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert_eq!(reason("[1]"), "INVALID_REQUEST");
        assert_eq!(reason("5"), "INVALID_REQUEST");
        assert_eq!(reason(r#"{"a":1,"a":2}"#), "INVALID_REQUEST");
        assert_eq!(reason(r#"{"a":1"#), "MALFORMED_JSON");
        assert_eq!(reason(r#"{"a":1} x"#), "MALFORMED_JSON");
        assert_eq!(reason(""), "MALFORMED_JSON");
        assert_eq!(
            reason(&format!("{{\"a\":{}", "[".repeat(10_000))),
            "MALFORMED_JSON"
        );
    }
}
