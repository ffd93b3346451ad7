//! Validation rules (docs/reference/metadata.md §7), the `pattern` of text fields, and the conditions under
//! which fields are required or read-only.
//!
//! Invariant: a rule that cannot be checked does not let a write pass.

use std::{
    cell::OnceCell,
    sync::{Arc, LazyLock},
};

use mesh::{
    FieldViolation,
    cache::{Cache, Stay},
};
use metadata::{Rule, Severity, Validation};
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::kernel::write::{prepare::Cells, text};
use crate::kernel::{
    eval::{self, EvalContext},
    model::{cell::Cell, schema::Schema},
};

/// Longest pattern, and largest compiled one, in bytes.
const PATTERN_MAX: usize = 1024;
const PROGRAM_MAX: usize = 1 << 20;

/// A row before and after a write, and who writes.
pub(crate) struct States<'s> {
    /// The row as it is; none for a new one.
    pub before: Option<&'s [Cell]>,
    /// The row as it is to be.
    pub after: &'s [Cell],
    /// For whom and when conditions are evaluated.
    pub eval_context: &'s EvalContext,
}

/// The records of [`States`] as expressions see them; made at most once for a write.
struct Records {
    before: Value,
    after: Value,
}

impl Records {
    fn of(schema: &Schema, states: &States<'_>) -> Self {
        let before = states.before.map(|cells| eval::record(schema, cells));
        Self {
            before: before.unwrap_or_default(),
            after: eval::record(schema, states.after),
        }
    }
}

/// Whether a condition holds; none when it cannot be evaluated.
fn holds(source: &str, records: &Records, eval_context: &EvalContext) -> Option<bool> {
    let scope = eval_context
        .scope()
        .record(&records.after)
        .previous(&records.before);
    eval::program(source)?.holds(&scope).ok()
}

/// Notes fields that a condition makes required and that are blank.
pub(crate) fn check_required_when(
    schema: &Schema,
    states: &States<'_>,
    problems: &mut Vec<FieldViolation>,
) {
    let mut records = None;
    for (column, cell) in schema.columns.iter().zip(states.after) {
        let field = &column.field;
        let Some(condition) = &field.required_when else {
            continue;
        };
        if !crate::kernel::write::prepare::is_blank(column, cell)
            || problems.iter().any(|problem| problem.field == field.name)
        {
            continue;
        }
        let records = records.get_or_insert_with(|| Records::of(schema, states));
        // What cannot be evaluated does not let a write pass.
        if holds(condition, records, states.eval_context) != Some(false) {
            crate::kernel::write::normalize::Problems::new(field, problems)
                .add("required", "is required");
        }
    }
}

/// Drops values of fields that a condition makes read-only, as those of read-only fields are.
pub(crate) fn drop_readonly(
    schema: &Schema,
    before: &[Cell],
    cells: &mut Cells,
    eval_context: &EvalContext,
) {
    let mut records = None;
    for (position, column) in schema.columns.iter().enumerate() {
        let Some(condition) = &column.field.readonly_when else {
            continue;
        };
        if cells.0[position].is_none() {
            continue;
        }
        let records = records.get_or_insert_with(|| Records {
            before: eval::record(schema, before),
            after: eval::record(schema, before),
        });
        if holds(condition, records, eval_context) != Some(false) {
            cells.0[position] = None;
        }
    }
}

/// Checks the rules on a row as it is to be.
pub(crate) fn check(schema: &Schema, states: &States<'_>, problems: &mut Vec<FieldViolation>) {
    let States { before, after, .. } = *states;
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
    let records = OnceCell::new();
    let records = || records.get_or_init(|| Records::of(schema, states));
    let mut rules: Vec<&Validation> = schema.object.validations.iter().collect();
    rules.sort_by_key(|rule| rule.priority);
    for rule in rules {
        let applies = if before.is_some() {
            rule.on_update
        } else {
            rule.on_insert
        };
        // Warnings and hints never block.
        if !rule.active || !applies || rule.severity != Severity::Error {
            continue;
        }
        if let Some(field) = violated(schema, rule, states, &records) {
            let mut problem = FieldViolation::new(field, "rule_violation", &rule.message);
            problem.rule = Some(rule.name.clone());
            problems.push(problem);
        }
    }
}

/// The field that the rule finds at fault.
fn violated<'r>(
    schema: &Schema,
    rule: &Validation,
    states: &States<'_>,
    records: &dyn Fn() -> &'r Records,
) -> Option<String> {
    let States { before, after, .. } = *states;
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
            (!fits).then(|| field.clone())
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
            (!allowed).then(|| field.clone())
        }
        // True means invalid, and so does what cannot be evaluated.
        Rule::Script { condition } => {
            let invalid = holds(condition, records(), states.eval_context) != Some(false);
            invalid.then(|| first_field(schema, condition))
        }
        Rule::CrossField { fields, condition } => {
            let invalid = holds(condition, records(), states.eval_context) != Some(false);
            let field = fields.first().cloned();
            invalid.then(|| field.unwrap_or_else(|| first_field(schema, condition)))
        }
        Rule::Conditional {
            when,
            then,
            otherwise,
        } => match holds(when, records(), states.eval_context) {
            Some(true) => violated(schema, then, states, records),
            Some(false) => violated(schema, otherwise.as_deref()?, states, records),
            None => Some(first_field(schema, when)),
        },
        Rule::JsonSchema { .. } => None,
    }
}

/// The field to name for a condition: the first that it reads.
fn first_field(schema: &Schema, condition: &str) -> String {
    let program = eval::program(condition);
    let fields = program
        .as_ref()
        .map(|program| program.references().fields());
    let known = fields
        .into_iter()
        .flatten()
        .find(|field| schema.field(field).is_some());
    known.unwrap_or_default().to_owned()
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
    static COMPILED: LazyLock<Cache<Option<Regex>>> =
        LazyLock::new(|| Cache::new(1_000, Stay::Long));
    let compiled = COMPILED.get_or_insert(pattern, || Arc::new(compile(pattern)));
    compiled
        .as_ref()
        .as_ref()
        .is_some_and(|regex| regex.is_match(value))
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
pub(crate) fn is_supported(rule: &Rule) -> bool {
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
        Rule::Script { condition } | Rule::CrossField { condition, .. } => {
            eval::program(condition).is_some()
        }
        Rule::Conditional {
            when,
            then,
            otherwise,
        } => {
            eval::program(when).is_some()
                && is_supported(&then.rule)
                && otherwise
                    .as_ref()
                    .is_none_or(|other| is_supported(&other.rule))
        }
        Rule::JsonSchema { .. } => false,
    }
}
