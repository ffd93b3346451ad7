//! One value: from raw JSON to the cell that is stored, checked by the field's type
//! (docs/reference/field-types.md §2).

use std::str::FromStr as _;

use mesh::FieldViolation;
use metadata::{Field, FieldType};
use rust_decimal::Decimal;
use serde_json::{Value, value::RawValue};

use crate::kernel::model::{
    cell::Cell,
    coerce,
    schema::{Column, Storage},
};
use crate::kernel::write::text;

/// Longest text a field takes unless it declares `maxLength`, in bytes.
const TEXT_MAX: usize = 64 * 1024;
/// Longest value of the one-line types, in characters.
const LINE_MAX: u64 = 255;
/// Most members of a multi-value field.
const MEMBERS_MAX: usize = 10_000;

/// Collects what is wrong with a value.
pub(super) struct Problems<'p> {
    field: &'p Field,
    list: &'p mut Vec<FieldViolation>,
}

impl<'p> Problems<'p> {
    /// Collects into `list` for `field`.
    pub(super) fn new(field: &'p Field, list: &'p mut Vec<FieldViolation>) -> Self {
        Self { field, list }
    }

    /// Notes a problem; `what` goes on after the field's name: `must be a number`.
    pub(super) fn add(&mut self, code: &str, what: &str) {
        let name = &self.field.name;
        let mut violation = FieldViolation::new(name, code, format!("{name} {what}"));
        violation.label = Some(self.field.label.clone());
        self.list.push(violation);
    }

    fn add_option(&mut self, value: &str) {
        let options: Vec<String> = self
            .field
            .options
            .iter()
            .map(|option| option.value.clone())
            .collect();
        let name = &self.field.name;
        let mut violation = FieldViolation::new(
            name,
            "invalid_option",
            format!(
                "{name} does not accept \"{value}\"; it takes one of {}",
                options.join(", ")
            ),
        );
        violation.label = Some(self.field.label.clone());
        violation.options = Some(options);
        self.list.push(violation);
    }
}

/// Checks and converts one value. A value that is wrong gives `Null` and a problem.
#[must_use]
pub(super) fn cell(column: &Column, raw: &RawValue, problems: &mut Vec<FieldViolation>) -> Cell {
    let field = &column.field;
    let mut problems = Problems::new(field, problems);
    let text = raw.get().trim();
    if text == "null" {
        return Cell::Null;
    }
    // An empty string on a type that is no text is no value.
    if text == "\"\"" && !field.is_text() {
        return Cell::Null;
    }
    if field.is_multi_value() {
        return members(field, raw, &mut problems);
    }
    match column.storage {
        Storage::Integer | Storage::Double | Storage::Decimal(_) => {
            number(column, text, &mut problems)
        }
        _ => match serde_json::from_str(text) {
            Ok(value) => scalar(column, value, text, &mut problems),
            Err(_) => {
                problems.add("invalid_json", "holds text that is not valid Unicode");
                Cell::Null
            }
        },
    }
}

fn number(column: &Column, text: &str, problems: &mut Problems<'_>) -> Cell {
    let field = &column.field;
    // Numeric strings coerce; an old `{value, currency}` object gives its value.
    let parsed: Option<Value>;
    let digits = match text.as_bytes().first() {
        Some(b'"') => {
            parsed = serde_json::from_str(text).ok();
            parsed.as_ref().and_then(Value::as_str).map(str::trim)
        }
        Some(b'{') if field.field_type == FieldType::Currency => {
            parsed = serde_json::from_str(text).ok();
            let value = parsed.as_ref().and_then(|object| object.get("value"));
            return match value.map(Value::to_string) {
                Some(value) if !value.starts_with('{') => number(column, &value, problems),
                _ => {
                    problems.add("invalid_number", "must be a number");
                    Cell::Null
                }
            };
        }
        Some(b'-' | b'0'..=b'9') => Some(text),
        _ => None,
    };
    let exact = digits.and_then(|digits| {
        Decimal::from_str(digits)
            .or_else(|_| Decimal::from_scientific(digits))
            .ok()
    });
    let double: Option<f64> = digits
        .and_then(|digits| digits.parse().ok())
        .filter(|n: &f64| n.is_finite());
    let Some(double) = double else {
        problems.add("invalid_number", "must be a finite number");
        return Cell::Null;
    };
    let before = problems.list.len();
    let min = field
        .min
        .or((field.field_type == FieldType::Rating).then_some(0.0));
    let max = field
        .max
        .or((field.field_type == FieldType::Rating).then_some(5.0));
    if let Some(min) = min.filter(|min| double < *min) {
        problems.add("min_value", &format!("must be at least {min}"));
    }
    if let Some(max) = max.filter(|max| double > *max) {
        problems.add("max_value", &format!("must be at most {max}"));
    }
    if problems.list.len() > before {
        return Cell::Null;
    }
    let cell = match column.storage {
        Storage::Integer => digits
            .and_then(|digits| digits.parse().ok())
            .or_else(|| exact.and_then(|n| coerce::round(n, 0).try_into().ok()))
            .map(Cell::Integer),
        Storage::Decimal(scale) => exact.and_then(|n| coerce::fit(n, scale)).map(Cell::Decimal),
        _ => Some(Cell::Double(match (field.scale, exact) {
            (Some(scale), Some(exact)) => coerce::round(exact, scale).try_into().unwrap_or(double),
            _ => double,
        })),
    };
    cell.unwrap_or_else(|| {
        problems.add("max_value", "is out of range");
        Cell::Null
    })
}

fn scalar(column: &Column, value: Value, raw: &str, problems: &mut Problems<'_>) -> Cell {
    let field = &column.field;
    match column.storage {
        Storage::Boolean => match boolean(&value) {
            Some(flag) => Cell::Boolean(flag),
            None => fail(problems, "invalid_boolean", "must be true or false"),
        },
        Storage::Date => coerce::date(&value).map_or_else(
            || fail(problems, "invalid_date", "must be a date like 2026-03-07"),
            Cell::Date,
        ),
        Storage::Time => coerce::time(&value).map_or_else(
            || fail(problems, "invalid_date", "must be a time like 13:45:00"),
            Cell::Time,
        ),
        Storage::DateTime => coerce::datetime(&value).map_or_else(
            || {
                fail(
                    problems,
                    "invalid_date",
                    "must be a moment like 2026-03-07T13:45:00Z",
                )
            },
            Cell::DateTime,
        ),
        Storage::Json => structured(field, value, raw, problems),
        Storage::Text => text_cell(field, value, problems),
        // Numbers went their own way, with their digits.
        Storage::Integer | Storage::Double | Storage::Decimal(_) => Cell::Null,
    }
}

fn fail(problems: &mut Problems<'_>, code: &str, what: &str) -> Cell {
    problems.add(code, what);
    Cell::Null
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn text_cell(field: &Field, value: Value, problems: &mut Problems<'_>) -> Cell {
    let text = match value {
        Value::String(text) => text,
        // A reference may be given as the record it points to.
        Value::Object(mut object) if field.is_reference() => match object.remove("id") {
            Some(Value::String(id)) => id,
            _ => return fail(problems, "invalid_type", "must be an id"),
        },
        Value::Number(number) if !field.is_reference() => number.to_string(),
        _ => return fail(problems, "invalid_type", "must be text"),
    };
    if text.contains('\0') {
        return fail(
            problems,
            "invalid_format",
            "must not contain the character U+0000",
        );
    }
    let before = problems.list.len();
    let text = if field.field_type == FieldType::Email {
        text.trim().to_lowercase()
    } else {
        text
    };
    check_length(field, &text, problems);
    if text.is_empty() {
        // Nothing is no address, and two records without one must not clash where it is unique.
        return if field.is_text() && !has_shape(field) {
            Cell::Text(text)
        } else {
            Cell::Null
        };
    }
    match field.field_type {
        FieldType::Email if !text::is_email(&text) => {
            problems.add("invalid_email", "must be a valid email address");
        }
        FieldType::Url if !text::is_url(&text) => {
            problems.add("invalid_url", "must be a valid URL")
        }
        FieldType::Phone if !text::is_phone(&text) => {
            problems.add("invalid_phone", "must be a phone number");
        }
        FieldType::Color if !text::is_color(&text) => {
            problems.add("invalid_format", "must be a colour like #1e90ff");
        }
        FieldType::Secret => problems.add(
            "invalid_type",
            "cannot be written: this runtime has no key to encrypt secrets with",
        ),
        FieldType::Select | FieldType::Radio if !accepts(field, &text) => {
            problems.add_option(&text)
        }
        _ => {}
    }
    if problems.list.len() > before {
        Cell::Null
    } else {
        Cell::Text(text)
    }
}

/// Whether the type says how its text looks.
fn has_shape(field: &Field) -> bool {
    matches!(
        field.field_type,
        FieldType::Email | FieldType::Url | FieldType::Phone | FieldType::Color
    )
}

fn accepts(field: &Field, value: &str) -> bool {
    field.options.is_empty() || field.options.iter().any(|option| option.value == value)
}

fn check_length(field: &Field, text: &str, problems: &mut Problems<'_>) {
    let one_line = matches!(
        field.field_type,
        FieldType::Email | FieldType::Url | FieldType::Phone
    );
    let characters = text.chars().count() as u64;
    if let Some(min) = field
        .min_length
        .filter(|min| characters > 0 && characters < *min)
    {
        problems.add(
            "min_length",
            &format!("must have at least {min} characters"),
        );
    }
    if let Some(max) = field.max_length.or(one_line.then_some(LINE_MAX)) {
        if characters > max {
            problems.add("max_length", &format!("must have at most {max} characters"));
        }
    } else if text.len() > TEXT_MAX {
        problems.add("max_length", &format!("must have at most {TEXT_MAX} bytes"));
    }
}

/// A multi-value field: an array of text without duplicates; a scalar becomes its one member.
fn members(field: &Field, raw: &RawValue, problems: &mut Problems<'_>) -> Cell {
    let values = match serde_json::from_str(raw.get()) {
        Ok(Value::Array(values)) => values,
        Ok(value) => vec![value],
        Err(_) => {
            return fail(
                problems,
                "invalid_json",
                "holds text that is not valid Unicode",
            );
        }
    };
    if values.len() > MEMBERS_MAX {
        return fail(
            problems,
            "max_length",
            &format!("must have at most {MEMBERS_MAX} members"),
        );
    }
    let media = field.field_type.is_media();
    let checked = matches!(
        field.field_type,
        FieldType::Select
            | FieldType::Radio
            | FieldType::Multiselect
            | FieldType::Checkboxes
            | FieldType::Tags
    );
    let mut members: Vec<Value> = Vec::with_capacity(values.len());
    let before = problems.list.len();
    for value in values {
        let member = match value {
            Value::String(text) => Value::String(text),
            Value::Object(mut object) if field.is_reference() => {
                object.remove("id").unwrap_or(Value::Null)
            }
            Value::Number(number) if !field.is_reference() => Value::String(number.to_string()),
            other if media => other,
            _ => Value::Null,
        };
        match &member {
            Value::Null => problems.add("invalid_type", "must be a list of text values"),
            Value::String(text) if checked && !accepts(field, text) => problems.add_option(text),
            _ if members.contains(&member) => {}
            _ => members.push(member),
        }
    }
    if problems.list.len() > before {
        return Cell::Null;
    }
    Cell::Json(Value::Array(members).to_string())
}

fn structured(field: &Field, value: Value, raw: &str, problems: &mut Problems<'_>) -> Cell {
    let compact = |value: &Value| Cell::Json(value.to_string());
    match field.field_type {
        FieldType::Json => match &value {
            // A string that parses is stored parsed.
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(inner) if inner.is_object() || inner.is_array() => compact(&inner),
                _ => compact(&value),
            },
            _ if raw.len() < 1 << 20 => compact(&value),
            _ => fail(problems, "max_length", "must have at most 1 MiB of JSON"),
        },
        FieldType::Richtext => match value {
            Value::String(_) | Value::Object(_) => compact(&value),
            _ => fail(
                problems,
                "invalid_type",
                "must be text or a document object",
            ),
        },
        FieldType::Location => location(&value, problems),
        FieldType::Address | FieldType::Record | FieldType::Composite if !value.is_object() => {
            fail(problems, "invalid_type", "must be an object")
        }
        FieldType::Repeater if !value.is_array() => {
            fail(problems, "invalid_type", "must be a list of objects")
        }
        FieldType::Vector => match &value {
            Value::Array(numbers) if numbers.iter().all(Value::is_number) => match field.dimensions
            {
                Some(dimensions) if dimensions as usize != numbers.len() => fail(
                    problems,
                    "invalid_type",
                    &format!("must be a list of {dimensions} numbers"),
                ),
                _ => compact(&value),
            },
            _ => fail(problems, "invalid_type", "must be a list of numbers"),
        },
        _ => compact(&value),
    }
}

fn location(value: &Value, problems: &mut Problems<'_>) -> Cell {
    let degree = |keys: [&str; 2], limit: f64| {
        keys.iter()
            .find_map(|key| value.get(key))
            .and_then(Value::as_f64)
            .is_some_and(|degrees| degrees.abs() <= limit)
    };
    if degree(["lat", "latitude"], 90.0) && degree(["lng", "longitude"], 180.0) {
        Cell::Json(value.to_string())
    } else {
        fail(
            problems,
            "invalid_type",
            "must be {\"lat\": -90..90, \"lng\": -180..180}",
        )
    }
}
