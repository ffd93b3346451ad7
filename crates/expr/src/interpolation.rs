//! The placeholders of flows: `{record.name}`, `{$User.Id}`, `{TODAY() + 7}`, `{!inputs.x}`.

use serde_json::Value;

use crate::{
    error::{CompileError, EvalErrorKind},
    program::Program,
    scope::Scope,
    slot::{Slot, names},
    value::to_text,
};

/// Longest text that placeholders may become, in bytes.
const RENDERED_MAX: usize = 4 << 20;

/// A text with placeholders, compiled.
#[derive(Debug, Clone)]
pub struct Interpolation {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Value {
        slot: Slot,
        /// As it was written, with its braces.
        written: String,
    },
}

impl Interpolation {
    /// Compiles a text. What stands in braces without being a path or an expression (`{"a":1}`, an
    /// open brace) is text.
    #[must_use]
    pub fn compile(source: &str) -> Interpolation {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            text.push_str(before);
            // `{{path}}`, as templates write it, means the same.
            let found = braced(from, "{{", "}}").or_else(|| braced(from, "{", "}"));
            match found {
                Some((slot, written)) => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(Part::Value {
                        slot,
                        written: written.to_owned(),
                    });
                    rest = &from[written.len()..];
                }
                None => {
                    text.push('{');
                    rest = &from[1..];
                }
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Interpolation { parts }
    }

    /// Whether the text has placeholders at all.
    #[must_use]
    pub fn has_placeholders(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Value { .. }))
    }

    /// The text with the values of a scope. A text that is exactly one placeholder keeps the type of
    /// its value; unresolved it is null, and within other text empty.
    ///
    /// A token of time such as `{tomorrow}` or `{3_days_ago}`, and `{current_user_id}`, that no
    /// variable of that name answers stays as it is written: filters resolve it.
    ///
    /// # Errors
    ///
    /// When the text gets longer than 4 MiB, or an expression is beyond its budget.
    pub fn resolve(&self, scope: &Scope<'_>) -> Result<Value, EvalErrorKind> {
        if let [Part::Value { slot, written }] = self.parts.as_slice() {
            let value = slot.value(scope)?.into_json();
            return Ok(if value.is_null() && is_filter_token(written) {
                Value::String(written.clone())
            } else {
                value
            });
        }
        let mut resolved = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => resolved.push_str(text),
                Part::Value { slot, .. } => {
                    let value = slot.value(scope)?;
                    let text = to_text(&value).unwrap_or_else(|| value.into_json().to_string());
                    resolved.push_str(&text);
                }
            }
            if resolved.len() > RENDERED_MAX {
                return Err(EvalErrorKind::Budget("4 MiB of text"));
            }
        }
        Ok(Value::String(resolved))
    }

    /// Resolves every text within a value, keys excepted.
    ///
    /// # Errors
    ///
    /// As [`Interpolation::resolve`].
    pub fn resolve_all(value: &Value, scope: &Scope<'_>) -> Result<Value, EvalErrorKind> {
        Ok(match value {
            Value::String(text) => Interpolation::compile(text).resolve(scope)?,
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| Interpolation::resolve_all(item, scope))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| {
                        Ok((key.clone(), Interpolation::resolve_all(value, scope)?))
                    })
                    .collect::<Result<_, EvalErrorKind>>()?,
            ),
            other => other.clone(),
        })
    }
}

impl Program {
    /// Compiles a condition of a flow: CEL, or the older form with placeholders for values,
    /// `{status} == "open"` and `'{status}' == 'open'`, which become names of the expression. No value
    /// is ever put into the text of an expression.
    ///
    /// # Errors
    ///
    /// As [`Program::compile`].
    pub fn compile_condition(source: &str) -> Result<Program, CompileError> {
        let mut rewritten = String::new();
        let mut rest = source;
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            let path = braced(from, "{{", "}}")
                .or_else(|| braced(from, "{", "}"))
                .filter(|(slot, _)| names(&slot.source).is_some());
            let Some((slot, written)) = path else {
                rewritten.push_str(before);
                rewritten.push('{');
                rest = &from[1..];
                continue;
            };
            let after = &from[written.len()..];
            let quote = before.chars().last().filter(|c| matches!(c, '\'' | '"'));
            match quote
                .and_then(|quote| Some((before.strip_suffix(quote)?, after.strip_prefix(quote)?)))
            {
                Some((before, after)) => {
                    rewritten.push_str(before);
                    rewritten.push_str(&format!("string({})", slot.source));
                    rest = after;
                }
                None => {
                    rewritten.push_str(before);
                    rewritten.push_str(&slot.source);
                    rest = after;
                }
            }
        }
        if rewritten.is_empty() {
            return Program::compile(source);
        }
        rewritten.push_str(rest);
        Program::compile(&rewritten)
    }
}

/// The placeholder that a text begins with, and how it is written.
fn braced<'t>(from: &'t str, opening: &str, closing: &str) -> Option<(Slot, &'t str)> {
    let inner = from.strip_prefix(opening)?;
    let close = inner.find(closing)?;
    let slot = placeholder(inner[..close].trim())?;
    Some((slot, &from[..opening.len() + close + closing.len()]))
}

/// Brings the older spellings to one: `!trigger.record.f`, `$User.Id`, `$record.f`, `!inputs.f`,
/// `!step.name.f`.
fn placeholder(text: &str) -> Option<Slot> {
    let text = text.strip_prefix('!').unwrap_or(text);
    let Some(path) = names(text) else {
        return Slot::parse(text);
    };
    let path: Vec<String> = match path.as_slice() {
        ["$User", rest @ ..] => ["user"]
            .into_iter()
            .map(str::to_owned)
            .chain(rest.iter().map(|name| lowered(name)))
            .collect(),
        ["$record", rest @ ..] | ["trigger", "record", rest @ ..] => rooted("record", rest),
        ["$previous", rest @ ..] | ["trigger", "previous", rest @ ..] => rooted("previous", rest),
        ["inputs", rest @ ..] => rooted("input", rest),
        ["step", name, rest @ ..] => rooted(name, rest),
        other => other.iter().map(|&name| name.to_owned()).collect(),
    };
    Slot::parse(&path.join("."))
}

fn rooted(root: &str, rest: &[&str]) -> Vec<String> {
    [root]
        .iter()
        .chain(rest)
        .map(|&name| name.to_owned())
        .collect()
}

/// `Id` as `id`.
fn lowered(name: &str) -> String {
    let mut characters = name.chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}

fn is_filter_token(written: &str) -> bool {
    let name = written.trim_matches(['{', '}']).trim();
    matches!(
        name,
        "now" | "today" | "tomorrow" | "yesterday" | "current_user_id"
    ) || ["_ago", "_from_now", "_start", "_end"]
        .iter()
        .any(|end| name.ends_with(end))
}
