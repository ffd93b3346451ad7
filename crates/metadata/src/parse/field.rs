//! Fields in their old and new spellings.

use indexmap::IndexMap;
use serde_json::Value;

use crate::field::{CurrencyConfig, CurrencyMode, Field, FieldType, Unique};
use crate::naming;
use crate::parse::{option, relation};
use crate::reader::{Reader, Sink};

/// All fields of an object, or the sub-fields of a composite, without duplicates.
pub(crate) fn fields(object: &str, reader: &Reader<'_>) -> IndexMap<String, Field> {
    let mut found: IndexMap<String, Field> = IndexMap::new();
    for entry in reader.entries(&["fields"]) {
        let path = entry.path;
        let Some(field) = field(object, entry.name, entry.value, path.clone(), reader.sink) else {
            continue;
        };
        if found.contains_key(&field.name) {
            reader.error(
                "DUPLICATE_NAME",
                path,
                format!(
                    "field \"{}\" is declared twice; the first is kept",
                    field.name
                ),
                "rename or remove one of them",
            );
            continue;
        }
        if let Some(other) = found.values().find(|other| other.column == field.column) {
            reader.error(
                "DUPLICATE_COLUMN",
                path,
                format!(
                    "fields \"{}\" and \"{}\" share the column \"{}\"; \"{}\" is left out",
                    other.name, field.name, field.column, field.name
                ),
                "give one of them another `columnName`",
            );
            continue;
        }
        found.insert(field.name.clone(), field);
    }
    found
}

pub(crate) fn field(
    object: &str,
    name: Option<String>,
    value: &Value,
    path: String,
    sink: &Sink,
) -> Option<Field> {
    let reader = Reader::new(value, path, sink)?;
    let Some(name) = name else {
        reader.error(
            "NAME_MISSING",
            reader.path.clone(),
            "the field has no name; it is left out".to_owned(),
            "add `name`, or write the fields as a map keyed by name",
        );
        return None;
    };
    if !naming::is_identifier(&name) {
        reader.error(
            "INVALID_NAME",
            reader.path.clone(),
            format!("\"{name}\" is no field name; the field is left out"),
            format!(
                "{}; for example {}",
                naming::IDENTIFIER_RULE,
                naming::suggestion(&name)
            ),
        );
        return None;
    }
    let word = reader.string(&["type"]);
    let field_type = field_type(&reader, word.as_deref());
    let mut field = Field::new(name, field_type);
    presentation(&reader, &mut field);
    constraints(&reader, &mut field);
    if matches!(word.as_deref(), Some("integer" | "int")) {
        field.scale = field.scale.or(Some(0));
        field.is_integer = true;
    }
    column(&reader, &mut field);
    field.options = option::options(&reader);
    field.default_value = reader.raw(&["defaultValue", "default_value"]).cloned();
    if !relation::relation(object, &reader, &mut field) || !relation::computed(&reader, &mut field)
    {
        return None;
    }
    shapes(object, &reader, &mut field);
    Some(field)
}

fn field_type(reader: &Reader<'_>, word: Option<&str>) -> FieldType {
    let Some(word) = word else {
        reader.warn(
            "FIELD_TYPE_MISSING",
            reader.path.clone(),
            "the field has no type; it is treated as json".to_owned(),
            "add `type`, for example `type: text`",
        );
        return FieldType::Json;
    };
    FieldType::parse(word).unwrap_or_else(|| {
        let words = FieldType::ALL.into_iter().map(FieldType::as_str);
        let hint = match naming::closest(word, words) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "use one of the documented field types, such as text or number".to_owned(),
        };
        reader.warn(
            "UNKNOWN_FIELD_TYPE",
            reader.at("type"),
            format!("field type \"{word}\" is unknown; it is treated as json"),
            hint,
        );
        FieldType::Json
    })
}

fn presentation(reader: &Reader<'_>, field: &mut Field) {
    if let Some(label) = reader.string(&["label"]) {
        field.label = label;
    }
    field.description = reader.string(&["description"]);
    field.inline_help_text = reader.string(&["inlineHelpText", "helpText"]);
    field.placeholder = reader.string(&["placeholder"]);
    field.group = reader.string(&["group"]);
    field.visible_when = reader.cel(&["visibleWhen", "visibleOn"]);
    field.hidden = reader.flag(&["hidden"]).unwrap_or(false);
    field.internal = reader.guard(&["internal"], false, true);
    field.searchable = reader.flag(&["searchable"]).unwrap_or(false);
    field.track_history =
        reader.flag(&["trackHistory"]) == Some(true) || reader.flag(&["auditTrail"]) == Some(true);
    field.masking_rule = reader.raw(&["maskingRule"]).cloned();
    let capabilities = reader.raw(&["requiredPermissions"]);
    field.required_permissions = reader.strings(&["requiredPermissions"]).unwrap_or_default();
    let written = capabilities.map_or(0, |value| value.as_array().map_or(1, Vec::len));
    // A demand that cannot be read is one that nobody meets.
    field.internal |= field.required_permissions.len() < written;
}

fn constraints(reader: &Reader<'_>, field: &mut Field) {
    field.required = reader.flag(&["required"]).unwrap_or(false);
    field.required_when = reader.cel(&["requiredWhen", "conditionalRequired", "requiredOn"]);
    field.readonly = reader.guard(&["readonly", "readOnly"], false, true);
    field.readonly_when = reader.cel(&["readonlyWhen", "readonlyOn"]);
    field.multiple = reader.flag(&["multiple"]).unwrap_or(false);
    field.unique = unique(reader);
    field.index = reader.flag(&["index", "indexed"]).unwrap_or(false);
    field.external_id = reader.flag(&["externalId", "external_id"]).unwrap_or(false);
    field.min_length = reader.natural(&["minLength", "min_length"]);
    field.max_length = reader.natural(&["maxLength", "max_length"]);
    field.min = reader.number(&["min"]);
    field.max = reader.number(&["max"]);
    field.step = reader.number(&["step"]);
    field.scale = reader.natural32(&["scale"]);
    field.precision = reader.natural32(&["precision"]);
    field.pattern = reader.string(&["pattern", "regex"]);
    if field.min.zip(field.max).is_some_and(|(min, max)| min > max) {
        reader.warn(
            "EMPTY_RANGE",
            reader.path.clone(),
            "`min` is above `max`, so no value fits".to_owned(),
            "exchange them",
        );
    }
}

fn unique(reader: &Reader<'_>) -> Unique {
    match reader.raw(&["unique"]) {
        Some(Value::String(word)) if word == "global" => Unique::Global,
        Some(Value::String(word)) if word == "organization" || word == "tenant" => Unique::Yes,
        Some(_) if reader.flag(&["unique"]) == Some(true) => Unique::Yes,
        _ => Unique::No,
    }
}

fn column(reader: &Reader<'_>, field: &mut Field) {
    let Some(column) = reader.string(&["columnName", "column_name"]) else {
        return;
    };
    if naming::is_identifier(&column) {
        field.column = column;
        return;
    }
    reader.warn(
        "INVALID_NAME",
        reader.at("columnName"),
        format!("\"{column}\" is no column name; \"{}\" is used", field.name),
        naming::IDENTIFIER_RULE,
    );
}

fn shapes(object: &str, reader: &Reader<'_>, field: &mut Field) {
    if let Some(config) = reader.object(&["currencyConfig"]) {
        let mode = config.string(&["currencyMode"]);
        field.currency = Some(CurrencyConfig {
            precision: config.natural32(&["precision"]),
            mode: match mode.as_deref() {
                Some("dynamic") => CurrencyMode::Dynamic,
                _ => CurrencyMode::Fixed,
            },
            default_currency: config.string(&["defaultCurrency"]),
        });
    }
    let vector = reader.object(&["vectorConfig"]);
    field.dimensions = reader
        .natural32(&["dimensions"])
        .or_else(|| vector?.natural32(&["dimensions"]));
    field.color_format = reader.string(&["colorFormat"]);
    if field.field_type.is_media() {
        let config = reader.object(&["fileAttachmentConfig"]);
        let from_config = |keys: &[&str]| config.as_ref().and_then(|c| c.strings(keys));
        field.accept = reader
            .strings(&["accept"])
            .or_else(|| from_config(&["allowedTypes", "allowedMimeTypes"]))
            .unwrap_or_default();
        field.max_size_bytes = reader
            .natural(&["maxSize"])
            .or_else(|| config.as_ref()?.natural(&["maxSize"]));
    }
    match field.field_type {
        FieldType::Composite | FieldType::Repeater => {
            field.sub_fields = fields(object, reader);
            if field.sub_fields.is_empty() {
                reader.warn(
                    "SUB_FIELDS_MISSING",
                    reader.path.clone(),
                    format!("the {} declares no sub-fields", field.field_type.as_str()),
                    "add `fields` with the parts it is made of",
                );
            }
        }
        FieldType::Rating => field.max = field.max.or(Some(5.0)),
        FieldType::Vector if field.dimensions.is_none() => reader.warn(
            "DIMENSIONS_MISSING",
            reader.path.clone(),
            "the vector does not say how long it is".to_owned(),
            "add `dimensions` with the length of the vector",
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::DeleteBehavior;
    use serde_json::json;

    fn read(value: Value) -> (Option<Field>, Vec<String>) {
        let (field, findings) = Field::from_value("ticket", "f", &value);
        (field, findings.into_iter().map(|d| d.code).collect())
    }

    #[test]
    fn unknown_type_becomes_json_with_a_suggestion() {
        let (field, findings) = Field::from_value("ticket", "f", &json!({"type": "textt"}));
        assert_eq!(field.unwrap().field_type, FieldType::Json);
        assert_eq!(findings[0].path, "objects.ticket.fields.f.type");
        assert_eq!(findings[0].hint.as_deref(), Some("did you mean \"text\"?"));
    }

    #[test]
    fn integer_is_a_number_without_fraction() {
        let field = read(json!({"type": "integer"})).0.unwrap();
        assert_eq!(
            (field.field_type, field.scale),
            (FieldType::Number, Some(0))
        );
    }

    #[test]
    fn options_without_value_and_twice_are_left_out() {
        let (field, codes) = read(json!({"type": "select", "options": [
            "open", {"label": "No value"}, {"value": "open"}, {"value": "Closed Won", "default": true}
        ]}));
        let field = field.unwrap();
        let values: Vec<&str> = field.options.iter().map(|o| o.value.as_str()).collect();
        assert_eq!(values, ["open", "Closed Won"]);
        assert_eq!(
            codes,
            [
                "OPTION_WITHOUT_VALUE",
                "DUPLICATE_OPTION",
                "OPTION_VALUE_STYLE"
            ]
        );
        assert_eq!(field.effective_default(), Some(json!("Closed Won")));
        assert!(field.allows_option("open") && !field.allows_option("lost"));
    }

    #[test]
    fn references_in_every_spelling() {
        for key in ["reference", "referenceTo", "reference_to"] {
            let field = read(json!({"type": "lookup", key: "account"})).0.unwrap();
            assert_eq!(field.reference.as_deref(), Some("account"));
        }
        let tree = read(json!({"type": "tree"})).0.unwrap();
        assert_eq!(tree.reference.as_deref(), Some("ticket"));
    }

    #[test]
    fn master_detail_is_required_and_cascades() {
        let value =
            json!({"type": "master_detail", "reference": "a", "deleteBehavior": "set_null"});
        let field = read(value).0.unwrap();
        assert!(field.required);
        assert_eq!(field.delete_behavior, DeleteBehavior::Cascade);
        let (none, codes) = read(json!({"type": "master_detail"}));
        assert!(none.is_none());
        assert_eq!(codes, ["REFERENCE_MISSING"]);
    }

    #[test]
    fn uniqueness_words() {
        for (value, want) in [
            (json!(true), Unique::Yes),
            (json!("organization"), Unique::Yes),
            (json!("global"), Unique::Global),
            (json!(false), Unique::No),
        ] {
            let field = read(json!({"type": "text", "unique": value})).0.unwrap();
            assert_eq!(field.unique, want);
        }
    }

    #[test]
    fn computed_fields() {
        let formula = json!({"type": "formula", "formula": {"dialect": "cel", "source": "a + b"}});
        assert_eq!(
            read(formula).0.unwrap().expression.as_deref(),
            Some("a + b")
        );
        let number = read(json!({"type": "autonumber", "format": "T-{000}"}))
            .0
            .unwrap();
        assert_eq!(number.autonumber_format.as_deref(), Some("T-{000}"));
        let (none, codes) = read(json!({"type": "summary", "summaryOperations": {"object": "x"}}));
        assert!(none.is_none());
        assert_eq!(codes, ["SUMMARY_INCOMPLETE"]);
    }

    #[test]
    fn composite_reads_its_parts() {
        let field =
            read(json!({"type": "composite", "fields": [{"name": "street", "type": "text"}]}));
        assert!(field.0.unwrap().sub_fields.contains_key("street"));
    }

    #[test]
    fn currency_scale_prefers_its_config() {
        let field =
            read(json!({"type": "currency", "scale": 4, "currencyConfig": {"precision": 0}}));
        assert_eq!(field.0.unwrap().currency_scale(), 0);
        assert_eq!(
            read(json!({"type": "currency"}))
                .0
                .unwrap()
                .currency_scale(),
            2
        );
    }
}
