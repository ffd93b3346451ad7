//! What an action takes (docs/reference/automation.md, "Input validation"): one schema to show, and one check
//! of what came. Both follow the shape of the parameter's type, so that what fits the schema passes.

use serde_json::{Map, Value, json};

use crate::field::{Field, FieldType};
use crate::object::title_case;
use crate::reader::Reader;
use crate::shape::Shape;

/// The type of a parameter or a variable: that of a field, or a word that is no type of field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// As a field of that type.
    Field(FieldType),
    /// A whole number.
    Integer,
    /// A list of anything.
    List,
    /// A free object.
    Object,
    /// Anything.
    Any,
}

impl ParamType {
    /// Reads the word used in metadata; every word that is not known means text.
    pub fn parse(word: &str) -> Self {
        match word {
            // These are no types of field, or mean another one there.
            "integer" | "int" => ParamType::Integer,
            "array" | "list" => ParamType::List,
            "object" => ParamType::Object,
            "any" => ParamType::Any,
            "checkbox" => ParamType::Field(FieldType::Boolean),
            "double" => ParamType::Field(FieldType::Number),
            other => ParamType::Field(FieldType::parse(other).unwrap_or(FieldType::Text)),
        }
    }

    /// What one value of it is in JSON.
    pub fn shape(self) -> Shape {
        match self {
            ParamType::Field(field_type) => field_type.shape(),
            ParamType::Integer => Shape::Integer,
            ParamType::List => Shape::List,
            ParamType::Object => Shape::Object,
            ParamType::Any => Shape::Any,
        }
    }
}

/// A parameter as it is declared: what it does not say is as the field has it that it stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionParam {
    /// Its name: `name`, or that of the field.
    pub name: String,
    /// The field it stands for.
    pub field: Option<String>,
    /// The object that has the field, where it is not the action's.
    pub object_override: Option<String>,
    /// Name for people.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it holds.
    pub param_type: Option<ParamType>,
    /// Whether it has to be given.
    pub required: Option<bool>,
    /// The values it may have.
    pub options: Option<Vec<Value>>,
    /// Whether it is a list of such values.
    pub multiple: Option<bool>,
    /// What stands for it where nothing is given.
    pub default: Option<Value>,
    /// The object whose records it names, for a picker.
    pub reference: Option<String>,
}

impl ActionParam {
    /// Reads one; nothing where it has no name.
    pub(crate) fn read(name: Option<&str>, reader: &Reader<'_>) -> Option<Self> {
        let field = reader.string(&["field"]);
        let name = reader.string(&["name"]).or_else(|| name.map(str::to_owned));
        let Some(name) = name.or_else(|| field.clone()) else {
            reader.warn(
                "NAME_MISSING",
                reader.path.clone(),
                "the parameter has no name; it is left out".to_owned(),
                "add `name`, or `field` with the field it stands for",
            );
            return None;
        };
        let word = reader.string(&["type"]);
        Some(Self {
            name,
            field,
            object_override: reader.string(&["objectOverride"]),
            label: reader.string(&["label"]),
            description: reader.string(&["description", "helpText"]),
            param_type: word.as_deref().map(ParamType::parse),
            required: reader.flag(&["required"]),
            options: reader.raw(&["options"]).and_then(options),
            multiple: reader.flag(&["multiple"]),
            default: reader.raw(&["defaultValue"]).cloned(),
            reference: reader.string(&["reference", "referenceTo"]),
        })
    }

    /// The parameters that a list, or a map keyed by name, declares; `None` where it declares none,
    /// and anything passes.
    pub(crate) fn read_all(reader: &Reader<'_>, keys: &[&str]) -> Option<Vec<Self>> {
        let entries = reader.entries(keys);
        if entries.is_empty() {
            return None;
        }
        let mut params = Vec::with_capacity(entries.len());
        for entry in entries {
            let Value::Object(map) = entry.value else {
                reader.warn(
                    "WRONG_TYPE",
                    entry.path,
                    "a parameter must be an object; left out".to_owned(),
                    "write it as a map with `name` and `type`",
                );
                continue;
            };
            let reader = Reader::over(map, entry.path, reader.sink);
            params.extend(Self::read(entry.name.as_deref(), &reader));
        }
        Some(params)
    }

    /// The parameter with what it inherits from the field it stands for.
    pub fn resolve(&self, field: Option<&Field>) -> Param {
        let inherited_options = field.map(|field| {
            let values = field.options.iter();
            values
                .map(|option| Value::from(option.value.as_str()))
                .collect()
        });
        // A label that was made of the name tells nothing that the name does not.
        let inherited_label = field.map(|field| &field.label).filter(|label| {
            Some(label.as_str()) != self.field.as_deref().map(title_case).as_deref()
        });
        let shape = match (self.param_type, field) {
            (Some(own), _) => own.shape(),
            // Records round: only what is declared to be whole has to be given so.
            (None, Some(field)) => match field.field_type {
                FieldType::Number if !field.is_integer => Shape::Number,
                _ => field.shape(),
            },
            (None, None) => Shape::Text,
        };
        Param {
            name: self.name.clone(),
            label: self.label.clone().or_else(|| inherited_label.cloned()),
            description: self.description.clone(),
            shape,
            required: self
                .required
                .or(field.map(|field| field.required))
                .unwrap_or(false),
            options: self
                .options
                .clone()
                .or(inherited_options)
                .unwrap_or_default(),
            multiple: self
                .multiple
                .or(field.map(|field| field.multiple))
                .unwrap_or(false),
            default: self
                .default
                .clone()
                .or_else(|| field.and_then(|field| field.default_value.clone())),
        }
    }
}

/// Values of options: `[{label, value}]` or plain values.
fn options(value: &Value) -> Option<Vec<Value>> {
    let list = value.as_array()?.iter();
    Some(
        list.map(|option| option.get("value").unwrap_or(option).clone())
            .collect(),
    )
}

/// A parameter, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What one value is.
    pub shape: Shape,
    /// Whether it has to be given, or have a default.
    pub required: bool,
    /// The values it may have; empty for any.
    pub options: Vec<Value>,
    /// Whether it is a list of such values. A shape that is a list is none of lists.
    pub multiple: bool,
    /// What stands for it where nothing is given.
    pub default: Option<Value>,
}

impl Param {
    /// Whether a caller has to give it.
    pub fn is_needed(&self) -> bool {
        self.required && self.default.is_none()
    }

    /// Whether it is a list, and what each member is.
    fn member(&self) -> (bool, Shape) {
        match self.shape.item() {
            Some(item) => (true, item),
            None => (self.multiple, self.shape),
        }
    }

    /// Whether the options are what the type says; where they are not, they count.
    fn is_typed(&self, member: Shape) -> bool {
        self.options.iter().all(|option| member.fits(option))
    }

    /// As JSON Schema.
    pub fn schema(&self) -> Value {
        let (is_list, member) = self.member();
        let mut one = match self.is_typed(member) {
            true => member.schema(),
            false => Map::new(),
        };
        if !self.options.is_empty() {
            one.insert("enum".to_owned(), Value::Array(self.options.clone()));
        }
        let mut schema = match is_list {
            true => Map::from_iter([
                ("type".to_owned(), json!("array")),
                ("items".to_owned(), Value::Object(one)),
            ]),
            false => one,
        };
        if let Some(text) = self.description.as_ref().or(self.label.as_ref()) {
            schema.insert("description".to_owned(), json!(text));
        }
        if let Some(default) = &self.default {
            schema.insert("default".to_owned(), default.clone());
        }
        Value::Object(schema)
    }

    fn check(&self, value: &Value) -> Option<Violation> {
        let (is_list, member) = self.member();
        let wrong = |what: &str| {
            let code = ViolationCode::InvalidType;
            Some(Violation::new(&self.name, code, format!("must be {what}")))
        };
        let values = match (is_list, value) {
            (true, Value::Array(values)) => values.as_slice(),
            (true, _) => return wrong("a list"),
            (false, value) => std::slice::from_ref(value),
        };
        let is_typed = self.is_typed(member);
        for value in values {
            if is_typed && !member.fits(value) {
                return wrong(match self.multiple || !is_list {
                    true => member.described(),
                    false => self.shape.described(),
                });
            }
            if !self.options.is_empty() && !self.options.contains(value) {
                let listed: Vec<String> = self.options.iter().map(shown).collect();
                let text = format!("must be one of {}", listed.join(", "));
                return Some(Violation::new(
                    &self.name,
                    ViolationCode::InvalidOption,
                    text,
                ));
            }
        }
        None
    }
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// What is wrong with one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The name of the parameter.
    pub param: String,
    /// What is wrong.
    pub code: ViolationCode,
    /// In words.
    pub message: String,
}

/// What can be wrong with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViolationCode {
    /// It was not given.
    Required,
    /// No parameter has that name.
    UnknownField,
    /// It is not of its type.
    InvalidType,
    /// It is none of the options.
    InvalidOption,
}

impl ViolationCode {
    /// The word in an error's details.
    pub fn as_str(self) -> &'static str {
        match self {
            ViolationCode::Required => "required",
            ViolationCode::UnknownField => "unknown_field",
            ViolationCode::InvalidType => "invalid_type",
            ViolationCode::InvalidOption => "invalid_option",
        }
    }
}

impl Violation {
    fn new(param: &str, code: ViolationCode, text: impl AsRef<str>) -> Self {
        Self {
            param: param.to_owned(),
            code,
            message: format!("`{param}` {}", text.as_ref()),
        }
    }
}

/// The parameters as JSON Schema; without declared ones an object of anything.
pub fn params_schema(params: Option<&[Param]>) -> Value {
    let Some(params) = params else {
        return json!({"type": "object"});
    };
    let properties = params
        .iter()
        .map(|param| (param.name.clone(), param.schema()));
    let properties: Map<String, Value> = properties.collect();
    let required = params.iter().filter(|param| param.is_needed());
    let required: Vec<&str> = required.map(|param| &*param.name).collect();
    let mut schema =
        json!({"type": "object", "properties": properties, "additionalProperties": false});
    // OpenAPI 3.0 has no empty list of required properties.
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// Brings an input in order: fills in the defaults, then says everything that is missing, unknown or
/// does not fit. Null counts as not given.
pub fn check_params(params: &[Param], input: &mut Map<String, Value>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for param in params {
        let given = input.get(&param.name).filter(|value| !value.is_null());
        if given.is_none()
            && let Some(default) = &param.default
        {
            input.insert(param.name.clone(), default.clone());
        }
        match input.get(&param.name) {
            None | Some(Value::Null) if param.required => {
                let code = ViolationCode::Required;
                violations.push(Violation::new(&param.name, code, "is required"));
            }
            None | Some(Value::Null) => {}
            Some(value) => violations.extend(param.check(value)),
        }
    }
    for key in input.keys() {
        if !params.iter().any(|param| param.name == *key) {
            let code = ViolationCode::UnknownField;
            violations.push(Violation::new(key, code, "is no parameter of the action"));
        }
    }
    violations
}

#[cfg(test)]
mod tests;
