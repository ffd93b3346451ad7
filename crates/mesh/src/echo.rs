//! How much of what a client sent is told back to it: at most [`ECHO_MAX`] characters, so that an error
//! is no way to make us send or log what somebody likes.

use std::borrow::Cow;

use serde_json::Value;

/// Longest piece of a client's text in an error, in characters.
pub const ECHO_MAX: usize = 200;
/// Details that are ours, however long: the record as it is, and advice.
const OURS: [&str; 3] = ["currentRecord", "hint", "error"];

/// The text, cut.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(ECHO_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// The text with each of its words cut: for sentences, whose own words are short.
pub(crate) fn cut_words(text: String) -> String {
    if text.len() <= ECHO_MAX {
        return text;
    }
    let words = text.split(' ').map(cut);
    words.collect::<Vec<_>>().join(" ")
}

/// The value of a detail, with every text in it cut.
pub(crate) fn cut_detail(key: &str, value: Value) -> Value {
    if OURS.contains(&key) {
        return value;
    }
    match value {
        Value::String(text) if text.len() > ECHO_MAX => cut(&text).into(),
        Value::Array(values) => {
            let values = values.into_iter().map(|value| cut_detail(key, value));
            values.collect()
        }
        Value::Object(map) => {
            let pairs = map.into_iter().map(|(key, value)| {
                let value = cut_detail(&key, value);
                (cut(&key).into_owned(), value)
            });
            Value::Object(pairs.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Error, FieldViolation};

    #[test]
    fn an_error_holds_little_of_what_a_client_sent() {
        let long = "x".repeat(5000);
        let spaced = "x y ".repeat(1000);
        let violation = FieldViolation::new(&long, "unknown", format!("`{long}` is no field"));
        for error in [
            Error::validation("INVALID_FIELD", format!("No field `{long}`")),
            Error::validation("INVALID_VALUE", format!("`{spaced}` is no date"))
                .with("value", spaced.clone()),
            Error::not_found("X", "Nothing").with("path", vec![json!({"a": long})]),
            Error::fields(vec![violation]),
        ] {
            let told = error.envelope().to_string();
            assert!(told.len() < 900 && told.contains('…'), "{told}");
        }
        let record = json!({"text": long});
        let error = Error::denied("Ours").with("currentRecord", record.clone());
        assert_eq!(
            error.envelope()["error"]["details"]["currentRecord"],
            record
        );
    }
}
