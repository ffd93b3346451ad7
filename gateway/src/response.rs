//! Answers: bodies, and the one envelope that every failure has (spec/discovery.md §4).

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use mesh::{Error, error::Reason};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::path;

/// The body of every answer: whole, or as it comes.
pub(crate) enum Body {
    /// All of it.
    Whole(Full<Bytes>),
    /// Piece by piece; dropping it ends what makes the pieces, and gives back the request's place.
    Stream(
        Pin<Box<dyn Stream<Item = Bytes> + Send>>,
        Option<OwnedSemaphorePermit>,
    ),
}

impl Body {
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }

    pub(crate) fn stream(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::Stream(Box::pin(pieces), None)
    }

    /// Keeps the request's place for as long as the answer goes on.
    pub(crate) fn hold(&mut self, place: Option<OwnedSemaphorePermit>) {
        match self {
            Self::Stream(_, held) => *held = place,
            Self::Whole(_) => {}
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Stream(pieces, _) => {
                let piece = pieces.as_mut().poll_next(cx);
                piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(..) => SizeHint::default(),
        }
    }
}

/// Methods that HTTP names; only those go into `Allow`.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A failure to be answered, with the status where it is finer than the reason's own.
pub(crate) struct Refusal {
    error: Error,
    status: Option<StatusCode>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            error,
            status: None,
        }
    }
}

impl Refusal {
    pub(crate) fn with_status(error: Error, status: StatusCode) -> Self {
        Self {
            error,
            status: Some(status),
        }
    }

    /// 404 for a path that no route has.
    pub(crate) fn no_route(method: &Method, path: &str) -> Self {
        let error = Error::not_found("ROUTE_NOT_FOUND", format!("No route for {method} {path}"))
            .with("method", method.as_str())
            .with("path", path);
        match path::unknown_version(path) {
            Some(_) => error.with("supported", vec!["v1"]).into(),
            None => error.into(),
        }
    }

    /// 405 for a path that has other methods.
    pub(crate) fn method(method: &Method, allowed: &[Method]) -> Self {
        let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        Error::new(
            Reason::MethodNotAllowed,
            format!(
                "{method} is not allowed here; allowed: {}",
                allowed.join(", ")
            ),
        )
        .with("method", method.as_str())
        .with("allowed", allowed)
        .into()
    }

    /// 413.
    pub(crate) fn too_large(limit: usize) -> Self {
        Error::new(
            Reason::PayloadTooLarge,
            format!("The body is larger than {limit} bytes"),
        )
        .with("limit", limit)
        .into()
    }

    /// The envelope for a request to `path`. On `/auth/*` code and message are repeated at top
    /// level, as Better Auth's own clients expect them; `methods` are what the path takes, for a
    /// 405 that a service answered.
    pub(crate) fn into_response(self, path: &str, methods: &[Method]) -> Response<Body> {
        let error = self.error;
        let reason = error.reason();
        let status = self.status.unwrap_or_else(|| {
            StatusCode::from_u16(reason.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        });
        if let Some(cause) = error.cause() {
            tracing::error!(
                code = reason.as_wire(),
                error = format!("{cause:#}"),
                "request failed"
            );
        }
        let mut envelope = error.envelope();
        if let (true, Value::Object(map)) = (path::is_auth(path), &mut envelope) {
            map.insert("code".to_owned(), json!(reason.rest_code()));
            map.insert("message".to_owned(), json!(error.message()));
        }
        let mut response = json_response(status, envelope.to_string());
        extra_headers(&error, status, methods, response.headers_mut());
        response
    }
}

/// The headers that HTTP asks for beside certain statuses.
fn extra_headers(error: &Error, status: StatusCode, methods: &[Method], headers: &mut HeaderMap) {
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            let seconds = error.detail("retryAfter").and_then(Value::as_u64);
            headers.insert(header::RETRY_AFTER, seconds.unwrap_or(1).max(1).into());
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            let stated = error.detail("allowed").and_then(Value::as_array);
            let stated = stated.into_iter().flatten().filter_map(Value::as_str);
            let mut allowed: Vec<&str> = stated.filter(|name| METHODS.contains(name)).collect();
            if allowed.is_empty() {
                allowed = methods.iter().map(Method::as_str).collect();
            }
            if let Ok(value) = HeaderValue::try_from(allowed.join(", ")) {
                headers.insert(header::ALLOW, value);
            }
        }
        _ => {}
    }
}

/// An answer with a JSON body.
pub(crate) fn json_response(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}
