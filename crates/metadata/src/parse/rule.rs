//! Validation rules. A rule that cannot be read is left out with an error.

use indexmap::IndexMap;
use serde_json::Value;

use crate::diagnostics::Severity;
use crate::reader::{Reader, Sink};
use crate::rule::{Rule, Validation};

pub(crate) fn validations(reader: &Reader<'_>) -> Vec<Validation> {
    let mut found: Vec<Validation> = Vec::new();
    for (i, entry) in reader.entries(&["validations"]).into_iter().enumerate() {
        let fallback = entry.name.unwrap_or_else(|| format!("rule_{}", i + 1));
        let Some(rule) = validation(&fallback, entry.value, entry.path.clone(), reader.sink) else {
            continue;
        };
        if found.iter().any(|other| other.name == rule.name) {
            reader.warn(
                "DUPLICATE_NAME",
                entry.path,
                format!(
                    "two validation rules are called \"{}\"; both are kept",
                    rule.name
                ),
                "give each rule its own name",
            );
        }
        found.push(rule);
    }
    // Stable, so that rules of one priority keep the order they are written in.
    found.sort_by_key(|rule| rule.priority);
    found
}

pub(crate) fn validation(
    name: &str,
    value: &Value,
    path: String,
    sink: &Sink,
) -> Option<Validation> {
    let reader = Reader::new(value, path, sink)?;
    let rule = rule(&reader)?;
    let message = reader
        .string(&["message", "errorMessage"])
        .unwrap_or_else(|| {
            reader.warn(
                "MESSAGE_MISSING",
                reader.path.clone(),
                "the rule has no message; its label or name is shown instead".to_owned(),
                "add `message` with what the user should do",
            );
            let label = reader.string(&["label"]);
            label.unwrap_or_else(|| format!("Rule {name} is not met"))
        });
    let (on_insert, on_update) = events(&reader);
    Some(Validation {
        name: name.to_owned(),
        message,
        severity: severity(&reader),
        on_insert,
        on_update,
        priority: reader.integer(&["priority"]).unwrap_or(100),
        active: reader.flag(&["active"]).unwrap_or(true),
        rule,
    })
}

fn severity(reader: &Reader<'_>) -> Severity {
    match reader.string(&["severity"]).as_deref() {
        None | Some("error") => Severity::Error,
        Some("warning") => Severity::Warning,
        Some("info") => Severity::Info,
        Some(word) => {
            reader.warn(
                "UNKNOWN_SEVERITY",
                reader.at("severity"),
                format!("severity \"{word}\" is unknown; error is used"),
                "use error, warning or info",
            );
            Severity::Error
        }
    }
}

/// Unknown events (`delete` among them) select nothing; with none left the rule runs on both,
/// since a rule that never runs protects nobody.
fn events(reader: &Reader<'_>) -> (bool, bool) {
    let Some(words) = reader.strings(&["events"]) else {
        return (true, true);
    };
    let has = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
    let insert = has(&["insert", "create", "beforeInsert"]);
    let update = has(&["update", "beforeUpdate"]);
    if !insert && !update {
        reader.warn(
            "UNKNOWN_EVENT",
            reader.at("events"),
            "none of the events is insert or update; the rule runs on both".to_owned(),
            "use insert, update or both",
        );
        return (true, true);
    }
    (insert, update)
}

fn rule(reader: &Reader<'_>) -> Option<Rule> {
    let word = reader
        .string(&["type"])
        .unwrap_or_else(|| "script".to_owned());
    match word.as_str() {
        "script" => Some(Rule::Script {
            condition: condition(reader)?,
        }),
        "cross_field" => Some(Rule::CrossField {
            fields: reader.strings(&["fields"]).unwrap_or_default(),
            condition: condition(reader)?,
        }),
        "format" => format_rule(reader),
        "state_machine" => state_machine(reader),
        "json_schema" => Some(Rule::JsonSchema {
            field: needed(reader, "field")?,
            schema: reader.raw(&["schema"]).cloned().or_else(|| {
                missing(reader, "schema");
                None
            })?,
        }),
        "conditional" => conditional(reader),
        other => {
            reader.error(
                "UNKNOWN_RULE_TYPE",
                reader.at("type"),
                format!("validation type \"{other}\" is unknown; the rule is left out"),
                "use script, cross_field, format, state_machine, json_schema or conditional",
            );
            None
        }
    }
}

fn missing(reader: &Reader<'_>, key: &str) {
    reader.error(
        "MISSING_KEY",
        reader.path.clone(),
        format!("the rule has no `{key}`; it is left out"),
        format!("add `{key}`"),
    );
}

fn needed(reader: &Reader<'_>, key: &str) -> Option<String> {
    let read = reader.string(&[key]);
    if read.is_none() {
        missing(reader, key);
    }
    read
}

fn condition(reader: &Reader<'_>) -> Option<String> {
    let read = reader.cel(&["condition", "expression"]);
    if read.is_none() {
        missing(reader, "condition");
    }
    read
}

fn format_rule(reader: &Reader<'_>) -> Option<Rule> {
    let field = needed(reader, "field")?;
    let regex = reader.string(&["regex", "pattern"]);
    let format = reader.string(&["format"]);
    if regex.is_none() && format.is_none() {
        missing(reader, "regex");
        return None;
    }
    Some(Rule::Format {
        field,
        regex,
        format,
    })
}

fn state_machine(reader: &Reader<'_>) -> Option<Rule> {
    let field = needed(reader, "field")?;
    let Some(Value::Object(map)) = reader.raw(&["transitions"]) else {
        missing(reader, "transitions");
        return None;
    };
    let listed = reader.object(&["transitions"])?;
    let mut transitions = IndexMap::new();
    for from in map.keys() {
        let targets = listed.strings(&[from.as_str()]).unwrap_or_default();
        transitions.insert(from.clone(), targets);
    }
    Some(Rule::StateMachine {
        field,
        transitions,
        initial_states: reader.strings(&["initialStates", "initialState"]),
    })
}

fn conditional(reader: &Reader<'_>) -> Option<Rule> {
    let when = reader.cel(&["when"]).or_else(|| {
        missing(reader, "when");
        None
    })?;
    let nested = |key: &str| {
        let value = reader.raw(&[key])?;
        validation(key, value, reader.at(key), reader.sink).map(Box::new)
    };
    let Some(then) = nested("then") else {
        missing(reader, "then");
        return None;
    };
    Some(Rule::Conditional {
        when,
        then,
        otherwise: nested("otherwise"),
    })
}
