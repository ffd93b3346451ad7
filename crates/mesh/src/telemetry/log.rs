//! Log lines as JSON, one object a line.
//!
//! A span's fields are written once, when it begins, and every line within it repeats them; the
//! stock formatter would parse them again for each line. Only the innermost span is told: a request
//! has one in each process, and that says all there is to say.

use std::{fmt, fmt::Write as _};

use time::format_description::well_known::Rfc3339;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::output::Output;
use crate::clock;

/// Writes events to the output.
pub(super) struct JsonLines {
    /// Named in lines that belong to no service's span.
    process: &'static str,
    output: Output,
}

impl JsonLines {
    pub(super) fn new(process: &'static str, output: Output) -> Self {
        Self { process, output }
    }
}

/// A span's fields, written: `,"request.id":"01H…"`.
struct Written {
    text: String,
    names_service: bool,
}

impl<S> Layer<S> for JsonLines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::new(String::with_capacity(192));
        attributes.record(&mut fields);
        span.extensions_mut().insert(Written {
            text: fields.text,
            names_service: fields.names_service,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(written) = extensions.get_mut::<Written>() else {
            return;
        };
        let mut fields = Fields::new(std::mem::take(&mut written.text));
        fields.only = Some("trace_id");
        values.record(&mut fields);
        written.text = fields.text;
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = String::with_capacity(384);
        line.push_str("{\"timestamp\":\"");
        line.push_str(&clock::now().format(&Rfc3339).unwrap_or_default());
        line.push_str("\",\"level\":\"");
        line.push_str(metadata.level().as_str());
        line.push('"');
        let mut fields = Fields::new(line);
        event.record(&mut fields);
        let (mut line, mut named) = (fields.text, fields.names_service);
        if let Some(span) = context.event_span(event)
            && let Some(written) = span.extensions().get::<Written>()
        {
            line.push_str(&written.text);
            named |= written.names_service;
        }
        if !named {
            line.push_str(",\"service.name\":\"");
            line.push_str(self.process);
            line.push('"');
        }
        line.push_str(",\"target\":\"");
        line.push_str(metadata.target());
        line.push_str("\"}\n");
        self.output.write(&line, *metadata.level() <= Level::WARN);
    }
}

/// Writes fields behind one another.
struct Fields {
    text: String,
    names_service: bool,
    /// The only field that is written, if not all are.
    only: Option<&'static str>,
}

impl Fields {
    fn new(text: String) -> Self {
        Self {
            text,
            names_service: false,
            only: None,
        }
    }

    /// Writes the name; false for what is not for the log.
    fn name(&mut self, field: &Field) -> bool {
        let name = field.name();
        if name.starts_with("otel.") || self.only.is_some_and(|only| only != name) {
            return false;
        }
        self.names_service |= name == "service.name";
        self.text.push_str(",\"");
        self.text.push_str(name);
        self.text.push_str("\":");
        true
    }

    /// Writing into a string cannot fail.
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        if self.name(field) {
            let _ = write!(self.text, "{value}");
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.name(field) {
            self.text.push('"');
            let _ = Escaped(&mut self.text).write_str(value);
            self.text.push('"');
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, value);
        } else {
            self.record_str(field, &value.to_string());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.name(field) {
            self.text.push('"');
            let _ = write!(Escaped(&mut self.text), "{value:?}");
            self.text.push('"');
        }
    }
}

/// Writes text as the inside of a JSON string.
struct Escaped<'t>(&'t mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0..0x20 => "",
                _ => continue,
            };
            // A control character is one byte, so both cuts lie between characters.
            self.0.push_str(text.get(plain..at).unwrap_or_default());
            plain = at + 1;
            if escape.is_empty() {
                write!(self.0, "\\u{byte:04x}")?;
            } else {
                self.0.push_str(escape);
            }
        }
        self.0.push_str(text.get(plain..).unwrap_or_default());
        Ok(())
    }
}
