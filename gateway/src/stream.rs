//! A streamed reply on its way to the client: opened, and written out piece by piece.
//!
//! Invariant: a stream of events ends in good order whatever happened behind it: one that breaks off
//! says so in the words of its contract.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use mesh::{
    Ctx, Error, Link,
    call::{self, Failure, RawCodec},
    error::Reason,
    revision::Seen,
};
use tokio::time::timeout;
use tonic::{Streaming, metadata::MetadataMap};
use transcoding::{EVENT_STREAM, Form, Piece, Route, access::STREAM_LIFE_MAX};

use crate::http_metadata::Stated;

/// A service that says nothing for so long is taken for gone (docs/reference/discovery.md §4).
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A reply that has begun.
pub(crate) struct Opened {
    form: Arc<Form>,
    metadata: MetadataMap,
    messages: Streaming<Bytes>,
    first: Piece,
    content_type: Option<HeaderValue>,
    stated: Stated,
}

/// Calls a route's RPC whose reply streams: resolves with its first message. Until then a failure is
/// an answer like any other.
///
/// # Errors
/// As [`call::unary`].
pub(crate) async fn open(
    link: Link,
    route: &Route,
    form: &Arc<Form>,
    message: Bytes,
    ctx: &Ctx,
) -> Result<Opened, Failure> {
    let (mut grpc, request) = call::prepare(link, route, message, ctx, None).await?;
    let rpc = route.rpc.clone();
    let opened = async {
        let response = grpc.server_streaming(request, rpc, RawCodec).await?;
        let (metadata, messages, _) = response.into_parts();
        Opened::begin(route, form, metadata, messages).await
    };
    opened.await.map_err(|status| Failure::of(&status))
}

impl Opened {
    async fn begin(
        route: &Route,
        form: &Arc<Form>,
        metadata: MetadataMap,
        mut messages: Streaming<Bytes>,
    ) -> Result<Self, tonic::Status> {
        let stated = match form.is_http_body() {
            true => Stated::read(route, metadata.as_ref()),
            false => Stated::of(route),
        };
        let first = messages.message().await?;
        let content_type = form.content_type(first.as_ref());
        let content_type = content_type.map_err(|error| broken(route, error))?;
        // What is no success as usual and has no message has no body.
        let nothing = first.is_none() && stated.status != StatusCode::OK;
        let content_type = content_type.filter(|_| !nothing);
        let first = first.map(|first| form.piece(first)).transpose();
        let first = first.map_err(|error| broken(route, error))?;
        Ok(Self {
            form: Arc::clone(form),
            metadata,
            messages,
            first: first.unwrap_or_default(),
            content_type,
            stated,
        })
    }

    /// The revision of the metadata that the service serves; 0 when it named none.
    pub(crate) fn revision(&self) -> u64 {
        Seen::in_headers(self.metadata.as_ref())
    }

    fn is_events(&self) -> bool {
        let content_type = self.content_type.as_ref();
        content_type.is_some_and(|is| is.as_bytes().starts_with(EVENT_STREAM.as_bytes()))
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.stated.status
    }

    /// Whether the answer has a body.
    pub(crate) fn has_body(&self) -> bool {
        self.stated.status != StatusCode::NOT_MODIFIED
    }

    /// Writes the headers of the answer.
    pub(crate) fn write_headers(&self, headers: &mut HeaderMap) {
        headers.extend(self.stated.headers.clone());
        if let (Some(content_type), true) = (&self.content_type, self.has_body()) {
            headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        if self.is_events() {
            // Nobody knows how many there will be.
            headers.remove(header::CONTENT_LENGTH);
            self.form.write_headers(headers);
        }
    }

    /// The body. Dropping it ends the call behind it. Events that break off end in the words of their
    /// contract; any other body fails, since its client could not tell it from a whole one.
    pub(crate) fn into_body(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        let events = self.is_events();
        let opening = match events {
            true => self.form.opening(),
            false => Bytes::new(),
        };
        let ends_at = tokio::time::Instant::now() + STREAM_LIFE_MAX;
        let closed = self.first.closed;
        let first = self.first.bytes;
        let rest = Some((self.form, self.messages, closed));
        let rest = stream::unfold(rest, move |state| async move {
            let (form, mut messages, closed) = state?;
            let left = ends_at.saturating_duration_since(tokio::time::Instant::now());
            let next = timeout(SILENCE_MAX.min(left), messages.message()).await;
            let error = match next {
                Ok(Ok(Some(message))) => match form.piece(message) {
                    Ok(piece) => {
                        let closed = closed || piece.closed;
                        return Some((Ok(piece.bytes), Some((form, messages, closed))));
                    }
                    Err(error) => Some(Error::from(error)),
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
            let closing = match (events, error) {
                (true, error) if !closed => Ok(form.closing(error.as_ref().map(Error::message))),
                (true, _) | (false, None) => Ok(Bytes::new()),
                (false, Some(error)) => Err(error),
            };
            Some((closing, None))
        });
        futures::StreamExt::filter(
            futures::StreamExt::chain(stream::iter([Ok(opening), Ok(first)]), rest),
            |piece| std::future::ready(!matches!(piece, Ok(bytes) if bytes.is_empty())),
        )
    }
}

fn broken(route: &Route, error: transcoding::Error) -> tonic::Status {
    let cause = anyhow::Error::from(error).context(format!("{route} answered something else"));
    Error::internal(cause).into_status()
}
