//! The call of a route's RPC: bytes out, bytes back, no message type in between.

use bytes::{Buf, BufMut, Bytes};
use futures::Stream;
use http::HeaderValue;
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{Ascii, MetadataMap, MetadataValue},
};

use transcoding::Route;

use crate::{
    Ctx, Error, Link, ctx::CLIENT_ADDRESS, error::Reason, link::never_reached, node::MESSAGE_MAX,
    revision::Seen,
};

/// Metadata in which a service sends a cookie to be set, whole.
const SET_COOKIE: &str = "http-set-cookie";

/// What a call answered.
#[derive(Debug)]
pub struct Answer {
    /// The response message.
    pub message: Bytes,
    metadata: MetadataMap,
}

impl Answer {
    /// The cookies to set; none unless the route lets its service set some.
    pub fn cookies<'a>(&'a self, route: &Route) -> impl Iterator<Item = HeaderValue> + 'a {
        let cookies = route.cookies.then(|| self.metadata.get_all(SET_COOKIE));
        cookies
            .into_iter()
            .flatten()
            .filter_map(|value| HeaderValue::from_bytes(value.as_encoded_bytes()).ok())
    }

    /// The revision of the metadata that the service serves; 0 when it named none.
    #[must_use]
    pub fn revision(&self) -> u64 {
        Seen::in_headers(self.metadata.as_ref())
    }
}

/// Why a call failed, and what it may have done.
#[derive(Debug)]
pub struct Failure {
    /// What the caller is told.
    pub error: Error,
    /// What became of the call.
    pub outcome: Outcome,
}

/// What became of a call that failed; it says who may make it again, and what a client is told of a
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service answered; asking again would change nothing.
    Answered,
    /// The service says that it cannot answer now, and has done nothing.
    Declined,
    /// The service fell silent or the connection broke off: it may have run or not.
    Unknown,
    /// It surely did not run.
    NotSent,
}

impl Failure {
    /// What a status says of the call that it ended.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        let error = Error::from_status(status);
        let outcome = if never_reached(status) {
            Outcome::NotSent
        } else if error.is_outcome_unknown() || is_cut_off(&error, status) {
            Outcome::Unknown
        } else if error.reason() != Reason::ServiceUnavailable {
            Outcome::Answered
        } else if Error::is_ours(status) {
            Outcome::Declined
        } else {
            Outcome::Unknown
        };
        Self { error, outcome }
    }
}

/// Whether the deadline cut the work off, wherever it was: in the transport, or in the service's guard. A
/// service that gave up by itself (a hook, a statement that was rolled back) knows what it did.
fn is_cut_off(error: &Error, status: &Status) -> bool {
    let by_deadline = error.detail("deadlineMs").is_some() || !Error::is_ours(status);
    error.reason() == Reason::Timeout && by_deadline
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// Calls the route's RPC with an encoded message, for the caller and within the deadline of `ctx`.
/// The client's `Cookie` header goes along only where the route lets its service set cookies: who
/// renews a cookie has to see it.
///
/// # Errors
/// What the service answered; SERVICE_UNAVAILABLE when it cannot be reached.
pub async fn unary(
    link: Link,
    route: &Route,
    message: Bytes,
    ctx: &Ctx,
    cookie: Option<&str>,
) -> Result<Answer, Failure> {
    let (mut grpc, request) = prepare(link, route, message, ctx, cookie).await?;
    let response = grpc.unary(request, route.rpc.clone(), RawCodec).await;
    let response = response.map_err(|status| Failure::of(&status))?;
    let (metadata, message, _) = response.into_parts();
    Ok(Answer { message, metadata })
}

/// The same for a request that streams. Each of the messages comes in two parts, of which one follows the
/// other: what stands before a piece of a body, and the piece, which is not copied together for that.
///
/// # Errors
/// As [`unary`].
pub async fn streaming<S>(
    link: Link,
    route: &Route,
    messages: S,
    ctx: &Ctx,
    cookie: Option<&str>,
) -> Result<Answer, Failure>
where
    S: Stream<Item = (Bytes, Bytes)> + Send + 'static,
{
    let (mut grpc, request) = prepare(link, route, messages, ctx, cookie).await?;
    let rpc = route.rpc.clone();
    let response = grpc.client_streaming(request, rpc, PiecesCodec).await;
    let response = response.map_err(|status| Failure::of(&status))?;
    let (metadata, message, _) = response.into_parts();
    Ok(Answer { message, metadata })
}

/// A client of the route's service that can take a call, and the request with all that goes along. What
/// it carries is one message, or a stream of them.
///
/// # Errors
/// SERVICE_UNAVAILABLE when the service cannot be reached.
pub async fn prepare<M>(
    link: Link,
    route: &Route,
    message: M,
    ctx: &Ctx,
    cookie: Option<&str>,
) -> Result<(Grpc<Link>, tonic::Request<M>), Failure> {
    let mut request = ctx.request(message);
    let metadata = request.metadata_mut();
    let mut set = |name: &'static str, value: Option<&str>| {
        let value = value.and_then(|text| MetadataValue::<Ascii>::try_from(text).ok());
        if let Some(value) = value {
            metadata.insert(name, value);
        }
    };
    set(CLIENT_ADDRESS, ctx.client_address.as_deref());
    set("user-agent", ctx.user_agent.as_deref());
    set("cookie", cookie.filter(|_| route.cookies));

    let mut grpc = Grpc::new(link)
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    if let Err(error) = grpc.ready().await {
        return Err(Failure {
            outcome: Outcome::NotSent,
            ..Failure::of(&Status::from_error(error))
        });
    }
    Ok((grpc, request))
}

/// A codec that leaves messages as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, wire: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(wire.copy_to_bytes(wire.remaining())))
    }
}

/// A codec for messages in two parts; replies are left as they are.
#[derive(Clone, Copy, Debug, Default)]
struct PiecesCodec;

impl Codec for PiecesCodec {
    type Encode = (Bytes, Bytes);
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = RawCodec;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> RawCodec {
        RawCodec
    }
}

impl Encoder for PiecesCodec {
    type Item = (Bytes, Bytes);
    type Error = Status;

    fn encode(&mut self, item: Self::Item, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let (head, piece) = item;
        out.reserve(head.len() + piece.len());
        out.put(head);
        out.put(piece);
        Ok(())
    }
}
