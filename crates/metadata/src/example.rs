//! Example records: what a document shows of an object, made of its fields alone.

use serde_json::{Map, Value, json};

use crate::{
    field::{Field, FieldType},
    object::Object,
};

/// An id as the server makes them.
const ID: &str = "01J9ZC6V5Q8M3X0W2N7B4T1KDA";
/// A moment.
const MOMENT: &str = "2026-05-30T08:00:00.000Z";
/// Optional fields of a body that are shown.
const OPTIONAL_MAX: usize = 6;

/// A record as it is read.
pub fn record(object: &Object) -> Value {
    let readable = object
        .fields
        .values()
        .filter(|field| !field.internal && field.field_type != FieldType::Password);
    all(readable)
}

/// The body of a create: what is required, and some of the rest.
pub fn create(object: &Object) -> Value {
    let (required, optional): (Vec<&Field>, Vec<&Field>) =
        writable(object).partition(|field| field.required);
    all(required
        .into_iter()
        .chain(optional.into_iter().take(OPTIONAL_MAX)))
}

/// The body of a change: one field or two.
pub fn update(object: &Object) -> Value {
    all(writable(object).take(2))
}

/// Plain fields that a client may write: references would have to lead somewhere.
fn writable(object: &Object) -> impl Iterator<Item = &Field> {
    object.fields.values().filter(|field| {
        let plain = !field.system && field.is_writable() && !field.internal;
        plain && (field.required || !(field.is_reference() || is_structured(field.field_type)))
    })
}

fn is_structured(kind: FieldType) -> bool {
    matches!(
        kind,
        FieldType::Image
            | FieldType::File
            | FieldType::Avatar
            | FieldType::Video
            | FieldType::Audio
            | FieldType::Signature
            | FieldType::Composite
            | FieldType::Repeater
            | FieldType::Vector
    )
}

fn all<'f>(fields: impl Iterator<Item = &'f Field>) -> Value {
    let values = fields.map(|field| (field.name.clone(), value(field)));
    Value::Object(values.collect::<Map<_, _>>())
}

/// A value that the field takes.
pub fn value(field: &Field) -> Value {
    let one = one(field);
    if field.is_multi_value() {
        return json!([one]);
    }
    one
}

fn one(field: &Field) -> Value {
    if let Some(option) = field.options.first() {
        return json!(option.value);
    }
    match field.field_type {
        kind if kind.is_boolean() => json!(true),
        kind if kind.is_number() => number(field),
        FieldType::Summary => json!(1),
        FieldType::Formula => Value::Null,
        FieldType::Date => json!("2026-05-30"),
        FieldType::Datetime => json!(MOMENT),
        FieldType::Time => json!("08:00:00"),
        FieldType::Email => json!("ada@example.com"),
        FieldType::Url => json!("https://example.com/"),
        FieldType::Phone => json!("+49 30 123456"),
        FieldType::Color => json!("#3366cc"),
        FieldType::Secret => json!("••••••••"),
        FieldType::Json | FieldType::Record | FieldType::Composite => json!({}),
        FieldType::Location => json!({"lat": 52.52, "lng": 13.405}),
        FieldType::Address => json!({"street": "Unter den Linden 1", "city": "Berlin"}),
        FieldType::Vector => json!([0.5]),
        FieldType::Repeater => json!([]),
        kind if kind.is_reference() => json!(ID),
        _ if field.name == "id" => json!(ID),
        _ => text(field),
    }
}

/// A number within the limits.
fn number(field: &Field) -> Value {
    let wished = field.min.unwrap_or(1.0).max(1.0);
    let number = field.max.map_or(wished, |max| wished.min(max));
    if number.fract() == 0.0 && number.abs() < 9.0e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}

/// The field's label, in the length that it takes.
fn text(field: &Field) -> Value {
    let mut text = field.label.clone();
    if let Some(most) = field.max_length.and_then(|most| usize::try_from(most).ok()) {
        text = text.chars().take(most).collect();
    }
    let least = field
        .min_length
        .and_then(|least| usize::try_from(least).ok());
    let short = least
        .unwrap_or_default()
        .min(255)
        .saturating_sub(text.chars().count());
    text.extend(std::iter::repeat_n('x', short));
    json!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_what_is_required_and_nothing_of_the_servers() {
        let value = json!({"fields": {
            "note": {"type": "textarea"},
            "subject": {"type": "text", "required": true, "minLength": 12, "maxLength": 80},
            "status": {"type": "select", "options": ["open", "closed"]},
            "score": {"type": "number", "min": -5, "max": 0.5},
            "customer": {"type": "lookup", "reference": "customer"},
            "pin": {"type": "password"}
        }});
        let object = Object::from_value("ticket", &value).0.unwrap();
        let object = object.with_system_fields();
        let create = create(&object);
        assert_eq!(
            create,
            json!({"subject": "Subjectxxxxx", "note": "Note", "status": "open", "score": 0.5,
                "pin": "Pin"})
        );
        let record = record(&object);
        assert_eq!(record["id"], ID);
        assert_eq!(record["customer"], ID);
        assert!(record.get("pin").is_none());
    }
}
