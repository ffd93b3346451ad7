//! Messages as OpenAPI 3.0 schemas, from the same shapes that bodies are read and printed by.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use prost_reflect::{DescriptorPool, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::reference;
use crate::{
    comments::Comments,
    shape::{Field, Kind, Shape},
};

/// Which way a message travels: what has to be there differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the service. What the contract calls required has to be there, and nothing unknown.
    In,
    /// From the service. Everything that is always printed is there.
    Out,
}

/// Makes schemas; those of messages become components.
pub(super) struct Schemas {
    pub(super) made: BTreeMap<String, Value>,
    pool: DescriptorPool,
    comments: HashMap<String, Comments>,
}

impl Schemas {
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        Self {
            made: BTreeMap::new(),
            pool: pool.clone(),
            comments: HashMap::new(),
        }
    }

    /// A reference to the component of a message; its content where `skip` leaves fields out.
    pub(super) fn message(&mut self, shape: &Arc<Shape>, way: Way, skip: &[usize]) -> Value {
        if !skip.is_empty() {
            return self.content(shape, way, skip);
        }
        let name = match way {
            // The same message both ways: what is required differs.
            Way::In if !shape.name.ends_with("Request") => format!("{}.Input", shape.name),
            Way::In | Way::Out => shape.name.clone(),
        };
        if !self.made.contains_key(&name) {
            let content = self.content(shape, way, skip);
            self.made.insert(name.clone(), content);
        }
        reference(&name)
    }

    fn content(&mut self, shape: &Arc<Shape>, way: Way, skip: &[usize]) -> Value {
        let alone = shape.transparent.map(|position| {
            let field = &shape.fields[position];
            self.field(shape, field, way)
        });
        let shown = |position: &usize| {
            let hidden = shape.fields[*position].hidden || shape.transparent == Some(*position);
            !hidden && !skip.contains(position)
        };
        let shown: Vec<usize> = (0..shape.fields.len()).filter(shown).collect();
        if let (Some(alone), true) = (&alone, shown.is_empty()) {
            return alone.clone();
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for position in shown {
            let field = &shape.fields[position];
            let always = match way {
                Way::In => field.required,
                Way::Out => !field.presence || field.nullable,
            };
            if always {
                required.push(Value::from(field.json.as_str()));
            }
            properties.insert(field.json.clone(), self.field(shape, field, way));
        }
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        let comment = self.comment(shape, None);
        if !comment.is_empty() {
            schema.insert("description".to_owned(), json!(comment));
        }
        schema.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            schema.insert("required".to_owned(), Value::Array(required));
        }
        if way == Way::In {
            schema.insert("additionalProperties".to_owned(), json!(false));
        }
        match alone {
            None => Value::Object(schema),
            // Where any object may stand alone, that is all there is to say; generators stumble
            // over the union, which would say the same.
            Some(alone) if alone["type"] == "object" && alone.get("properties").is_none() => {
                schema.remove("required");
                schema.remove("additionalProperties");
                Value::Object(schema)
            }
            Some(alone) => json!({"anyOf": [schema, alone]}),
        }
    }

    /// The schema of a field with its description.
    pub(super) fn field(&mut self, shape: &Arc<Shape>, field: &Field, way: Way) -> Value {
        let one = self.value(field, way);
        let mut schema = if field.repeated {
            let mut list = Map::new();
            list.insert("type".to_owned(), json!("array"));
            list.insert("items".to_owned(), Value::Object(one));
            list
        } else {
            one
        };
        // Beside `$ref` nothing counts in 3.0.
        if let Some(target) = schema.remove("$ref") {
            schema.insert("allOf".to_owned(), json!([{"$ref": target}]));
        }
        if field.nullable {
            // Without a type beside it `nullable` counts for nothing; a reference is to a message.
            if schema.contains_key("allOf") {
                schema.insert("type".to_owned(), json!("object"));
            }
            if schema.contains_key("type") {
                schema.insert("nullable".to_owned(), json!(true));
            }
        }
        let comment = self.comment(shape, Some(field.number));
        if comment.is_empty() && schema.len() == 1 && schema.contains_key("allOf") {
            return schema["allOf"][0].clone();
        }
        if !comment.is_empty() {
            schema.insert("description".to_owned(), json!(comment));
        }
        Value::Object(schema)
    }

    /// The schema of one value, whether or not the field is a list.
    fn value(&mut self, field: &Field, way: Way) -> Map<String, Value> {
        let schema = match &field.kind {
            Kind::Json => field.schema.clone().unwrap_or_else(|| json!({})),
            Kind::Message(shape) => self.message(shape, way, &[]),
            kind => scalar(kind),
        };
        match schema {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// The comment on a message, or on its field of that number.
    pub(super) fn comment(&mut self, shape: &Shape, field: Option<u32>) -> String {
        let Some(message) = self.pool.get_message_by_name(&shape.name) else {
            return String::new();
        };
        let path = match field {
            None => message.path().to_vec(),
            Some(number) => match message.get_field(number) {
                Some(field) => field.path().to_vec(),
                None => return String::new(),
            },
        };
        self.comments_of(&message).at(&path)
    }

    fn comments_of(&mut self, message: &MessageDescriptor) -> &Comments {
        let file = message.parent_file();
        self.comments
            .entry(file.name().to_owned())
            .or_insert_with(|| Comments::of(&file))
    }
}

/// The schema of a parameter's or property's plain value.
pub(super) fn scalar(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({"type": "integer", "format": "int32"})
        }
        Kind::Uint32 | Kind::Fixed32 => {
            json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX})
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            json!({"type": "integer", "format": "int64"})
        }
        Kind::Uint64 | Kind::Fixed64 => {
            json!({"type": "integer", "format": "int64", "minimum": 0})
        }
        Kind::Float => json!({"type": "number", "format": "float"}),
        Kind::Double => json!({"type": "number", "format": "double"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "format": "byte"}),
        Kind::Timestamp => json!({"type": "string", "format": "date-time"}),
        Kind::Enum(values) => {
            let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
            json!({"type": "string", "enum": names})
        }
        Kind::Json | Kind::Message(_) => json!({}),
    }
}
