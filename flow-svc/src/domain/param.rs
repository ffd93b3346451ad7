//! What an action takes, and whether what came fits (spec/automation.md §1, "Input validation").

use mesh::{Error, FieldViolation, Result, registry::Snapshot};
use serde_json::{Map, Value, json};

/// A declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) label: Option<String>,
    pub(crate) value_type: ValueType,
    pub(crate) is_required: bool,
    /// The values it may have; empty for any.
    pub(crate) options: Vec<Value>,
    /// Whether it is a list of such values.
    pub(crate) is_multiple: bool,
    pub(crate) default: Option<Value>,
}

/// The kinds of JSON value a field type takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    Text,
    Number,
    Integer,
    Boolean,
    Date,
    DateTime,
    List,
    Object,
    Any,
}

impl ValueType {
    /// What a field type holds.
    pub(crate) fn of(field_type: &str) -> Self {
        match field_type {
            "number" | "currency" | "percent" | "rating" | "slider" | "progress" => Self::Number,
            "integer" | "autonumber" => Self::Integer,
            "boolean" | "checkbox" | "toggle" => Self::Boolean,
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "multiselect" | "checkboxes" | "tags" | "array" => Self::List,
            "object" => Self::Object,
            "json" | "any" | "location" | "address" | "file" | "image" | "composite" => Self::Any,
            // Text in all its forms, selections, references.
            _ => Self::Text,
        }
    }

    /// As JSON Schema.
    pub(crate) fn schema(self) -> Value {
        match self {
            Self::Text => json!({"type": "string"}),
            Self::Number => json!({"type": "number"}),
            Self::Integer => json!({"type": "integer"}),
            Self::Boolean => json!({"type": "boolean"}),
            Self::Date => json!({"type": "string", "format": "date"}),
            Self::DateTime => json!({"type": "string", "format": "date-time"}),
            Self::List => json!({"type": "array", "items": {}}),
            Self::Object => json!({"type": "object"}),
            Self::Any => json!({}),
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Integer => "an integer",
            Self::Boolean => "true or false",
            Self::Date => "a date like 2026-12-31",
            Self::DateTime => "a moment like 2026-12-31T12:00:00Z",
            Self::List => "a list",
            Self::Object => "an object",
            Self::Any => "a value",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::Date => value.as_str().is_some_and(is_date),
            Self::DateTime => value.as_str().is_some_and(|text| {
                time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
                    .is_ok()
                    || is_date(text)
            }),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
            Self::Any => true,
        }
    }
}

fn is_date(text: &str) -> bool {
    let form = time::macros::format_description!("[year]-[month]-[day]");
    time::Date::parse(text, form).is_ok()
}

/// The declared parameters; none where nothing is declared, and anything passes.
pub(crate) fn declared(
    value: Option<&Value>,
    object: Option<&str>,
    snapshot: &Snapshot,
) -> Option<Vec<Param>> {
    let list = value?.as_array().filter(|list| !list.is_empty())?;
    Some(
        list.iter()
            .filter_map(|value| param(value, object, snapshot))
            .collect(),
    )
}

fn param(value: &Value, object: Option<&str>, snapshot: &Snapshot) -> Option<Param> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let field = text("field");
    let name = text("name").or(field)?;
    let object = text("objectOverride").or(object);
    // What is not said here is as the object's field has it.
    let inherited = field
        .zip(object)
        .and_then(|(field, object)| field_of(snapshot, object, field));
    let either = |key: &str| {
        let own = value.get(key).filter(|value| !value.is_null());
        own.or_else(|| inherited?.get(key))
    };
    let flag = |key: &str| either(key) == Some(&Value::Bool(true));
    let field_type = either("type").and_then(Value::as_str).unwrap_or("text");
    Some(Param {
        name: name.to_owned(),
        label: either("label").and_then(Value::as_str).map(str::to_owned),
        value_type: ValueType::of(field_type),
        is_required: flag("required"),
        options: options(either("options")),
        is_multiple: flag("multiple"),
        default: either("defaultValue").cloned(),
    })
}

fn field_of<'s>(snapshot: &'s Snapshot, object: &str, field: &str) -> Option<&'s Value> {
    let fields = snapshot.item("object", object)?.value.get("fields")?;
    match fields {
        Value::Object(fields) => fields.get(field),
        Value::Array(fields) => fields.iter().find(|one| one["name"] == *field),
        _ => None,
    }
}

/// Values of options: `[{label, value}]` or plain values.
fn options(value: Option<&Value>) -> Vec<Value> {
    let list = value.and_then(Value::as_array);
    let list = list.into_iter().flatten();
    list.map(|option| option.get("value").unwrap_or(option).clone())
        .collect()
}

/// Brings the input of an action in order: defaults, then checks.
///
/// # Errors
/// VALIDATION_ERROR that names each field that is missing, unknown or does not fit.
pub(crate) fn check(params: &[Param], input: &mut Map<String, Value>) -> Result<()> {
    let mut problems = Vec::new();
    for param in params {
        let given = input.get(&param.name).filter(|value| !value.is_null());
        if given.is_none()
            && let Some(default) = &param.default
        {
            input.insert(param.name.clone(), default.clone());
        }
        match input.get(&param.name) {
            None | Some(Value::Null) if param.is_required => {
                problems.push(violation(&param.name, "required", "is required"));
            }
            None | Some(Value::Null) => {}
            Some(value) => problems.extend(fit(param, value)),
        }
    }
    for key in input.keys() {
        if !params.iter().any(|param| param.name == *key) {
            problems.push(violation(
                key,
                "unknown_field",
                "is no parameter of the action",
            ));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::fields(problems)),
    }
}

fn fit(param: &Param, value: &Value) -> Option<FieldViolation> {
    let many = param.is_multiple || param.value_type == ValueType::List;
    let wrong = |what: &str| {
        Some(violation(
            &param.name,
            "invalid_type",
            &format!("must be {what}"),
        ))
    };
    let values = match (many, value) {
        (true, Value::Array(values)) => values.as_slice(),
        (true, _) => return wrong("a list"),
        (false, value) => std::slice::from_ref(value),
    };
    for value in values {
        let is_item = many && param.value_type == ValueType::List;
        if !is_item && !param.value_type.fits(value) {
            return wrong(param.value_type.what());
        }
        if !param.options.is_empty() && !param.options.contains(value) {
            let listed: Vec<String> = param.options.iter().map(shown).collect();
            let text = format!("must be one of {}", listed.join(", "));
            return Some(violation(&param.name, "invalid_option", &text));
        }
    }
    None
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn violation(name: &str, code: &str, text: &str) -> FieldViolation {
    FieldViolation::new(name, code, format!("`{name}` {text}"))
}

/// The parameters as JSON Schema.
pub(crate) fn schema(params: Option<&[Param]>) -> Value {
    let Some(params) = params else {
        return json!({"type": "object"});
    };
    let mut properties = Map::new();
    for param in params {
        let mut one = param.value_type.schema();
        if !param.options.is_empty() {
            one["enum"] = Value::Array(param.options.clone());
        }
        if param.is_multiple {
            one = json!({"type": "array", "items": one});
        }
        if let Some(label) = &param.label {
            one["description"] = json!(label);
        }
        if let Some(default) = &param.default {
            one["default"] = default.clone();
        }
        properties.insert(param.name.clone(), one);
    }
    let required = params.iter().filter(|param| param.is_required);
    let required: Vec<&str> = required.map(|param| &*param.name).collect();
    let mut schema =
        json!({"type": "object", "properties": properties, "additionalProperties": false});
    // OpenAPI 3.0 has no empty list of required properties.
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}
