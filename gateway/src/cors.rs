//! CORS: browsers of trusted origins may call and read answers; others get no CORS header at all,
//! which is how they are refused.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{extract::Request, response::Response};
use futures::future::{Either, Ready, ready};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use tower::{Layer, Service};

use crate::{request_context::RequestContext, response::empty};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const HEADERS: &str = "Authorization, Content-Type, Accept, Accept-Language, X-API-Key, If-Match, \
    If-None-Match, Idempotency-Key, Prefer, X-Request-Id, X-Environment-Id, traceparent, \
    MCP-Protocol-Version, Mcp-Method, Mcp-Name, Last-Event-ID, Range";
const EXPOSED: &str = "set-auth-token, ETag, X-Request-Id, X-RateLimit-Limit, \
    X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, Location, WWW-Authenticate, \
    Content-Range, Content-Disposition";
/// Browsers cap this themselves; two hours is the longest that Chrome keeps.
const MAX_AGE_S: &str = "7200";

/// The layer: answers preflights, and marks every other answer.
#[derive(Clone, Copy)]
pub(crate) struct CorsLayer;

/// See [`CorsLayer`].
#[derive(Clone)]
pub(crate) struct Cors<S>(S);

impl<S> Layer<S> for CorsLayer {
    type Service = Cors<S>;

    fn layer(&self, inner: S) -> Cors<S> {
        Cors(inner)
    }
}

impl<S> Service<Request> for Cors<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Marked<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let origin = RequestContext::of(&request).origin.clone();
        let answer = if is_preflight(request.method(), request.headers()) {
            Either::Left(ready(Ok(preflight(origin.is_some()))))
        } else {
            Either::Right(self.0.call(request))
        };
        Marked {
            answer,
            origin: Some(origin),
        }
    }
}

pin_project_lite::pin_project! {
    /// An answer that is marked when it is there.
    pub(crate) struct Marked<F> {
        #[pin]
        answer: Either<Ready<Result<Response, Infallible>>, F>,
        origin: Option<Option<HeaderValue>>,
    }
}

impl<F> Future for Marked<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = std::task::ready!(this.answer.poll(cx));
        let origin = this.origin.take().flatten();
        Poll::Ready(answer.map(|mut response| {
            mark(response.headers_mut(), origin);
            response
        }))
    }
}

/// Whether a request only asks what it may send.
fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight; [`mark`] adds the origin.
fn preflight(trusted: bool) -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    if trusted {
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
        ] {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// Lets `origin`, when it is trusted, read the answer.
fn mark(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    // Also without an origin: a cache must not hand this answer to another one.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else { return };
    let fixed: [(HeaderName, &str); 2] = [
        (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}
