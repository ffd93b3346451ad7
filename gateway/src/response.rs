//! Answers: bodies, and the one envelope that every failure has (docs/reference/discovery.md §4).

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::{Frame, SizeHint};
use mesh::{Error, error::Reason};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::path;

/// An endless answer with the permit of its request, which is given back when it ends.
pub(crate) struct Streaming<S> {
    pieces: S,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S> Streaming<S>
where
    S: Stream<Item = Result<Bytes, Error>> + Send + Unpin + 'static,
{
    /// The body of these pieces; dropping it ends what makes them, and an error breaks it off so that its
    /// client can tell.
    pub(crate) fn body(pieces: S, permit: Option<OwnedSemaphorePermit>) -> Body {
        Body::new(Self {
            pieces,
            _permit: permit,
        })
    }
}

impl<S> http_body::Body for Streaming<S>
where
    S: Stream<Item = Result<Bytes, Error>> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = Pin::new(&mut self.pieces).poll_next(cx);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
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

impl From<transcoding::Error> for Refusal {
    fn from(error: transcoding::Error) -> Self {
        Error::from(error).into()
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
    pub(crate) fn into_response(self, path: &str, methods: &[Method]) -> Response {
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
pub(crate) fn json_response(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// 504. A change that may have been made says so.
pub(crate) fn timed_out(limit: Duration, safe: bool) -> Error {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let error = Error::new(Reason::Timeout, "The deadline passed").with("deadlineMs", limit);
    if safe {
        error
    } else {
        error.with("outcome", "unknown")
    }
}
