//! Typed JSON bodies to wire bytes. Every problem of one body is reported together, each under its
//! JSON path.
//!
//! Invariant: raw JSON inside a typed body is copied as it stands, digits and key order included.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::{
    Error, Result, Violation,
    scalar::{self, Unfit},
    shape::{Field, Kind, Shape},
    wire::{put_bytes, put_nested},
};

/// How deep arrays and objects may nest.
const DEPTH_MAX: usize = 64;

/// Writes the JSON object `text` as fields of `shape`. `taken` are the fields that the body may
/// not fill, because path or headers do.
///
/// # Errors
/// `MALFORMED_JSON`, or all violations.
pub(crate) fn encode(shape: &Shape, taken: &[usize], text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let raw = parse(text)?;
    let mut walk = Walk::default();
    walk.message(shape, taken, raw, out);
    if walk.violations.is_empty() {
        Ok(())
    } else {
        Err(Error::violations(walk.violations))
    }
}

/// Checks syntax and depth of a JSON text.
fn parse(text: &[u8]) -> Result<&RawValue> {
    if text.starts_with(b"\xEF\xBB\xBF") {
        return Err(malformed("it starts with a byte order mark"));
    }
    if depth(text) > DEPTH_MAX {
        return Err(malformed(&format!("it nests deeper than {DEPTH_MAX}")));
    }
    serde_json::from_slice(text).map_err(|error| malformed(&error.to_string()))
}

/// The error for a body that is no JSON.
pub(crate) fn malformed(why: &str) -> Error {
    Error::request(format!("The body is not valid JSON: {why}"))
        .with("reason", "MALFORMED_JSON")
        .with("hint", why)
}

/// The deepest nesting of brackets outside strings; exact for JSON, harmless for anything else.
fn depth(text: &[u8]) -> usize {
    let (mut now, mut most, mut quoted) = (0_usize, 0, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if quoted => _ = bytes.next(),
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[derive(Default)]
struct Walk {
    path: String,
    violations: Vec<Violation>,
}

impl Walk {
    fn message(&mut self, shape: &Shape, taken: &[usize], raw: &RawValue, out: &mut Vec<u8>) {
        let Ok(Members(members)) = serde_json::from_str(raw.get()) else {
            self.unfit(&Unfit::new("invalid_type", "an object"));
            return;
        };
        let mut seen = vec![false; shape.fields.len()];
        for (key, raw) in members {
            let found = shape
                .visible(&key)
                .filter(|position| !taken.contains(position));
            let length = self.path.len();
            let Some(position) = found else {
                self.enter(&key);
                self.unknown(&key, shape, taken);
                self.path.truncate(length);
                continue;
            };
            let field = &shape.fields[position];
            self.enter(&key);
            if std::mem::replace(&mut seen[position], true) {
                let message = format!("{} is given twice", self.path);
                self.violate("duplicate", message);
            } else {
                self.field(field, raw, out);
            }
            self.path.truncate(length);
        }
    }

    fn field(&mut self, field: &Field, raw: &RawValue, out: &mut Vec<u8>) {
        // A raw field keeps a null of its own; everywhere else null is "not given".
        let keeps_null = matches!(field.kind, Kind::Json) && !field.repeated;
        if raw.get() == "null" && !keeps_null {
            return;
        }
        if !field.repeated {
            self.value(field, raw, out);
            return;
        }
        let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
            self.unfit(&Unfit::new("invalid_type", "an array"));
            return;
        };
        let length = self.path.len();
        for (index, element) in elements.into_iter().enumerate() {
            self.path.push_str(&format!("[{index}]"));
            self.value(field, element, out);
            self.path.truncate(length);
        }
    }

    fn value(&mut self, field: &Field, raw: &RawValue, out: &mut Vec<u8>) {
        match &field.kind {
            Kind::Json => put_bytes(out, field.number, raw.get().as_bytes()),
            Kind::Message(shape) => {
                put_nested(out, field.number, |out| self.message(shape, &[], raw, out));
            }
            _ => {
                // Brackets fit no scalar; not parsing them keeps a wrong body cheap.
                let value = match raw.get().as_bytes().first() {
                    Some(b'{' | b'[') => Value::Object(serde_json::Map::new()),
                    _ => serde_json::from_str(raw.get()).unwrap_or_default(),
                };
                if let Err(unfit) = scalar::put_json(out, field, &value) {
                    self.unfit(&unfit);
                }
            }
        }
    }

    fn enter(&mut self, key: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(key);
    }

    fn unknown(&mut self, key: &str, shape: &Shape, taken: &[usize]) {
        let known: Vec<&str> = shape
            .fields
            .iter()
            .enumerate()
            .filter(|(position, field)| !field.hidden && !taken.contains(position))
            .map(|(_, field)| field.json.as_str())
            .collect();
        let fix = match nearest(key, &known) {
            Some(name) => format!("did you mean `{name}`?"),
            None if known.is_empty() => "the body takes no fields".to_owned(),
            None => format!("known here: {}", known.join(", ")),
        };
        let message = format!("{} is not known; {fix}", self.path);
        self.violate("unknown", message);
    }

    fn unfit(&mut self, unfit: &Unfit) {
        let subject = match self.path.as_str() {
            "" => "The body",
            path => path,
        };
        self.violations.push(Violation {
            field: self.path.clone(),
            code: unfit.code,
            message: format!("{subject} must be {}", unfit.must_be),
            options: unfit.options.clone(),
        });
    }

    fn violate(&mut self, code: &'static str, message: String) {
        self.violations.push(Violation {
            field: self.path.clone(),
            code,
            message,
            options: None,
        });
    }
}

/// The members of a JSON object in their order, duplicates included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The name most like `word`, if one is like it: one slip in a short name, two in a longer one.
pub(crate) fn nearest<'n>(word: &str, names: &[&'n str]) -> Option<&'n str> {
    let word = word.to_ascii_lowercase();
    names
        .iter()
        .map(|name| (distance(&word, &name.to_ascii_lowercase()), *name))
        .filter(|(distance, name)| *distance <= if name.len() < 4 { 1 } else { 2 })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Letters to change, add or drop to make one word the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    // A long word is like nothing; the table below must stay small.
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
