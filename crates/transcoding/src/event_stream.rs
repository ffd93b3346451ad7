//! Replies that stream: server-sent events, one a message, or a body that the service writes itself
//! (`google.api.HttpBody`), whose first message says of what type it is. Here is what the contract says
//! of them and how one message reads; who holds the stream writes them out.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use prost::Message as _;
use prost_reflect::MethodDescriptor;
use proto::{annotations::v1::EventStream, google::api::HttpBody};

use crate::{
    Error, Result,
    shape::{Kind, Shape},
    template::print,
    wire::{Reader, Value},
};

/// The media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// The message that is a body as its service writes it.
pub const HTTP_BODY: &str = "google.api.HttpBody";

/// A sign of life to the client.
const PING: &[u8] = b": ping\n\n";

/// How a route's reply streams.
#[derive(Clone, Debug)]
pub struct Form {
    /// How messages become events; none where they are pieces of a body.
    event: Option<Event>,
    /// Whether the contract says how its events begin and end.
    stated: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
    broken: Vec<String>,
    done: String,
}

/// Where the parts of an event are in its message.
#[derive(Clone, Debug)]
struct Event {
    data: u32,
    id: Option<Line>,
    name: Option<Line>,
    /// `retry:`, once at the start; empty: none.
    opening: Bytes,
}

/// A field that prints as a line of an event.
#[derive(Clone, Debug)]
struct Line {
    number: u32,
    kind: Kind,
}

impl Line {
    /// The field of that name; `None` for no name.
    fn of(
        response: &Shape,
        option: &str,
        name: &str,
        fits: impl Fn(&Kind) -> bool,
    ) -> anyhow::Result<Option<Self>> {
        if name.is_empty() {
            return Ok(None);
        }
        let position = response.named(name);
        let position = position
            .with_context(|| format!("{option}: {} has no field `{name}`", response.name))?;
        let field = &response.fields[position];
        ensure!(
            !field.repeated && fits(&field.kind),
            "{option}: `{name}` cannot be a line of an event"
        );
        Ok(Some(Self {
            number: field.number,
            kind: field.kind.clone(),
        }))
    }
}

/// What one message is to the client.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    /// What is written.
    pub bytes: Bytes,
    /// Whether it says itself how the stream ended.
    pub closed: bool,
}

impl Form {
    /// As the contract says; `None` where the reply does not stream.
    pub(crate) fn of(
        rpc: &MethodDescriptor,
        response: &Shape,
        stated: Option<&EventStream>,
    ) -> anyhow::Result<Option<Self>> {
        if !rpc.is_server_streaming() {
            ensure!(stated.is_none(), "`event_stream` is for streams");
            return Ok(None);
        }
        let is_stated = stated.is_some();
        let stated = stated.cloned().unwrap_or_default();
        let event = if response.name == HTTP_BODY {
            ensure!(
                stated.id_field.is_empty() && stated.event_field.is_empty() && stated.retry_ms == 0,
                "{HTTP_BODY} is written by its service: id_field, event_field and retry_ms are for \
                 messages"
            );
            None
        } else {
            Some(Event::of(response, &stated)?)
        };
        let headers = stated.headers.iter().map(|one| {
            let name = HeaderName::from_lowercase(one.name.as_bytes())?;
            Ok((name, HeaderValue::try_from(&one.value)?))
        });
        Ok(Some(Self {
            event,
            stated: is_stated,
            headers: headers.collect::<anyhow::Result<_>>()?,
            broken: stated.broken,
            done: stated.done,
        }))
    }

    /// Whether the reply is a body as its service writes it: of any type, by its first message.
    #[must_use]
    pub fn is_http_body(&self) -> bool {
        self.event.is_none()
    }

    /// Whether the reply may be events; a body of which the contract says nothing more is none.
    #[must_use]
    pub fn may_be_events(&self) -> bool {
        self.event.is_some() || self.stated
    }

    /// The options of the events as one line, for whoever shows the table; empty when there are none.
    #[must_use]
    pub fn summary(&self) -> String {
        let Some(event) = &self.event else {
            return String::new();
        };
        let mut parts = Vec::new();
        let lines = [("id", &event.id), ("event", &event.name)];
        for (name, line) in lines {
            parts.extend(
                line.as_ref()
                    .map(|line| format!("{name} = field {}", line.number)),
            );
        }
        let opening = String::from_utf8_lossy(&event.opening);
        parts.extend((!opening.is_empty()).then(|| opening.trim().to_owned()));
        parts.join(", ")
    }

    /// What stands before the first event; empty when nothing does.
    #[must_use]
    pub fn opening(&self) -> Bytes {
        let event = self.event.as_ref();
        event.map_or_else(Bytes::new, |event| event.opening.clone())
    }

    /// Writes what a stream of events says of itself.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.extend(self.headers.iter().cloned());
    }

    /// The media type of a reply that begins with that message, if there is one; `None` where that says
    /// none.
    ///
    /// # Errors
    /// When the message is none, or its type.
    pub fn content_type(&self, first: Option<&Bytes>) -> Result<Option<HeaderValue>> {
        match (&self.event, first) {
            (None, Some(first)) => {
                let first = HttpBody::decode(first.clone()).map_err(Error::reply)?;
                if first.content_type.is_empty() && !self.stated {
                    return Ok(None);
                }
                let given = HeaderValue::try_from(first.content_type);
                given.map(Some).map_err(Error::reply)
            }
            (None, None) if !self.stated => Ok(None),
            (Some(_), _) | (None, None) => Ok(Some(HeaderValue::from_static(EVENT_STREAM))),
        }
    }

    /// A message as the client sees it.
    ///
    /// # Errors
    /// When the message is none.
    pub fn piece(&self, message: Bytes) -> Result<Piece> {
        let Some(event) = &self.event else {
            let bytes = HttpBody::decode(message).map_err(Error::reply)?.data;
            let done = !self.done.is_empty();
            let last = format!("data: {}\n\n", self.done);
            let closed = done && bytes.ends_with(last.as_bytes());
            return Ok(Piece { bytes, closed });
        };
        Ok(Piece {
            bytes: event.print(&message)?,
            closed: false,
        })
    }

    /// The events at the end of a stream of events: `why` when it broke off.
    #[must_use]
    pub fn closing(&self, why: Option<&str>) -> Bytes {
        let mut text = String::new();
        if let Some(why) = why {
            let why = serde_json::Value::from(why).to_string();
            for event in &self.broken {
                text.push_str(&format!("data: {}\n\n", event.replace("{message}", &why)));
            }
        }
        if !self.done.is_empty() {
            text.push_str(&format!("data: {}\n\n", self.done));
        }
        text.into()
    }
}

impl Event {
    fn of(response: &Shape, stated: &EventStream) -> anyhow::Result<Self> {
        let mut json = response.fields.iter();
        let json = json.find(|field| matches!(field.kind, Kind::Json) && !field.repeated);
        let json = json.context("a streamed message has one raw JSON field")?;
        let is_text = |kind: &Kind| matches!(kind, Kind::String);
        let is_id = |kind: &Kind| {
            let whole = matches!(
                kind,
                Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32
            );
            let long = matches!(
                kind,
                Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64
            );
            is_text(kind) || whole || long
        };
        Ok(Self {
            data: json.number,
            id: Line::of(response, "id_field", &stated.id_field, is_id)?,
            name: Line::of(response, "event_field", &stated.event_field, is_text)?,
            opening: match stated.retry_ms {
                0 => Bytes::new(),
                ms => format!("retry: {ms}\n\n").into(),
            },
        })
    }

    /// The event in a message; a sign of life when there is none.
    fn print(&self, message: &[u8]) -> Result<Bytes> {
        let mut data: &[u8] = &[];
        let (mut id, mut name) = (None, None);
        let mut reader = Reader::new(message);
        while let Some((number, value)) = reader.field().map_err(Error::reply)? {
            if let (true, Value::Bytes(range)) = (number == self.data, &value) {
                data = &message[range.clone()];
            }
            for (line, found) in [(&self.id, &mut id), (&self.name, &mut name)] {
                if let Some(line) = line.as_ref().filter(|line| line.number == number) {
                    *found = print(&line.kind, &value, message);
                }
            }
        }
        if data.is_empty() && id.is_none() {
            return Ok(Bytes::from_static(PING));
        }
        let mut bytes = Vec::with_capacity(data.len() + 64);
        // Of an event without data clients take the id and nothing else.
        let name = name.filter(|_| !data.is_empty());
        for (field, text) in [("event", name), ("id", id)] {
            let Some(text) = text else { continue };
            // It would end the line, and what follows would be a field of the service's choice.
            if text.contains(['\n', '\r', '\0']) {
                let cause = anyhow::anyhow!("an event's `{field}` holds a line break");
                return Err(Error::reply(cause));
            }
            bytes.extend_from_slice(format!("{field}: {text}\n").as_bytes());
        }
        if !data.is_empty() {
            bytes.extend_from_slice(b"data: ");
            // Raw JSON may be written over several lines; an event's data is one.
            bytes.extend(data.iter().map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                other => *other,
            }));
            bytes.push(b'\n');
        }
        bytes.push(b'\n');
        Ok(bytes.into())
    }
}
