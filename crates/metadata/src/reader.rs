//! A cursor over one JSON object that remembers where it stands, so that every complaint
//! names its place. `null` counts as absent everywhere.

use std::cell::RefCell;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::diagnostics::Diagnostic;
use crate::expression::{Condition, Dialect, Expression};

/// Where the findings of one file go.
#[derive(Default)]
pub(crate) struct Sink {
    file: Option<PathBuf>,
    found: RefCell<Vec<Diagnostic>>,
}

impl Sink {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            found: RefCell::default(),
        }
    }

    pub(crate) fn push(&self, diagnostic: Diagnostic) {
        let diagnostic = diagnostic.with_file(self.file.clone());
        self.found.borrow_mut().push(diagnostic);
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }
}

/// One entry of a collection that may be written as a map or as a list.
pub(crate) struct Entry<'a> {
    /// The map key, or the entry's own `name`.
    pub(crate) name: Option<String>,
    pub(crate) value: &'a Value,
    pub(crate) path: String,
}

pub(crate) struct Reader<'a> {
    map: &'a Map<String, Value>,
    pub(crate) path: String,
    pub(crate) sink: &'a Sink,
}

impl<'a> Reader<'a> {
    /// `None`, with an error, when the value is not an object.
    pub(crate) fn new(value: &'a Value, path: String, sink: &'a Sink) -> Option<Self> {
        let Value::Object(map) = value else {
            sink.push(
                Diagnostic::error(
                    "INVALID_ITEM",
                    path,
                    format!("expected an object, found {}; left out", kind(value)),
                )
                .with_hint("write it as a map of keys and values"),
            );
            return None;
        };
        Some(Self { map, path, sink })
    }

    /// Over the entries of an object that is known to be one.
    pub(crate) fn over(map: &'a Map<String, Value>, path: String, sink: &'a Sink) -> Self {
        Self { map, path, sink }
    }

    /// The entries as they were written.
    pub(crate) fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    pub(crate) fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    pub(crate) fn error(&self, code: &str, path: String, message: String, hint: impl Into<String>) {
        self.sink
            .push(Diagnostic::error(code, path, message).with_hint(hint));
    }

    pub(crate) fn warn(&self, code: &str, path: String, message: String, hint: impl Into<String>) {
        self.sink
            .push(Diagnostic::warning(code, path, message).with_hint(hint));
    }

    /// The first of the keys that is present, so that the current spelling is listed first.
    fn find<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &'a Value)> {
        keys.iter().find_map(|key| {
            let value = self.map.get(*key).filter(|value| !value.is_null())?;
            Some((*key, value))
        })
    }

    fn wrong_type(&self, key: &str, expected: &str, found: &Value) {
        self.warn(
            "WRONG_TYPE",
            self.at(key),
            format!("expected {expected}, found {}; ignored", kind(found)),
            format!("write {expected}"),
        );
    }

    pub(crate) fn raw(&self, keys: &[&str]) -> Option<&'a Value> {
        self.find(keys).map(|(_, value)| value)
    }

    /// Text; numbers and booleans are taken as YAML authors mean them. A translated label
    /// (`{key, defaultValue}`) gives its default.
    pub(crate) fn string(&self, keys: &[&str]) -> Option<String> {
        let (key, value) = self.find(keys)?;
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            Value::Object(map) if map.contains_key("defaultValue") => {
                map["defaultValue"].as_str().map(str::to_owned)
            }
            Value::Null | Value::Array(_) | Value::Object(_) => {
                self.wrong_type(key, "text", value);
                None
            }
        }
    }

    pub(crate) fn flag(&self, keys: &[&str]) -> Option<bool> {
        let (key, value) = self.find(keys)?;
        let read = match value {
            Value::Bool(flag) => return Some(*flag),
            Value::String(text) if text == "true" => Some(true),
            Value::String(text) if text == "false" => Some(false),
            _ => None,
        };
        if read.is_none() {
            self.wrong_type(key, "true or false", value);
        }
        read
    }

    /// A flag that guards something: nonsense counts as `closed`, absence as `absent`.
    pub(crate) fn guard(&self, keys: &[&str], absent: bool, closed: bool) -> bool {
        match self.find(keys) {
            None => absent,
            Some(_) => self.flag(keys).unwrap_or(closed),
        }
    }

    pub(crate) fn number(&self, keys: &[&str]) -> Option<f64> {
        let (key, value) = self.find(keys)?;
        let read = match value {
            Value::String(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            _ => value.as_f64(),
        };
        if read.is_none() {
            self.wrong_type(key, "a number", value);
        }
        read
    }

    pub(crate) fn natural(&self, keys: &[&str]) -> Option<u64> {
        let (key, value) = self.find(keys)?;
        let read = value.as_u64().or_else(|| {
            let number = value.as_f64()?;
            let whole = number.fract() == 0.0 && (0.0..9.0e15).contains(&number);
            whole.then_some(number as u64)
        });
        if read.is_none() {
            self.wrong_type(key, "a whole number of at least 0", value);
        }
        read
    }

    pub(crate) fn natural32(&self, keys: &[&str]) -> Option<u32> {
        self.natural(keys)
            .map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    }

    pub(crate) fn integer(&self, keys: &[&str]) -> Option<i64> {
        let (key, value) = self.find(keys)?;
        let read = value.as_i64().or_else(|| {
            let number = value.as_f64()?;
            let whole = number.fract() == 0.0 && number.abs() < 9.0e15;
            whole.then_some(number as i64)
        });
        if read.is_none() {
            self.wrong_type(key, "a whole number", value);
        }
        read
    }

    /// A list of texts; a single text is a list of one. Entries may be objects with a `name`.
    pub(crate) fn strings(&self, keys: &[&str]) -> Option<Vec<String>> {
        let (key, value) = self.find(keys)?;
        match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) => {
                let mut out = Vec::with_capacity(list.len());
                for (i, entry) in list.iter().enumerate() {
                    let named = entry.get("name").or_else(|| entry.get("field"));
                    match (entry, named) {
                        (Value::String(text), _) | (_, Some(Value::String(text))) => {
                            out.push(text.clone());
                        }
                        _ => self.wrong_type(&format!("{key}[{i}]"), "text", entry),
                    }
                }
                Some(out)
            }
            _ => {
                self.wrong_type(key, "a list of texts", value);
                None
            }
        }
    }

    /// The source of an expression, bare or in an envelope.
    pub(crate) fn cel(&self, keys: &[&str]) -> Option<String> {
        let (key, value) = self.find(keys)?;
        match Expression::from_value(value, Dialect::Cel) {
            Some(expression) => Some(expression.source),
            None => {
                self.wrong_type(
                    key,
                    "an expression (text, or {dialect: cel, source})",
                    value,
                );
                None
            }
        }
    }

    /// An expression, bare or in an envelope; `true` and `false` are expressions too. Nothing where
    /// its text is blank.
    pub(crate) fn expression(&self, keys: &[&str], slot: Dialect) -> Option<Expression> {
        let (key, value) = self.find(keys)?;
        match Expression::written(value, slot) {
            Some(expression) => Some(expression).filter(|read| !read.source.is_empty()),
            None => {
                let expected = format!(
                    "an expression (text, or {{dialect: {}, source}})",
                    slot.as_str()
                );
                self.wrong_type(key, &expected, value);
                None
            }
        }
    }

    /// A condition that keeps something shut: one that cannot be read is met by nothing.
    pub(crate) fn condition(&self, keys: &[&str]) -> Condition {
        match self.find(keys) {
            None => Condition::Always,
            Some(_) => match self.expression(keys, Dialect::Cel) {
                Some(expression) => Condition::When(expression),
                None => Condition::Unreadable,
            },
        }
    }

    /// `requiredPermissions`, as [`Reader::demands`].
    pub(crate) fn required_permissions(&self) -> Vec<String> {
        self.demands("requiredPermissions")
    }

    /// What somebody has to have, all of it or any. What cannot be read stands there as it was
    /// written, and nobody has that.
    pub(crate) fn demands(&self, key: &str) -> Vec<String> {
        let Some(written) = self.raw(&[key]) else {
            return Vec::new();
        };
        let mut read = self.strings(&[key]).unwrap_or_default();
        let count = written.as_array().map_or(1, Vec::len);
        if read.len() < count {
            read.push(written.to_string());
        }
        read
    }

    /// The objects of a list, each with its place in it; what is no object is warned about.
    pub(crate) fn objects(&self, keys: &[&str]) -> Vec<(usize, Reader<'a>)> {
        let Some((key, value)) = self.find(keys) else {
            return Vec::new();
        };
        let Value::Array(list) = value else {
            self.wrong_type(key, "a list of objects", value);
            return Vec::new();
        };
        let mut found = Vec::with_capacity(list.len());
        for (place, entry) in list.iter().enumerate() {
            let at = format!("{key}[{place}]");
            match entry {
                Value::Object(map) => {
                    found.push((place, Reader::over(map, self.at(&at), self.sink)));
                }
                other => self.wrong_type(&at, "an object", other),
            }
        }
        found
    }

    /// A nested object as it was written; nothing where there is none.
    pub(crate) fn free_object(&self, keys: &[&str]) -> Map<String, Value> {
        let read = self.object(keys);
        read.map(|reader| reader.map.clone()).unwrap_or_default()
    }

    /// A nested object.
    pub(crate) fn object(&self, keys: &[&str]) -> Option<Reader<'a>> {
        let (key, value) = self.find(keys)?;
        let Value::Object(map) = value else {
            self.wrong_type(key, "an object", value);
            return None;
        };
        Some(Reader {
            map,
            path: self.at(key),
            sink: self.sink,
        })
    }

    /// The entries of a map keyed by name, or of a list of objects with a `name`.
    pub(crate) fn entries(&self, keys: &[&str]) -> Vec<Entry<'a>> {
        let Some((key, value)) = self.find(keys) else {
            return Vec::new();
        };
        match value {
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| Entry {
                    name: Some(name.clone()),
                    value,
                    path: format!("{}.{name}", self.at(key)),
                })
                .collect(),
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(i, value)| {
                    let name = value.get("name").and_then(Value::as_str);
                    let path = match name {
                        Some(name) => format!("{}.{name}", self.at(key)),
                        None => format!("{}[{i}]", self.at(key)),
                    };
                    Entry {
                        name: name.map(str::to_owned),
                        value,
                        path,
                    }
                })
                .collect(),
            _ => {
                self.wrong_type(key, "a map or a list", value);
                Vec::new()
            }
        }
    }
}

/// What a value is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true/false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
