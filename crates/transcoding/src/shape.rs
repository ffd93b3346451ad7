//! What the hot path knows of a message: its fields, their JSON names and how they are written.
//! Made once from the descriptors, so that no request asks them.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context as _, bail, ensure};
use prost_reflect::{
    Cardinality, ExtensionDescriptor, FieldDescriptor, Kind as Reflected, MessageDescriptor,
};
use proto::annotations::v1::Field as Options;

/// A message type.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Full name, for errors.
    pub(crate) name: String,
    /// The fields, by number.
    pub(crate) fields: Vec<Field>,
    /// The field that, when set, prints in the message's place.
    pub(crate) transparent: Option<usize>,
}

/// A field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    /// Name in the proto.
    pub(crate) name: String,
    /// Name in JSON, lowerCamel.
    pub(crate) json: String,
    /// `"name":` as it is printed.
    pub(crate) key: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    /// Whether unset and default are told apart.
    pub(crate) presence: bool,
    pub(crate) nullable: bool,
    pub(crate) hidden: bool,
    /// Whether the HTTP body streams into it.
    pub(crate) raw_body: bool,
    /// Further query parameter names.
    pub(crate) aliases: Vec<String>,
    /// Whether a request has to give it.
    pub(crate) required: bool,
    /// What OpenAPI says of raw JSON.
    pub(crate) schema: Option<serde_json::Value>,
}

/// How a value is written.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Bool,
    Int32,
    Sint32,
    Sfixed32,
    Uint32,
    Fixed32,
    Int64,
    Sint64,
    Sfixed64,
    Uint64,
    Fixed64,
    Float,
    Double,
    String,
    Bytes,
    /// Bytes that are JSON text.
    Json,
    /// Names and numbers.
    Enum(Arc<[(String, i32)]>),
    Timestamp,
    Message(Arc<Shape>),
}

impl Shape {
    /// The field of that proto name.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The visible field of that JSON or proto name.
    pub(crate) fn visible(&self, key: &str) -> Option<usize> {
        self.fields
            .iter()
            .position(|field| !field.hidden && (field.json == key || field.name == key))
    }

    /// The field of that number.
    pub(crate) fn numbered(&self, number: u32) -> Option<usize> {
        self.fields
            .binary_search_by_key(&number, |field| field.number)
            .ok()
    }

    /// The numbers along a path of names, for [`crate::wire::find`], and the field at its end.
    pub(crate) fn path(&self, names: &str) -> Option<(Vec<u32>, &Field)> {
        let mut shape = self;
        let mut numbers = Vec::new();
        let mut names = names.split('.').peekable();
        while let Some(name) = names.next() {
            let field = &shape.fields[shape.named(name)?];
            numbers.push(field.number);
            match (&field.kind, names.peek()) {
                (_, None) => return Some((numbers, field)),
                (Kind::Message(inner), Some(_)) if !field.repeated => shape = inner,
                _ => return None,
            }
        }
        None
    }
}

/// Makes shapes, each message type once.
pub(crate) struct Shapes {
    option: ExtensionDescriptor,
    made: HashMap<String, Arc<Shape>>,
    making: Vec<String>,
}

impl Shapes {
    /// `option` is the descriptor of `objectmesh.annotations.v1.field`.
    pub(crate) fn new(option: ExtensionDescriptor) -> Self {
        Self {
            option,
            made: HashMap::new(),
            making: Vec::new(),
        }
    }

    /// The shape of a message type.
    ///
    /// # Errors
    /// When a field that REST can see has no JSON form here.
    pub(crate) fn of(&mut self, message: &MessageDescriptor) -> anyhow::Result<Arc<Shape>> {
        let name = message.full_name().to_owned();
        if let Some(made) = self.made.get(&name) {
            return Ok(made.clone());
        }
        ensure!(
            !self.making.contains(&name),
            "{name} contains itself; recursive messages travel as raw JSON"
        );
        self.making.push(name.clone());
        let mut fields = Vec::new();
        let mut transparent = None;
        // A body in a type of its own is passed on as it is, never as JSON; its extensions go nowhere.
        let seen = |field: &FieldDescriptor| field.full_name() != "google.api.HttpBody.extensions";
        for descriptor in message.fields().filter(seen) {
            let (field, options) = self.field(&descriptor)?;
            if options.transparent {
                ensure!(transparent.is_none(), "{name} has two transparent fields");
                ensure!(
                    field.presence,
                    "{}: transparent needs presence",
                    descriptor.full_name()
                );
                transparent = Some(fields.len());
            }
            fields.push(field);
        }
        self.making.pop();
        let shape = Arc::new(Shape {
            name: name.clone(),
            fields,
            transparent,
        });
        self.made.insert(name, shape.clone());
        Ok(shape)
    }

    fn field(&mut self, descriptor: &FieldDescriptor) -> anyhow::Result<(Field, Options)> {
        let name = descriptor.full_name();
        let options: Options = descriptor
            .options()
            .get_extension(&self.option)
            .as_message()
            .with_context(|| format!("{name}: `field` is a message"))?
            .transcode_to()?;
        let repeated = descriptor.cardinality() == Cardinality::Repeated;
        let presence = descriptor.supports_presence();
        ensure!(
            !options.nullable || presence,
            "{name}: nullable needs presence, or null could never be told apart"
        );
        let kind = if options.hidden && matches!(descriptor.kind(), Reflected::Message(_)) {
            // Never printed and never read, so its content needs no form.
            Kind::Bytes
        } else {
            self.kind(descriptor, &options)
                .with_context(|| name.to_owned())?
        };
        let json = descriptor.json_name().to_owned();
        let field = Field {
            number: descriptor.number(),
            name: descriptor.name().to_owned(),
            key: format!("{}:", serde_json::Value::from(json.as_str())).into_bytes(),
            json,
            kind,
            repeated,
            presence,
            nullable: options.nullable,
            hidden: options.hidden,
            raw_body: options.raw_body,
            aliases: options.aliases.clone(),
            required: options.required,
            schema: match options.schema.as_str() {
                "" => None,
                text => {
                    Some(serde_json::from_str(text).with_context(|| format!("{name}: schema"))?)
                }
            },
        };
        Ok((field, options))
    }

    fn kind(&mut self, descriptor: &FieldDescriptor, options: &Options) -> anyhow::Result<Kind> {
        ensure!(!descriptor.is_map(), "maps travel as raw JSON");
        ensure!(!descriptor.is_group(), "groups are not supported");
        Ok(match descriptor.kind() {
            Reflected::Bytes if options.raw_json => Kind::Json,
            _ if options.raw_json => bail!("raw_json is for bytes"),
            Reflected::Bytes if options.raw_body && !options.hidden && !descriptor.is_list() => {
                Kind::Bytes
            }
            _ if options.raw_body => bail!("raw_body is for one field of bytes"),
            Reflected::Bool => Kind::Bool,
            Reflected::Int32 => Kind::Int32,
            Reflected::Sint32 => Kind::Sint32,
            Reflected::Sfixed32 => Kind::Sfixed32,
            Reflected::Uint32 => Kind::Uint32,
            Reflected::Fixed32 => Kind::Fixed32,
            Reflected::Int64 => Kind::Int64,
            Reflected::Sint64 => Kind::Sint64,
            Reflected::Sfixed64 => Kind::Sfixed64,
            Reflected::Uint64 => Kind::Uint64,
            Reflected::Fixed64 => Kind::Fixed64,
            Reflected::Float => Kind::Float,
            Reflected::Double => Kind::Double,
            Reflected::String => Kind::String,
            Reflected::Bytes => Kind::Bytes,
            Reflected::Enum(values) => Kind::Enum(
                values
                    .values()
                    .map(|value| (value.name().to_owned(), value.number()))
                    .collect(),
            ),
            Reflected::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => Kind::Timestamp,
                other if other.starts_with("google.protobuf.") => {
                    bail!("{other} has no REST form yet")
                }
                _ => {
                    let shape = self.of(&message)?;
                    let streamed = shape.fields.iter().any(|field| field.raw_body);
                    ensure!(!streamed, "raw_body stands in the request itself");
                    Kind::Message(shape)
                }
            },
        })
    }
}
