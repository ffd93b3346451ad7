//! Validation rules that need no expressions: `format` and `state_machine` (spec/metadata.md §7),
//! and the `pattern` of text fields. Rules over expressions are reported when a package is
//! installed (`registry/coverage.rs`).
//!
//! Invariant: a rule that cannot be checked does not let a write pass.

use std::sync::LazyLock;

use mesh::FieldViolation;
use metadata::{Rule, Severity, Validation};
use regex::{Regex, RegexBuilder};

use super::text;
use crate::domain::{cell::Cell, schema::Schema};

/// Longest pattern, and largest compiled one, in bytes.
const PATTERN_MAX: usize = 1024;
const PROGRAM_MAX: usize = 1 << 20;

/// Checks the rules on a row as it is to be; `before` is the row as it is, on an update.
pub fn check(
    schema: &Schema,
    before: Option<&[Cell]>,
    after: &[Cell],
    problems: &mut Vec<FieldViolation>,
) {
    for column in &schema.columns {
        let Some(pattern) = &column.field.pattern else {
            continue;
        };
        let value = schema
            .position(&column.field.name)
            .map(|position| &after[position]);
        if let Some(Cell::Text(value)) = value
            && !value.is_empty()
            && !matches(pattern, value)
        {
            let name = &column.field.name;
            problems.push(FieldViolation::new(
                name,
                "invalid_format",
                format!("{name} must match the pattern {pattern}"),
            ));
        }
    }
    for rule in &schema.object.validations {
        let applies = if before.is_some() {
            rule.on_update
        } else {
            rule.on_insert
        };
        // Warnings and hints never block.
        if !rule.active || !applies || rule.severity != Severity::Error {
            continue;
        }
        if let Some(field) = violated(schema, rule, before, after) {
            problems.push(FieldViolation::new(field, "rule_violation", &rule.message));
        }
    }
}

/// The field that the rule finds at fault.
fn violated<'r>(
    schema: &Schema,
    rule: &'r Validation,
    before: Option<&[Cell]>,
    after: &[Cell],
) -> Option<&'r str> {
    let text = |row: &[Cell], field: &str| -> Option<String> {
        let cell = &row[schema.position(field)?];
        match cell {
            Cell::Null => None,
            Cell::Text(text) => Some(text.clone()),
            other => Some(other.to_json().to_string()),
        }
    };
    match &rule.rule {
        Rule::Format {
            field,
            regex,
            format,
        } => {
            let value = text(after, field).filter(|value| !value.is_empty())?;
            let fits = regex
                .as_ref()
                .is_none_or(|pattern| matches(pattern, &value))
                && format
                    .as_ref()
                    .is_none_or(|format| has_format(format, &value));
            (!fits).then_some(field.as_str())
        }
        Rule::StateMachine {
            field,
            transitions,
            initial_states,
        } => {
            let to = text(after, field).unwrap_or_default();
            let allowed = match before {
                None => initial_states
                    .as_ref()
                    .is_none_or(|states| states.contains(&to)),
                Some(before) => {
                    let from = text(before, field).unwrap_or_default();
                    from == to
                        || transitions
                            .get(&from)
                            .is_some_and(|states| states.contains(&to))
                }
            };
            (!allowed).then_some(field.as_str())
        }
        Rule::Script { .. }
        | Rule::CrossField { .. }
        | Rule::JsonSchema { .. }
        | Rule::Conditional { .. } => None,
    }
}

fn has_format(format: &str, value: &str) -> bool {
    match format {
        "email" => text::is_email(value),
        "url" => text::is_url(value),
        "phone" => text::is_phone(value),
        "json" => serde_json::from_str::<serde_json::Value>(value).is_ok(),
        _ => false,
    }
}

/// Whether a value matches a pattern, in linear time; a pattern that is none matches nothing.
fn matches(pattern: &str, value: &str) -> bool {
    static COMPILED: LazyLock<moka::sync::Cache<String, Option<Regex>>> =
        LazyLock::new(|| moka::sync::Cache::new(1_000));
    let compiled = COMPILED.get_with_by_ref(pattern, || compile(pattern));
    compiled.is_some_and(|regex| regex.is_match(value))
}

fn compile(pattern: &str) -> Option<Regex> {
    if pattern.len() > PATTERN_MAX {
        return None;
    }
    RegexBuilder::new(pattern)
        .size_limit(PROGRAM_MAX)
        .build()
        .ok()
}

/// Whether [`check`] can evaluate a rule.
#[must_use]
pub fn is_supported(rule: &Rule) -> bool {
    match rule {
        Rule::Format { regex, format, .. } => {
            regex
                .as_ref()
                .is_none_or(|pattern| compile(pattern).is_some())
                && format.as_ref().is_none_or(|format| {
                    matches!(format.as_str(), "email" | "url" | "phone" | "json")
                })
        }
        Rule::StateMachine { .. } => true,
        Rule::Script { .. }
        | Rule::CrossField { .. }
        | Rule::JsonSchema { .. }
        | Rule::Conditional { .. } => false,
    }
}
