//! What a value is in JSON: its schema, and whether a value is one. Both are read from one table, so
//! that what a schema promises is taken.

use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;

/// The shape of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A text.
    Text,
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A day: `2026-12-31`.
    Date,
    /// An instant: `2026-12-31T12:00:00Z`. A day is taken for its first instant.
    DateTime,
    /// A list of texts.
    Texts,
    /// A list of numbers.
    Numbers,
    /// A list of objects.
    Objects,
    /// A list of anything.
    List,
    /// An object.
    Object,
    /// A text, or an object in its place: an id or an address of a file, or what is known of it.
    TextOrObject,
    /// Anything.
    Any,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Shape; 13] = [
        Shape::Text,
        Shape::Number,
        Shape::Integer,
        Shape::Boolean,
        Shape::Date,
        Shape::DateTime,
        Shape::Texts,
        Shape::Numbers,
        Shape::Objects,
        Shape::List,
        Shape::Object,
        Shape::TextOrObject,
        Shape::Any,
    ];

    /// As JSON Schema, in the dialect of OpenAPI 3.0.
    pub fn schema(self) -> Map<String, Value> {
        let schema = match self {
            Shape::Text => json!({"type": "string"}),
            Shape::Number => json!({"type": "number"}),
            Shape::Integer => json!({"type": "integer"}),
            Shape::Boolean => json!({"type": "boolean"}),
            Shape::Date => json!({"type": "string", "format": "date"}),
            Shape::DateTime => json!({"type": "string", "format": "date-time"}),
            Shape::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Shape::Numbers => json!({"type": "array", "items": {"type": "number"}}),
            Shape::Objects => json!({"type": "array", "items": {"type": "object"}}),
            Shape::List => json!({"type": "array", "items": {}}),
            Shape::Object => json!({"type": "object"}),
            Shape::TextOrObject => json!({"anyOf": [{"type": "string"}, {"type": "object"}]}),
            Shape::Any => json!({}),
        };
        match schema {
            Value::Object(schema) => schema,
            _ => Map::new(),
        }
    }

    /// In words, for whoever gave something else.
    pub fn described(self) -> &'static str {
        match self {
            Shape::Text => "a text",
            Shape::Number => "a number",
            Shape::Integer => "an integer",
            Shape::Boolean => "true or false",
            Shape::Date => "a date like 2026-12-31",
            Shape::DateTime => "a moment like 2026-12-31T12:00:00Z",
            Shape::Texts => "a list of texts",
            Shape::Numbers => "a list of numbers",
            Shape::Objects => "a list of objects",
            Shape::List => "a list",
            Shape::Object => "an object",
            Shape::TextOrObject => "a text or an object",
            Shape::Any => "a value",
        }
    }

    /// Whether a value is one.
    pub fn fits(self, value: &Value) -> bool {
        match self {
            Shape::Text => value.is_string(),
            Shape::Number => value.is_number(),
            Shape::Integer => is_whole(value),
            Shape::Boolean => value.is_boolean(),
            Shape::Date => value.as_str().is_some_and(is_date),
            Shape::DateTime => value.as_str().is_some_and(is_instant),
            Shape::Texts | Shape::Numbers | Shape::Objects | Shape::List => {
                let item = self.item().unwrap_or(Shape::Any);
                let list = value.as_array();
                list.is_some_and(|list| list.iter().all(|one| item.fits(one)))
            }
            Shape::Object => value.is_object(),
            Shape::TextOrObject => value.is_string() || value.is_object(),
            Shape::Any => true,
        }
    }

    /// What the members of a list are; nothing for what is no list.
    pub fn item(self) -> Option<Shape> {
        match self {
            Shape::Texts => Some(Shape::Text),
            Shape::Numbers => Some(Shape::Number),
            Shape::Objects => Some(Shape::Object),
            Shape::List => Some(Shape::Any),
            Shape::Text
            | Shape::Number
            | Shape::Integer
            | Shape::Boolean
            | Shape::Date
            | Shape::DateTime
            | Shape::Object
            | Shape::TextOrObject
            | Shape::Any => None,
        }
    }

    /// A value as a form or a table of texts gives it, brought to this shape: numbers and truth from
    /// text, nothing from empty text, one value as a list of one. `None` where that cannot be.
    pub fn coerce(self, value: Value) -> Option<Value> {
        let coerced = match (self, value) {
            (Shape::Text | Shape::TextOrObject | Shape::Any, value) => value,
            (_, Value::String(text)) if text.trim().is_empty() => Value::Null,
            (Shape::Number | Shape::Integer, Value::String(text)) => {
                serde_json::from_str(text.trim()).ok()?
            }
            (Shape::Boolean, value) => truth(&value)?,
            (Shape::Texts | Shape::Numbers | Shape::List, value) if !value.is_array() => {
                Value::Array(vec![self.item()?.coerce(value)?])
            }
            (_, value) => value,
        };
        (coerced.is_null() || self.fits(&coerced)).then_some(coerced)
    }
}

fn truth(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(_) | Value::Null => Some(value.clone()),
        Value::String(text) => match text.trim() {
            "true" | "1" => Some(Value::Bool(true)),
            "false" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        Value::Number(number) => match number.as_u64()? {
            1 => Some(Value::Bool(true)),
            0 => Some(Value::Bool(false)),
            _ => None,
        },
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// In JSON Schema 1.0 is whole.
fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
}

fn is_date(text: &str) -> bool {
    let form = time::macros::format_description!("[year]-[month]-[day]");
    time::Date::parse(text, form).is_ok()
}

fn is_instant(text: &str) -> bool {
    time::OffsetDateTime::parse(text, &Rfc3339).is_ok() || is_date(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_forms_become_what_they_mean() {
        let cases = [
            (Shape::Number, json!("2.5"), Some(json!(2.5))),
            (Shape::Integer, json!("2.5"), None),
            (Shape::Integer, json!(" 7 "), Some(json!(7))),
            (Shape::Number, json!("many"), None),
            (Shape::Boolean, json!("0"), Some(json!(false))),
            (Shape::Boolean, json!("yes"), None),
            (Shape::Date, json!(""), Some(Value::Null)),
            (Shape::Date, json!("2026-02-30"), None),
            (Shape::Texts, json!("a"), Some(json!(["a"]))),
            (Shape::Objects, json!("a"), None),
            (Shape::Text, json!(""), Some(json!(""))),
        ];
        for (shape, given, expected) in cases {
            assert_eq!(shape.coerce(given.clone()), expected, "{shape:?} {given}");
        }
    }
}
