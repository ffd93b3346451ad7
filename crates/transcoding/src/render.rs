//! Wire bytes → HTTP reply, over a route's plan. The wire is scanned, raw JSON is copied, and only
//! small typed values are written anew.

use std::ops::Range;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use time::OffsetDateTime;

use crate::{
    Error, Result,
    shape::{Field, Kind, Shape},
    table::{Route, Vars},
    wire::{self, Broken, Reader, Value, unzigzag},
};

impl Route {
    /// Writes the reply: its headers into `headers`, and gives its status and body.
    ///
    /// # Errors
    /// When the message is not what the descriptor says.
    pub fn render(
        &self,
        vars: &Vars<'_>,
        wire: &[u8],
        headers: &mut HeaderMap,
    ) -> Result<(StatusCode, Vec<u8>)> {
        for (name, template) in &self.response_headers {
            if let Some(value) = template.render(vars, wire).map_err(Error::reply)? {
                headers.insert(name.clone(), value);
            }
        }
        let status = self.status_of(wire)?;
        if self.empty || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Ok((status, Vec::new()));
        }
        let body = match &self.frame {
            Some(frame) => frame.render(vars, wire).map_err(Error::reply)?,
            None => {
                let mut printer = Printer::with_capacity(wire.len() + wire.len() / 8 + 128);
                printer
                    .body(&self.shapes.response, self.response_body, wire)
                    .map_err(Error::reply)?;
                printer.out
            }
        };
        headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        Ok((status, body))
    }

    fn status_of(&self, wire: &[u8]) -> Result<StatusCode> {
        let Some(path) = &self.status_field else {
            return Ok(self.status);
        };
        match wire::find(wire, path).map_err(Error::reply)? {
            None | Some(Value::Varint(0)) => Ok(self.status),
            Some(Value::Varint(stated)) => u16::try_from(stated)
                .ok()
                .and_then(|stated| StatusCode::from_u16(stated).ok())
                .ok_or_else(|| Error::reply(anyhow::anyhow!("{stated} is no HTTP status"))),
            Some(_) => Err(Error::reply(anyhow::anyhow!("the status is no number"))),
        }
    }
}

/// What a message holds of one field: its last value, and where it starts and ends.
#[derive(Clone, Default)]
struct Slot {
    last: Option<Value>,
    span: Range<usize>,
    count: u32,
}

/// A whole message as JSON.
#[cfg(test)]
pub(crate) fn message(shape: &Shape, wire: &[u8]) -> std::result::Result<Vec<u8>, Broken> {
    let mut printer = Printer {
        out: Vec::new(),
        slots: Vec::new(),
    };
    printer.message(shape, wire)?;
    Ok(printer.out)
}

/// Writes messages and fields as JSON, one after the other.
pub(crate) struct Printer {
    out: Vec<u8>,
    /// One slot a field of every message that is open; kept between messages.
    slots: Vec<Slot>,
}

impl Printer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
            slots: Vec::with_capacity(32),
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Writes a message, or one of its fields alone: null where that is not there and could be told.
    pub(crate) fn body(
        &mut self,
        shape: &Shape,
        picked: Option<usize>,
        wire: &[u8],
    ) -> std::result::Result<(), Broken> {
        let Some(picked) = picked else {
            return self.message(shape, wire);
        };
        self.scan(shape, wire)?;
        let (field, slot) = (&shape.fields[picked], self.slots[picked].clone());
        self.slots.clear();
        if slot.last.is_none() && field.presence {
            self.out.extend_from_slice(b"null");
            return Ok(());
        }
        self.value(field, &slot, wire)
    }

    /// Notes each field of a message in the slots at the end of `self.slots`.
    fn scan(&mut self, shape: &Shape, wire: &[u8]) -> std::result::Result<usize, Broken> {
        let base = self.slots.len();
        self.slots
            .resize_with(base + shape.fields.len(), Slot::default);
        let mut reader = Reader::new(wire);
        loop {
            let start = reader.at;
            let Some((number, value)) = reader.field()? else {
                return Ok(base);
            };
            // A field that this build does not know comes from a newer peer: not ours to print.
            let Some(position) = shape.numbered(number) else {
                continue;
            };
            let slot = &mut self.slots[base + position];
            if slot.count == 0 {
                slot.span.start = start;
            }
            slot.span.end = reader.at;
            slot.count += 1;
            slot.last = Some(value);
        }
    }

    fn message(&mut self, shape: &Shape, wire: &[u8]) -> std::result::Result<(), Broken> {
        let base = self.scan(shape, wire)?;
        if let Some(position) = shape.transparent
            && self.slots[base + position].last.is_some()
        {
            let slot = std::mem::take(&mut self.slots[base + position]);
            self.slots.truncate(base);
            return self.value(&shape.fields[position], &slot, wire);
        }
        self.out.push(b'{');
        let start = self.out.len();
        for (position, field) in shape.fields.iter().enumerate() {
            if field.hidden || shape.transparent == Some(position) {
                continue;
            }
            let slot = std::mem::take(&mut self.slots[base + position]);
            let unset = slot.last.is_none() && field.presence;
            if unset && !field.nullable {
                continue;
            }
            if self.out.len() > start {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&field.key);
            if unset {
                self.out.extend_from_slice(b"null");
            } else {
                self.value(field, &slot, wire)?;
            }
        }
        self.out.push(b'}');
        self.slots.truncate(base);
        Ok(())
    }

    /// Prints a field: its one value, its default, or its list.
    fn value(
        &mut self,
        field: &Field,
        slot: &Slot,
        wire: &[u8],
    ) -> std::result::Result<(), Broken> {
        if field.repeated {
            return self.list(field, slot, wire);
        }
        match (&field.kind, &slot.last) {
            // A message that stands twice is the two merged, and that is their bytes in a row.
            (Kind::Message(_), Some(_)) if slot.count > 1 => {
                let mut merged = Vec::new();
                let mut reader = Reader::within(wire, slot.span.clone());
                while let Some((number, value)) = reader.field()? {
                    if let (true, Value::Bytes(range)) = (number == field.number, value) {
                        merged.extend_from_slice(&wire[range]);
                    }
                }
                self.one(&field.kind, &Value::Bytes(0..merged.len()), &merged)
            }
            (kind, Some(value)) => self.one(kind, value, wire),
            (kind, None) => {
                self.default_of(kind);
                Ok(())
            }
        }
    }

    fn list(&mut self, field: &Field, slot: &Slot, wire: &[u8]) -> std::result::Result<(), Broken> {
        self.out.push(b'[');
        let start = self.out.len();
        let mut reader = Reader::within(wire, slot.span.clone());
        while let Some((number, value)) = reader.field()? {
            if number != field.number {
                continue;
            }
            match value {
                Value::Bytes(range) if packable(&field.kind) => {
                    let mut packed = Reader::within(wire, range);
                    while !packed.at_end() {
                        let value = packed_value(&field.kind, &mut packed)?;
                        self.separate(start);
                        self.one(&field.kind, &value, wire)?;
                    }
                }
                value => {
                    self.separate(start);
                    self.one(&field.kind, &value, wire)?;
                }
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn separate(&mut self, start: usize) {
        if self.out.len() > start {
            self.out.push(b',');
        }
    }

    fn one(&mut self, kind: &Kind, value: &Value, wire: &[u8]) -> std::result::Result<(), Broken> {
        match (kind, value) {
            (Kind::Json, Value::Bytes(range)) => match &wire[range.clone()] {
                // No text would make the whole body invalid.
                [] => self.out.extend_from_slice(b"null"),
                text => self.out.extend_from_slice(text),
            },
            (Kind::Message(shape), Value::Bytes(range)) => {
                return self.message(shape, &wire[range.clone()]);
            }
            (Kind::String, Value::Bytes(range)) => self.string(&wire[range.clone()]),
            (Kind::Bytes, Value::Bytes(range)) => {
                let text = STANDARD.encode(&wire[range.clone()]);
                self.string(text.as_bytes());
            }
            (Kind::Timestamp, Value::Bytes(range)) => return self.timestamp(&wire[range.clone()]),
            (Kind::Bool, Value::Varint(raw)) => self.text(if *raw == 0 { "false" } else { "true" }),
            (Kind::Int32, Value::Varint(raw)) => self.signed((*raw as i32).into()),
            (Kind::Int64, Value::Varint(raw)) => self.signed(raw.cast_signed()),
            (Kind::Sint32 | Kind::Sint64, Value::Varint(raw)) => self.signed(unzigzag(*raw)),
            (Kind::Uint32, Value::Varint(raw)) => self.unsigned((*raw as u32).into()),
            (Kind::Uint64, Value::Varint(raw)) => self.unsigned(*raw),
            (Kind::Enum(names), Value::Varint(raw)) => {
                let number = *raw as i32;
                match names.iter().find(|(_, known)| *known == number) {
                    Some((name, _)) => self.string(name.as_bytes()),
                    None => self.signed(number.into()),
                }
            }
            (Kind::Fixed32, Value::Fixed32(raw)) => self.unsigned((*raw).into()),
            (Kind::Sfixed32, Value::Fixed32(raw)) => self.signed(raw.cast_signed().into()),
            (Kind::Fixed64, Value::Fixed64(raw)) => self.unsigned(*raw),
            (Kind::Sfixed64, Value::Fixed64(raw)) => self.signed(raw.cast_signed()),
            (Kind::Float, Value::Fixed32(raw)) => {
                let text = serde_json::to_string(&f32::from_bits(*raw)).unwrap_or_default();
                self.text(&text);
            }
            (Kind::Double, Value::Fixed64(raw)) => {
                let text = serde_json::to_string(&f64::from_bits(*raw)).unwrap_or_default();
                self.text(&text);
            }
            // The wire type does not fit the kind: an unknown field by the protobuf rules.
            _ => self.default_of(kind),
        }
        Ok(())
    }

    fn default_of(&mut self, kind: &Kind) {
        let text = match kind {
            Kind::Bool => "false",
            Kind::String | Kind::Bytes => "\"\"",
            Kind::Json | Kind::Timestamp | Kind::Message(_) => "null",
            Kind::Enum(names) => {
                // Zero is the default, and not always the least.
                let zero = names.iter().find(|(_, number)| *number == 0);
                self.string(zero.map_or("", |(name, _)| name.as_str()).as_bytes());
                return;
            }
            Kind::Float | Kind::Double => "0.0",
            Kind::Int32
            | Kind::Sint32
            | Kind::Sfixed32
            | Kind::Uint32
            | Kind::Fixed32
            | Kind::Int64
            | Kind::Sint64
            | Kind::Sfixed64
            | Kind::Uint64
            | Kind::Fixed64 => "0",
        };
        self.text(text);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn signed(&mut self, value: i64) {
        if value < 0 {
            self.out.push(b'-');
        }
        self.unsigned(value.unsigned_abs());
    }

    fn unsigned(&mut self, mut value: u64) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            let digit = (value % 10) as u8;
            digits[at] = b'0' + digit;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
    }

    pub(crate) fn string(&mut self, text: &[u8]) {
        // Peers write Rust strings, so this only costs when the wire lies.
        let text = String::from_utf8_lossy(text);
        self.out.push(b'"');
        let mut clean = 0;
        for (at, byte) in text.bytes().enumerate() {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..0x20 => b"",
                _ => continue,
            };
            self.out.extend_from_slice(&text.as_bytes()[clean..at]);
            if escape.is_empty() {
                self.text(&format!("\\u{byte:04x}"));
            } else {
                self.out.extend_from_slice(escape);
            }
            clean = at + 1;
        }
        self.out.extend_from_slice(&text.as_bytes()[clean..]);
        self.out.push(b'"');
    }

    fn timestamp(&mut self, wire: &[u8]) -> std::result::Result<(), Broken> {
        let (mut seconds, mut nanos) = (0_i64, 0_u64);
        let mut reader = Reader::new(wire);
        while let Some((number, value)) = reader.field()? {
            match (number, value) {
                (1, Value::Varint(raw)) => seconds = raw.cast_signed(),
                (2, Value::Varint(raw)) => nanos = raw,
                _ => {}
            }
        }
        let at = OffsetDateTime::from_unix_timestamp(seconds);
        let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        self.text(&format!(
            "\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z\"",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            nanos.min(999_999_999) / 1_000_000
        ));
        Ok(())
    }
}

/// Whether values of that kind stand in one field when they are many.
pub(crate) fn packable(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::String | Kind::Bytes | Kind::Json | Kind::Timestamp | Kind::Message(_)
    )
}

fn packed_value(kind: &Kind, reader: &mut Reader<'_>) -> std::result::Result<Value, Broken> {
    Ok(match kind {
        Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => Value::Fixed32(reader.fixed32()?),
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => Value::Fixed64(reader.fixed64()?),
        _ => Value::Varint(reader.varint()?),
    })
}
