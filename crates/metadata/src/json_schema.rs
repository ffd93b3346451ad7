//! JSON Schema of the records of an object, for OpenAPI 3.0 documents and AI tools.

use serde_json::{Map, Value, json};

use crate::field::{Field, FieldType};
use crate::object::Object;
use crate::shape::Shape;

/// A record as it is read. Every property may be missing: rights decide.
pub fn record(object: &Object) -> Value {
    let readable = object.fields.values().filter(|field| is_readable(field));
    let properties = readable.map(|field| {
        let mut schema = property(field);
        if field.system || !field.is_writable() {
            schema.insert("readOnly".to_owned(), Value::Bool(true));
        }
        (field.name.clone(), Value::Object(schema))
    });
    document(object, properties.collect(), Vec::new())
}

/// The body of a create.
pub fn create(object: &Object) -> Value {
    let required = writable(object)
        .filter(|field| field.required && !field.system && field.effective_default().is_none())
        .map(|field| Value::from(field.name.as_str()))
        .collect();
    document(object, write_properties(object), required)
}

/// The body of a change: any of the writable fields.
pub fn update(object: &Object) -> Value {
    let mut properties = write_properties(object);
    properties.remove("id");
    document(object, properties, Vec::new())
}

/// The schema of one field's value.
pub fn field(field: &Field) -> Value {
    Value::Object(property(field))
}

fn document(object: &Object, properties: Map<String, Value>, required: Vec<Value>) -> Value {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("title".to_owned(), object.label.as_str().into());
    if let Some(description) = &object.description {
        schema.insert("description".to_owned(), description.as_str().into());
    }
    schema.insert("properties".to_owned(), Value::Object(properties));
    // OpenAPI 3.0 forbids an empty list.
    if !required.is_empty() {
        schema.insert("required".to_owned(), Value::Array(required));
    }
    Value::Object(schema)
}

fn is_readable(field: &Field) -> bool {
    !field.internal && field.field_type != FieldType::Password
}

fn writable(object: &Object) -> impl Iterator<Item = &Field> {
    object
        .fields
        .values()
        .filter(|field| field.is_writable() && !field.internal)
}

fn write_properties(object: &Object) -> Map<String, Value> {
    let property = |field: &Field| (field.name.clone(), Value::Object(property(field)));
    writable(object).map(property).collect()
}

fn property(field: &Field) -> Map<String, Value> {
    let mut schema = if field.is_multi_value() {
        let mut list = Map::new();
        list.insert("type".to_owned(), "array".into());
        list.insert("items".to_owned(), Value::Object(value(field)));
        list
    } else {
        value(field)
    };
    schema.insert("title".to_owned(), field.label.as_str().into());
    let description = field
        .description
        .as_ref()
        .or(field.inline_help_text.as_ref());
    if let Some(description) = description {
        schema.insert("description".to_owned(), description.as_str().into());
    }
    // A list without members reads as an empty one.
    if !field.required && !field.is_multi_value() {
        allow_null(&mut schema);
    }
    if let Some(reference) = &field.reference {
        schema.insert("x-reference".to_owned(), reference.as_str().into());
    }
    schema
}

/// Lets a value be null. Without a `type` it may be anyway, and `nullable` would count for nothing.
fn allow_null(schema: &mut Map<String, Value>) {
    if let Some(first) = schema.get_mut("anyOf").and_then(|any| any.get_mut(0)) {
        first["nullable"] = Value::Bool(true);
    }
    if schema.contains_key("type") {
        schema.insert("nullable".to_owned(), Value::Bool(true));
        // A nullable enum has to list null itself.
        if let Some(Value::Array(choices)) = schema.get_mut("enum") {
            choices.push(Value::Null);
        }
    }
}

/// One value, whatever `multiple` says.
fn value(field: &Field) -> Map<String, Value> {
    let shape = match field.field_type.is_list() {
        true => field.shape().item().unwrap_or(Shape::Any),
        false => field.shape(),
    };
    let mut schema = shape.schema();
    let mut set = |key: &str, value: Value| {
        schema.insert(key.to_owned(), value);
    };
    match field.field_type {
        kind if kind.is_number() => {
            number_limit("minimum", field.min, &mut set);
            number_limit("maximum", field.max, &mut set);
        }
        kind if kind.is_text() && kind != FieldType::Richtext => {
            if kind == FieldType::Email {
                set("format", "email".into());
            }
            for (key, limit) in [
                ("minLength", field.min_length),
                ("maxLength", field.max_length),
            ] {
                if let Some(limit) = limit {
                    set(key, Value::from(limit));
                }
            }
        }
        FieldType::Repeater => set("items", parts(field)),
        FieldType::Composite if !field.sub_fields.is_empty() => {
            set("properties", parts(field)["properties"].clone());
        }
        FieldType::Password => set("writeOnly", Value::Bool(true)),
        kind if kind.is_choice() && !field.options.is_empty() => {
            let values = field.options.iter().map(|o| Value::from(o.value.as_str()));
            set("enum", values.collect());
        }
        _ => {}
    }
    schema
}

fn number_limit(key: &str, limit: Option<f64>, set: &mut impl FnMut(&str, Value)) {
    let Some(limit) = limit else {
        return;
    };
    // 100 rather than 100.0 where the limit is whole.
    let whole = limit.fract() == 0.0 && limit.abs() < 9.0e15;
    set(
        key,
        if whole {
            Value::from(limit as i64)
        } else {
            Value::from(limit)
        },
    );
}

fn parts(field: &Field) -> Value {
    let parts = field.sub_fields.values();
    let properties: Map<String, Value> = parts
        .map(|part| (part.name.clone(), Value::Object(property(part))))
        .collect();
    json!({"type": "object", "properties": properties})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Object {
        let value = json!({"fields": {
            "subject": {"type": "text", "required": true, "maxLength": 80},
            "status": {"type": "select", "options": ["open", "closed"]},
            "tags": {"type": "tags"},
            "score": {"type": "percent", "max": 100},
            "pin": {"type": "password"},
            "total": {"type": "formula", "expression": "1", "returnType": "number"},
            "state": {"type": "select", "required": true, "options": [{"value": "new", "default": true}]}
        }});
        Object::from_value("ticket", &value)
            .0
            .unwrap()
            .with_system_fields()
    }

    #[test]
    fn record_marks_what_the_server_owns_and_hides_passwords() {
        let schema = record(&ticket());
        let properties = &schema["properties"];
        assert_eq!(properties["created_at"]["readOnly"], true);
        assert_eq!(
            properties["total"],
            json!({"type": "number", "title": "Total", "nullable": true, "readOnly": true})
        );
        assert!(properties.get("pin").is_none());
        assert_eq!(
            properties["status"]["enum"],
            json!(["open", "closed", null])
        );
        assert_eq!(properties["tags"]["items"]["type"], "string");
        assert_eq!(properties["score"]["maximum"], 100);
    }

    #[test]
    fn create_requires_what_has_no_default() {
        let schema = create(&ticket());
        assert_eq!(schema["required"], json!(["subject"]));
        assert!(schema["properties"].get("total").is_none());
        assert_eq!(schema["properties"]["pin"]["writeOnly"], true);
        assert!(schema["properties"].get("id").is_some());
    }

    #[test]
    fn update_requires_nothing() {
        let schema = update(&ticket());
        assert!(schema.get("required").is_none());
        assert!(schema["properties"].get("id").is_none());
    }
}
