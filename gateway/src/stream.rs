//! A streamed reply on its way to the client: opened, and written out piece by piece.
//!
//! Invariant: a stream of events ends in good order whatever happened behind it: one that breaks off
//! says so in the words of its contract.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use http::{HeaderMap, HeaderValue, header};
use mesh::{
    Ctx, Error, Link,
    call::{self, Failure, RawCodec},
    error::Reason,
    revision::Seen,
};
use tokio::time::timeout;
use tonic::{Streaming, metadata::MetadataMap};
use transcoding::{EVENT_STREAM, Form, Piece, Route};

/// A service that says nothing for so long is taken for gone (docs/reference/discovery.md §4).
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a stream lives at most.
const LIFE_MAX: Duration = Duration::from_secs(30 * 60);

/// A reply that has begun.
pub(crate) struct Opened {
    form: Arc<Form>,
    metadata: MetadataMap,
    messages: Streaming<Bytes>,
    first: Piece,
    content_type: HeaderValue,
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
        let first = messages.message().await?;
        let content_type = form.content_type(first.as_ref());
        let content_type = content_type.map_err(|error| broken(route, error))?;
        let first = first.map(|first| form.piece(first)).transpose();
        let first = first.map_err(|error| broken(route, error))?;
        Ok(Self {
            form: Arc::clone(form),
            metadata,
            messages,
            first: first.unwrap_or_default(),
            content_type,
        })
    }

    /// The revision of the metadata that the service serves; 0 when it named none.
    pub(crate) fn revision(&self) -> u64 {
        Seen::in_headers(self.metadata.as_ref())
    }

    fn is_events(&self) -> bool {
        self.content_type
            .as_bytes()
            .starts_with(EVENT_STREAM.as_bytes())
    }

    /// Writes the headers of the answer.
    pub(crate) fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        if self.is_events() {
            self.form.write_headers(headers);
        }
    }

    /// The body. Dropping it ends the call behind it.
    pub(crate) fn into_body(self) -> impl Stream<Item = Bytes> + Send + 'static {
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
                Ok(Ok(Some(message))) => match form.piece(message) {
                    Ok(piece) => {
                        let closed = closed || piece.closed;
                        return Some((piece.bytes, Some((form, messages, closed))));
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
            let closing = match events && !closed {
                true => form.closing(error.as_ref().map(Error::message)),
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

fn broken(route: &Route, error: transcoding::Error) -> tonic::Status {
    let cause = anyhow::Error::from(error).context(format!("{route} answered something else"));
    Error::internal(cause).into_status()
}
