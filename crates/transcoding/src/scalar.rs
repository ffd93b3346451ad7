//! Single values: from text (path, query, header) and from JSON to the wire, range-checked.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    shape::{Field, Kind},
    wire::{put_bytes, put_fixed32, put_fixed64, put_nested, put_number, zigzag},
};

/// Why a value does not fit its field.
#[derive(Debug, PartialEq)]
pub(crate) struct Unfit {
    /// Code of the field violation (docs/reference/field-types.md §4).
    pub(crate) code: &'static str,
    /// What the value must be: `a whole number from 0 to 4294967295`.
    pub(crate) must_be: String,
    /// The values allowed, where they are few.
    pub(crate) options: Option<Vec<String>>,
}

impl Unfit {
    pub(crate) fn new(code: &'static str, must_be: impl Into<String>) -> Self {
        Self {
            code,
            must_be: must_be.into(),
            options: None,
        }
    }
}

/// Writes a value that came as text.
pub(crate) fn put_text(out: &mut Vec<u8>, field: &Field, text: &str) -> Result<(), Unfit> {
    match &field.kind {
        Kind::String => put_bytes(out, field.number, text.as_bytes()),
        Kind::Json => put_bytes(out, field.number, text.as_bytes()),
        Kind::Bool => match text {
            "true" => put_number(out, field.number, 1),
            "false" => put_number(out, field.number, 0),
            _ => return Err(Unfit::new("invalid_boolean", "true or false")),
        },
        Kind::Float | Kind::Double => {
            let number = text.parse().map_err(|_| not_a_number())?;
            put_float(out, field, number)?;
        }
        Kind::Bytes | Kind::Enum(_) | Kind::Timestamp => put_string(out, field, text)?,
        Kind::Message(_) => return Err(Unfit::new("invalid_type", "given in the body")),
        _ => {
            // `+5` parses in Rust; in a query the plus is a blank that the client did not escape.
            let number = match text.starts_with('+') {
                true => None,
                false => text.parse().ok(),
            };
            let number = number.ok_or_else(|| not_whole(&field.kind))?;
            put_whole(out, field, number)?;
        }
    }
    Ok(())
}

/// Writes a value that came as JSON; null is the caller's affair.
pub(crate) fn put_json(out: &mut Vec<u8>, field: &Field, value: &Value) -> Result<(), Unfit> {
    match (&field.kind, value) {
        (Kind::Bool, Value::Bool(yes)) => put_number(out, field.number, u64::from(*yes)),
        (Kind::Bool, _) => return Err(Unfit::new("invalid_boolean", "true or false")),
        (Kind::String, Value::String(text)) => put_bytes(out, field.number, text.as_bytes()),
        (Kind::String, _) => return Err(Unfit::new("invalid_type", "a string")),
        (Kind::Float | Kind::Double, Value::Number(number)) => {
            put_float(out, field, number.as_f64().ok_or_else(not_a_number)?)?;
        }
        (Kind::Float | Kind::Double, _) => return Err(not_a_number()),
        (Kind::Bytes | Kind::Enum(_) | Kind::Timestamp, Value::String(text)) => {
            put_string(out, field, text)?;
        }
        (Kind::Bytes, _) => return Err(Unfit::new("invalid_type", "a base64 string")),
        (Kind::Enum(names), _) => return Err(not_an_option(names)),
        (Kind::Timestamp, _) => return Err(not_a_timestamp()),
        (Kind::Json | Kind::Message(_), _) => {
            return Err(Unfit::new("invalid_type", "an object"));
        }
        (_, Value::Number(number)) => {
            let number = whole(number).ok_or_else(|| not_whole(&field.kind))?;
            put_whole(out, field, number)?;
        }
        // JavaScript cannot hold every 64-bit number, so its clients send strings.
        (kind, Value::String(text)) if range(kind).1 > i128::from(u32::MAX) => {
            let number = text.parse().map_err(|_| not_whole(kind))?;
            put_whole(out, field, number)?;
        }
        (kind, _) => return Err(not_whole(kind)),
    }
    Ok(())
}

/// A JSON number without a fraction; `1.0` and `1e3` count, as in the protobuf JSON mapping.
fn whole(number: &serde_json::Number) -> Option<i128> {
    if let Some(number) = number.as_u64() {
        return Some(number.into());
    }
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    let float = number.as_f64()?;
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i128)
}

fn put_whole(out: &mut Vec<u8>, field: &Field, value: i128) -> Result<(), Unfit> {
    let (least, most) = range(&field.kind);
    if value < least || value > most {
        let code = if value < least {
            "min_value"
        } else {
            "max_value"
        };
        return Err(Unfit {
            code,
            ..not_whole(&field.kind)
        });
    }
    match field.kind {
        Kind::Sint32 | Kind::Sint64 => put_number(out, field.number, zigzag(value as i64)),
        Kind::Fixed32 | Kind::Sfixed32 => put_fixed32(out, field.number, value as u32),
        Kind::Fixed64 | Kind::Sfixed64 => put_fixed64(out, field.number, value as u64),
        _ => put_number(out, field.number, value as u64),
    }
    Ok(())
}

fn put_float(out: &mut Vec<u8>, field: &Field, value: f64) -> Result<(), Unfit> {
    if !value.is_finite() {
        return Err(not_a_number());
    }
    if matches!(field.kind, Kind::Double) {
        put_fixed64(out, field.number, value.to_bits());
        return Ok(());
    }
    let narrow = value as f32;
    if !narrow.is_finite() {
        return Err(Unfit::new(
            "max_value",
            "a number that a 32-bit float holds",
        ));
    }
    put_fixed32(out, field.number, narrow.to_bits());
    Ok(())
}

fn put_string(out: &mut Vec<u8>, field: &Field, text: &str) -> Result<(), Unfit> {
    match &field.kind {
        Kind::Enum(names) => {
            let (_, number) = names
                .iter()
                .find(|(name, _)| name == text)
                .ok_or_else(|| not_an_option(names))?;
            // Negative numbers take ten bytes, as for int32.
            put_number(out, field.number, i64::from(*number).cast_unsigned());
        }
        Kind::Timestamp => {
            let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| not_a_timestamp())?;
            put_nested(out, field.number, |out| {
                put_number(out, 1, at.unix_timestamp().cast_unsigned());
                put_number(out, 2, at.nanosecond().into());
            });
        }
        _ => {
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| Unfit::new("invalid_format", "a base64 string"))?;
            put_bytes(out, field.number, &bytes);
        }
    }
    Ok(())
}

fn range(kind: &Kind) -> (i128, i128) {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => (i32::MIN.into(), i32::MAX.into()),
        Kind::Uint32 | Kind::Fixed32 => (0, u32::MAX.into()),
        Kind::Uint64 | Kind::Fixed64 => (0, u64::MAX.into()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => (i64::MIN.into(), i64::MAX.into()),
        Kind::Bool
        | Kind::Float
        | Kind::Double
        | Kind::String
        | Kind::Bytes
        | Kind::Json
        | Kind::Enum(_)
        | Kind::Timestamp
        | Kind::Message(_) => (0, 0),
    }
}

fn not_whole(kind: &Kind) -> Unfit {
    let (least, most) = range(kind);
    Unfit::new(
        "invalid_number",
        format!("a whole number from {least} to {most}"),
    )
}

fn not_a_number() -> Unfit {
    Unfit::new("invalid_number", "a number")
}

fn not_a_timestamp() -> Unfit {
    Unfit::new("invalid_date", "a timestamp like 2026-01-31T12:00:00Z")
}

fn not_an_option(names: &[(String, i32)]) -> Unfit {
    let names: Vec<String> = names
        .iter()
        // Zero means "not said" and is nobody's choice.
        .filter(|(_, number)| *number != 0)
        .map(|(name, _)| name.clone())
        .collect();
    Unfit {
        code: "invalid_option",
        must_be: format!("one of {}", names.join(", ")),
        options: Some(names),
    }
}
