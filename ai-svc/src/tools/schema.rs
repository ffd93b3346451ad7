//! Checks what a model sends to a tool against the tool's schema: the part of JSON Schema that the
//! schemas of our tools are written in. Model output is untrusted.

use serde_json::Value;

/// What is wrong with a value, one line each; empty when it fits.
pub(super) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, "", &mut found);
    found
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let name = if at.is_empty() { "the input" } else { at };
    if let Some(kind) = schema.get("type").and_then(Value::as_str)
        && !fits(kind, value)
    {
        found.push(format!("{name} must be of type {kind}"));
        return;
    }
    if let Some(forms) = schema.get("anyOf").and_then(Value::as_array)
        && !forms.iter().any(|form| violations(form, value).is_empty())
    {
        let kinds = forms.iter().filter_map(|form| form["type"].as_str());
        let kinds: Vec<&str> = kinds.collect();
        found.push(format!("{name} must be of type {}", kinds.join(" or ")));
        return;
    }
    if let Some(options) = schema.get("enum").and_then(Value::as_array)
        && !options.contains(value)
    {
        let options: Vec<String> = options.iter().map(Value::to_string).collect();
        found.push(format!("{name} must be one of {}", options.join(", ")));
    }
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    if let Some(number) = value.as_f64() {
        if bound("minimum").is_some_and(|least| number < least) {
            found.push(format!("{name} is too small"));
        }
        if bound("maximum").is_some_and(|most| number > most) {
            found.push(format!("{name} is too large"));
        }
    }
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let required = schema.get("required").and_then(Value::as_array);
            for key in required.into_iter().flatten().filter_map(Value::as_str) {
                if map.get(key).is_none_or(Value::is_null) {
                    found.push(format!("{} is required", below(at, key)));
                }
            }
            let open = schema.get("additionalProperties") != Some(&Value::Bool(false));
            for (key, value) in map {
                match properties.and_then(|properties| properties.get(key)) {
                    // Models send null for what they leave out.
                    Some(_) if value.is_null() => {}
                    Some(schema) => check(schema, value, &below(at, key), found),
                    None if open => {}
                    None => found.push(format!("{} is not known", below(at, key))),
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (place, item) in items.iter().enumerate() {
                    check(schema, item, &format!("{name}[{place}]"), found);
                }
            }
        }
        _ => {}
    }
}

fn below(at: &str, key: &str) -> String {
    match at {
        "" => key.to_owned(),
        at => format!("{at}.{key}"),
    }
}

fn fits(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        // Models write 3.0 for 3.
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn extra_missing_and_wrong_inputs_are_told() {
        let schema = json!({"type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {"a": {"type": "string", "enum": ["x", "y"]}, "n": {"type": "integer", "maximum": 3},
                "f": {"anyOf": [{"type": "string"}, {"type": "object"}]}}});
        for input in [
            json!({"a": "x", "n": null}),
            json!({"a": "y", "f": {}, "n": 2.0}),
        ] {
            assert!(violations(&schema, &input).is_empty(), "{input}");
        }
        for (input, expected) in [
            (json!([]), "the input must be of type object"),
            (json!({}), "a is required"),
            (json!({"a": 1}), "a must be of type string"),
            (json!({"a": "z"}), "a must be one of \"x\", \"y\""),
            (json!({"a": "x", "n": 4}), "n is too large"),
            (json!({"a": "x", "b": 4}), "b is not known"),
            (
                json!({"a": "x", "f": 4}),
                "f must be of type string or object",
            ),
            (json!({"a": "x", "n": 1.5}), "n must be of type integer"),
        ] {
            assert_eq!(violations(&schema, &input), [expected]);
        }
    }
}
