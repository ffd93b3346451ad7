//! The choices of a field.

use serde_json::Value;

use crate::field::SelectOption;
use crate::naming;
use crate::object::title_case;
use crate::reader::Reader;

pub(super) fn options(reader: &Reader<'_>) -> Vec<SelectOption> {
    let mut found: Vec<SelectOption> = Vec::new();
    let list = match reader.raw(&["options"]) {
        Some(Value::Array(list)) => list.as_slice(),
        Some(Value::Object(map)) => {
            // `{open: "Open"}`: values and labels.
            let label = |v: &Value, key: &str| v.as_str().map_or(title_case(key), str::to_owned);
            let option = |(key, value): (&String, &Value)| SelectOption {
                value: key.clone(),
                label: label(value, key),
                color: None,
                default: false,
            };
            return map.iter().map(option).collect();
        }
        _ => &[],
    };
    for (i, value) in list.iter().enumerate() {
        let path = reader.at(&format!("options[{i}]"));
        let Some(option) = option(reader, value, &path) else {
            continue;
        };
        if found.iter().any(|other| other.value == option.value) {
            reader.warn(
                "DUPLICATE_OPTION",
                path,
                format!(
                    "option \"{}\" occurs twice; the first is kept",
                    option.value
                ),
                "remove one, or give it another value",
            );
            continue;
        }
        if !naming::is_option_value(&option.value) {
            reader.warn(
                "OPTION_VALUE_STYLE",
                path,
                format!(
                    "option value \"{}\" is not a lowercase machine identifier",
                    option.value
                ),
                format!(
                    "use a value like {} and put the wording into `label`",
                    naming::suggestion(&option.value)
                ),
            );
        }
        found.push(option);
    }
    found
}

fn option(reader: &Reader<'_>, value: &Value, path: &str) -> Option<SelectOption> {
    let plain = |value: String| SelectOption {
        label: title_case(&value),
        value,
        color: None,
        default: false,
    };
    match value {
        Value::String(text) => return Some(plain(text.clone())),
        Value::Number(number) => return Some(plain(number.to_string())),
        _ => {}
    }
    let option = Reader::new(value, path.to_owned(), reader.sink)?;
    let Some(value) = option.string(&["value"]) else {
        reader.warn(
            "OPTION_WITHOUT_VALUE",
            path.to_owned(),
            "the option has no value; it is left out".to_owned(),
            "add `value`, a lowercase identifier",
        );
        return None;
    };
    Some(SelectOption {
        label: option
            .string(&["label"])
            .unwrap_or_else(|| title_case(&value)),
        value,
        color: option.string(&["color"]),
        default: option.flag(&["default", "isDefault"]).unwrap_or(false),
    })
}
