//! Response headers: text with values of the path and of the response in it.

use anyhow::{Context as _, ensure};
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proto::annotations::v1::HeaderFormat;

use crate::{
    shape::{Kind, Shape},
    table::Vars,
    wire::{self, Broken, Value, unzigzag},
};

/// What a path segment keeps as it is (RFC 3986 §2.3, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How a header's value is made.
#[derive(Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
    etag: bool,
    /// Whether the value is a URL, in which response values are percent-encoded.
    url: bool,
}

#[derive(Debug)]
enum Part {
    Text(String),
    /// A path variable, by position.
    Var(usize),
    /// A response field.
    Field {
        path: Vec<u32>,
        kind: Kind,
    },
}

impl Template {
    /// Reads `/api/v1/data/{object}/{record.id}`. A name is a path variable if there is one of
    /// that name, else a field of the response.
    pub(crate) fn parse(
        text: &str,
        format: HeaderFormat,
        url: bool,
        vars: &[String],
        response: &Shape,
    ) -> anyhow::Result<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (name, after) = after
                .split_once('}')
                .with_context(|| format!("`{text}` lacks a closing brace"))?;
            rest = after;
            if let Some(position) = vars.iter().position(|var| var == name) {
                parts.push(Part::Var(position));
                continue;
            }
            let (path, field) = response
                .path(name)
                .with_context(|| format!("`{name}` is no path variable and no field"))?;
            let printable = !matches!(
                field.kind,
                Kind::Message(_) | Kind::Timestamp | Kind::Json | Kind::Bytes | Kind::Enum(_)
            );
            ensure!(
                printable && !field.repeated,
                "`{name}` cannot stand in a header"
            );
            let kind = field.kind.clone();
            parts.push(Part::Field { path, kind });
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self {
            parts,
            etag: format == HeaderFormat::Etag,
            url,
        })
    }

    /// The header's value; `None` when a part is empty, or not fit for a header.
    pub(crate) fn render(
        &self,
        vars: &Vars<'_>,
        wire: &[u8],
    ) -> Result<Option<HeaderValue>, Broken> {
        let mut text = String::new();
        if self.etag {
            text.push('"');
        }
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Var(position) => text.push_str(vars.0.get(*position).unwrap_or(&"")),
                Part::Field { path, kind } => {
                    let value = wire::find(wire, path)?.and_then(|value| print(kind, &value, wire));
                    let Some(value) = value else { return Ok(None) };
                    if self.url {
                        text.extend(utf8_percent_encode(&value, SEGMENT));
                    } else {
                        text.push_str(&value);
                    }
                }
            }
        }
        if self.etag {
            text.push('"');
        }
        Ok(HeaderValue::try_from(text).ok())
    }
}

/// A value as text; `None` for an empty one (unset, zero, no characters).
pub(crate) fn print(kind: &Kind, value: &Value, wire: &[u8]) -> Option<String> {
    let text = match (kind, value) {
        (_, Value::Varint(0) | Value::Fixed32(0) | Value::Fixed64(0)) => return None,
        (Kind::Bool, _) => "true".to_owned(),
        (Kind::Int32, Value::Varint(raw)) => (*raw as i32).to_string(),
        (Kind::Int64, Value::Varint(raw)) => raw.cast_signed().to_string(),
        (Kind::Sint32 | Kind::Sint64, Value::Varint(raw)) => unzigzag(*raw).to_string(),
        (Kind::Sfixed32, Value::Fixed32(raw)) => raw.cast_signed().to_string(),
        (Kind::Float, Value::Fixed32(raw)) => f32::from_bits(*raw).to_string(),
        (Kind::Sfixed64, Value::Fixed64(raw)) => raw.cast_signed().to_string(),
        (Kind::Double, Value::Fixed64(raw)) => f64::from_bits(*raw).to_string(),
        (_, Value::Varint(raw) | Value::Fixed64(raw)) => raw.to_string(),
        (_, Value::Fixed32(raw)) => raw.to_string(),
        (_, Value::Bytes(range)) => {
            let text = str::from_utf8(&wire[range.clone()]).ok()?;
            if text.is_empty() {
                return None;
            }
            text.to_owned()
        }
    };
    Some(text)
}
