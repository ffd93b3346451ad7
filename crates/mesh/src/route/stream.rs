//! Replies that stream: server-sent events, one a message, or a body that the service writes itself
//! (`google.api.HttpBody`), whose first message says of what type it is.
//!
//! Invariant: a stream of events ends in good order whatever happened behind it: one that breaks off
//! says so in the words of its contract.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::{Stream, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use prost::Message as _;
use prost_reflect::MethodDescriptor;
use proto::{annotations::v1::EventStream, google::api::HttpBody};
use tokio::time::timeout;
use tonic::{Streaming, metadata::MetadataMap};

use super::{
    Route,
    shape::{Kind, Shape},
    wire::{Reader, Value},
};
use crate::{Error, error::Reason, revision::Seen};

/// The media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";

/// A service that says nothing for so long is taken for gone (docs/reference/discovery.md §4).
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a stream lives at most.
const LIFE_MAX: Duration = Duration::from_secs(30 * 60);
/// A sign of life to the client.
const PING: &[u8] = b": ping\n\n";
const HTTP_BODY: &str = "google.api.HttpBody";

/// How a route's reply streams.
#[derive(Clone, Debug)]
pub struct Form {
    /// The field of a message that is the event; none where messages are pieces of a body.
    event: Option<u32>,
    headers: Vec<(HeaderName, HeaderValue)>,
    broken: Vec<String>,
    done: String,
}

impl Form {
    /// As the contract says; `None` where the reply does not stream.
    pub(super) fn of(
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

    /// Whether the reply is one message of JSON unless events are asked for.
    #[must_use]
    pub fn may_be_json(&self) -> bool {
        self.event.is_none()
    }

    fn closing(&self, error: Option<&Error>) -> Bytes {
        let mut text = String::new();
        if let Some(error) = error {
            let why = serde_json::Value::from(error.message()).to_string();
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

/// A reply that has begun.
pub struct Opened {
    form: Arc<Form>,
    metadata: MetadataMap,
    messages: Streaming<Bytes>,
    first: Piece,
    content_type: HeaderValue,
}

/// What one message is to the client.
struct Piece {
    bytes: Bytes,
    /// It says itself how the stream ended.
    closed: bool,
}

impl Opened {
    /// Waits for the first message: until then a failure is an answer like any other.
    pub(super) async fn begin(
        route: &Route,
        form: &Arc<Form>,
        metadata: MetadataMap,
        mut messages: Streaming<Bytes>,
    ) -> Result<Self, tonic::Status> {
        let first = messages.message().await?;
        let content_type = match (&form.event, &first) {
            (None, Some(first)) => {
                let first = HttpBody::decode(first.clone()).map_err(|_| broken(route))?;
                HeaderValue::try_from(first.content_type).map_err(|_| broken(route))?
            }
            (Some(_), _) | (None, None) => HeaderValue::from_static(EVENT_STREAM),
        };
        let first = match first {
            Some(first) => piece(form, first).map_err(|_| broken(route))?,
            None => Piece {
                bytes: Bytes::new(),
                closed: false,
            },
        };
        Ok(Self {
            form: Arc::clone(form),
            metadata,
            messages,
            first,
            content_type,
        })
    }

    /// The revision of the metadata that the service serves; 0 when it named none.
    #[must_use]
    pub fn revision(&self) -> u64 {
        Seen::in_headers(self.metadata.as_ref())
    }

    fn is_events(&self) -> bool {
        self.content_type
            .as_bytes()
            .starts_with(EVENT_STREAM.as_bytes())
    }

    /// Writes the headers of the answer.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        if self.is_events() {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.extend(self.form.headers.iter().cloned());
        }
    }

    /// The body. Dropping it ends the call behind it.
    pub fn into_body(self) -> impl Stream<Item = Bytes> + Send + 'static {
        let events = self.is_events();
        let ends_at = tokio::time::Instant::now() + LIFE_MAX;
        let closed = self.first.closed;
        let first = self.first.bytes;
        let rest = Some((self.form, self.messages, closed));
        let rest = stream::unfold(rest, move |state| async move {
            let (form, mut messages, closed) = state?;
            let left = ends_at.saturating_duration_since(tokio::time::Instant::now());
            let next = timeout(SILENCE_MAX.min(left), messages.message()).await;
            let error = match next {
                Ok(Ok(Some(message))) => match piece(&form, message) {
                    Ok(piece) => {
                        let closed = closed || piece.closed;
                        return Some((piece.bytes, Some((form, messages, closed))));
                    }
                    Err(_) => Some(Error::internal(anyhow::anyhow!("a broken message"))),
                },
                Ok(Ok(None)) => None,
                Ok(Err(status)) => Some(Error::from_status(&status)),
                Err(_) => Some(Error::new(
                    Reason::Timeout,
                    match left < SILENCE_MAX {
                        true => "The stream lasted too long",
                        false => "The service fell silent",
                    },
                )),
            };
            if let Some(error) = &error {
                tracing::warn!(%error, "a stream broke off");
            }
            let closing = match events && !closed {
                true => form.closing(error.as_ref()),
                false => Bytes::new(),
            };
            Some((closing, None))
        });
        futures::StreamExt::filter(
            futures::StreamExt::chain(stream::iter([first]), rest),
            |bytes| std::future::ready(!bytes.is_empty()),
        )
    }
}

/// A message as the client sees it.
fn piece(form: &Form, message: Bytes) -> Result<Piece, ()> {
    let Some(event) = form.event else {
        let bytes = HttpBody::decode(message).map_err(|_| ())?.data;
        let done = !form.done.is_empty();
        let last = format!("data: {}\n\n", form.done);
        let closed = done && bytes.ends_with(last.as_bytes());
        return Ok(Piece { bytes, closed });
    };
    let mut reader = Reader::new(&message);
    let mut json: &[u8] = &[];
    while let Some((number, value)) = reader.field().map_err(|_| ())? {
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

fn broken(route: &Route) -> tonic::Status {
    Error::internal(anyhow::anyhow!("{route} answered what is no {HTTP_BODY}")).into_status()
}
