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
    /// The field of a message that is the event; none where messages are pieces of a body.
    event: Option<u32>,
    headers: Vec<(HeaderName, HeaderValue)>,
    broken: Vec<String>,
    done: String,
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
        ensure!(!rpc.is_client_streaming(), "requests do not stream");
        if !rpc.is_server_streaming() {
            ensure!(stated.is_none(), "`event_stream` is for streams");
            return Ok(None);
        }
        let event = if response.name == HTTP_BODY {
            None
        } else {
            let mut json = response.fields.iter();
            let json = json.find(|field| matches!(field.kind, Kind::Json) && !field.repeated);
            Some(
                json.context("a streamed message has one raw JSON field")?
                    .number,
            )
        };
        let stated = stated.cloned().unwrap_or_default();
        let headers = stated.headers.iter().map(|one| {
            let name = HeaderName::from_lowercase(one.name.as_bytes())?;
            Ok((name, HeaderValue::try_from(&one.value)?))
        });
        Ok(Some(Self {
            event,
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

    /// Writes what a stream of events says of itself.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.extend(self.headers.iter().cloned());
    }

    /// The media type of a reply that begins with that message, if there is one.
    ///
    /// # Errors
    /// When the message is none, or its type.
    pub fn content_type(&self, first: Option<&Bytes>) -> Result<HeaderValue> {
        match (&self.event, first) {
            (None, Some(first)) => {
                let first = HttpBody::decode(first.clone()).map_err(Error::reply)?;
                HeaderValue::try_from(first.content_type).map_err(Error::reply)
            }
            (Some(_), _) | (None, None) => Ok(HeaderValue::from_static(EVENT_STREAM)),
        }
    }

    /// A message as the client sees it.
    ///
    /// # Errors
    /// When the message is none.
    pub fn piece(&self, message: Bytes) -> Result<Piece> {
        let Some(event) = self.event else {
            let bytes = HttpBody::decode(message).map_err(Error::reply)?.data;
            let done = !self.done.is_empty();
            let last = format!("data: {}\n\n", self.done);
            let closed = done && bytes.ends_with(last.as_bytes());
            return Ok(Piece { bytes, closed });
        };
        let mut reader = Reader::new(&message);
        let mut json: &[u8] = &[];
        while let Some((number, value)) = reader.field().map_err(Error::reply)? {
            if let (true, Value::Bytes(range)) = (number == event, value) {
                json = &message[range];
            }
        }
        if json.is_empty() {
            return Ok(Piece {
                bytes: Bytes::from_static(PING),
                closed: false,
            });
        }
        let mut bytes = Vec::with_capacity(json.len() + 8);
        bytes.extend_from_slice(b"data: ");
        // Raw JSON may be written over several lines; an event's data is one.
        bytes.extend(json.iter().map(|byte| match byte {
            b'\n' | b'\r' => b' ',
            other => *other,
        }));
        bytes.extend_from_slice(b"\n\n");
        Ok(Piece {
            bytes: bytes.into(),
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
