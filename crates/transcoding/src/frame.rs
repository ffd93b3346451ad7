//! The body of a route in a profile: JSON with values of the path and of the reply spliced in.
//!
//! Invariant: nothing that is spliced is parsed, and whatever the reply holds, the body is valid JSON if
//! its raw JSON is.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

use crate::{
    encode::decoded,
    render::Printer,
    shape::{Field, Kind, Shape},
    table::Vars,
    wire::{self, Broken, Value},
};

/// A body, compiled.
#[derive(Debug)]
pub(crate) struct Frame(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    /// A path variable, by position, as a JSON string.
    Var(usize),
    /// A field of the reply as JSON.
    Field(Place),
    /// Whether a field of the reply is there.
    Has(Place),
}

/// Where a field is in the reply.
#[derive(Debug)]
struct Place {
    /// Numbers of the messages around it.
    around: Vec<u32>,
    /// The message that it is in.
    shape: Arc<Shape>,
    position: usize,
}

impl Frame {
    /// Reads a body; `None` for an empty one. `vars` are the names of the path's variables and the fields
    /// that they fill.
    pub(crate) fn parse(
        text: &str,
        vars: &[(&str, &Field)],
        response: &Arc<Shape>,
    ) -> anyhow::Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut parts = Vec::new();
        // The template as JSON, with a value where each splice is.
        let mut json = String::new();
        let (mut literal, mut quoted) = (String::new(), false);
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if let Some((name, after)) = splice(rest) {
                ensure!(!quoted, "`{{{name}}}` stands in a string");
                parts.push(Part::Text(std::mem::take(&mut literal)));
                let part = part(name, vars, response);
                parts.push(part.with_context(|| format!("`{{{name}}}` in a frame"))?);
                json.push_str("null");
                rest = after;
                continue;
            }
            let taken = match next {
                '\\' if quoted => rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at),
                _ => next.len_utf8(),
            };
            quoted ^= next == '"';
            let (piece, after) = rest.split_at(taken);
            literal.push_str(piece);
            json.push_str(piece);
            rest = after;
        }
        parts.push(Part::Text(literal));
        let valid = serde_json::from_str::<serde::de::IgnoredAny>(&json);
        valid.with_context(|| format!("the frame `{text}` is no JSON"))?;
        Ok(Some(Self(parts)))
    }

    /// Writes the body.
    pub(crate) fn render(&self, vars: &Vars<'_>, wire: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut printer = Printer::with_capacity(wire.len() + wire.len() / 8 + 128);
        for part in &self.0 {
            match part {
                Part::Text(text) => printer.text(text),
                Part::Var(position) => {
                    // It was decoded before the call, so it can be.
                    let text = vars.0.get(*position).copied().unwrap_or_default();
                    let text = decoded(text, false).unwrap_or_default();
                    printer.string(text.as_bytes());
                }
                Part::Field(place) => match place.around(wire)? {
                    Some(inner) => printer.body(&place.shape, Some(place.position), inner)?,
                    None => printer.text("null"),
                },
                Part::Has(place) => {
                    let is_there = match place.around(wire)? {
                        Some(inner) => place.is_in(inner)?,
                        None => false,
                    };
                    printer.text(if is_there { "true" } else { "false" });
                }
            }
        }
        Ok(printer.into_bytes())
    }
}

impl Place {
    /// The message that the field is in; `None` when that one is not there.
    fn around<'w>(&self, wire: &'w [u8]) -> Result<Option<&'w [u8]>, Broken> {
        if self.around.is_empty() {
            return Ok(Some(wire));
        }
        Ok(match wire::find(wire, &self.around)? {
            Some(Value::Bytes(range)) => Some(&wire[range]),
            _ => None,
        })
    }

    fn is_in(&self, wire: &[u8]) -> Result<bool, Broken> {
        let field = &self.shape.fields[self.position];
        Ok(match wire::find(wire, &[field.number])? {
            None => false,
            Some(_) if field.presence => true,
            Some(Value::Varint(raw) | Value::Fixed64(raw)) => raw != 0 || field.repeated,
            Some(Value::Fixed32(raw)) => raw != 0 || field.repeated,
            // A list holds empty texts; an empty packed one is none.
            Some(Value::Bytes(range)) => {
                !range.is_empty() || (field.repeated && !crate::render::packable(&field.kind))
            }
        })
    }
}

/// The name between the braces that the text begins with, if that is a splice, and what follows.
fn splice(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    let plain = name.strip_suffix('?').unwrap_or(name);
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    plain.split('.').all(is_word).then_some((name, after))
}

fn part(name: &str, vars: &[(&str, &Field)], response: &Arc<Shape>) -> anyhow::Result<Part> {
    if let Some(position) = vars.iter().position(|(var, _)| *var == name) {
        let string = matches!(vars[position].1.kind, Kind::String);
        ensure!(string, "a path variable that is spliced is a string");
        return Ok(Part::Var(position));
    }
    let (path, has) = match name.strip_suffix('?') {
        Some(path) => (path, true),
        None => (name, false),
    };
    let place = place(path, response)?;
    Ok(match has {
        true => Part::Has(place),
        false => Part::Field(place),
    })
}

fn place(path: &str, response: &Arc<Shape>) -> anyhow::Result<Place> {
    let mut shape = response;
    let mut around = Vec::new();
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let position = shape.named(name);
        let position = position.with_context(|| format!("{} has no field `{name}`", shape.name))?;
        let field = &shape.fields[position];
        match (&field.kind, names.peek()) {
            (_, None) => {
                return Ok(Place {
                    around,
                    shape: Arc::clone(shape),
                    position,
                });
            }
            (Kind::Message(inner), Some(_)) if !field.repeated => {
                around.push(field.number);
                shape = inner;
            }
            (_, Some(_)) => bail!("`{name}` holds no fields of its own"),
        }
    }
    bail!("it names nothing")
}
