//! The head of a request: its id, its host, its size, and that it says each thing once.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{extract::Request, response::Response};
use futures::future::{Either, Ready, ready};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header, request::Parts};
use mesh::{
    Error,
    ctx::REQUEST_ID,
    error::Reason,
    resolver::{SECURE_PREFIX, SESSION_COOKIE},
};
use tower::{Layer, Service};
use tower_http::request_id::{MakeRequestId, RequestId};

use crate::response::Refusal;

/// Longest path and query.
const URL_MAX: usize = 8 * 1024;
/// Most bytes of headers, names and values.
const HEADERS_MAX: usize = 32 * 1024;
const REQUEST_ID_MAX: usize = 128;
/// What decides where a request goes and who asks: said twice, two programs on the way may each
/// believe another one.
const ONCE: [HeaderName; 3] = [
    header::HOST,
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
];

/// Makes request ids where the client gave none.
#[derive(Clone, Copy)]
pub(crate) struct NewRequestId;

impl MakeRequestId for NewRequestId {
    fn make_request_id<B>(&mut self, _request: &http::Request<B>) -> Option<RequestId> {
        HeaderValue::try_from(mesh::id::new())
            .ok()
            .map(RequestId::new)
    }
}

/// Takes away a request id that is not well formed, so that a new one is made.
pub(crate) fn drop_malformed_id(mut request: Request) -> Request {
    let given = request.headers().get(REQUEST_ID);
    let good = given.is_none_or(|id| {
        (1..=REQUEST_ID_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    if !good {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// HTTP/2 names the host in the URI; from here on it is in the header either way.
pub(crate) fn name_host(parts: &mut Parts) {
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let Some(Ok(authority)) = authority.map(HeaderValue::from_str) else {
        return;
    };
    match parts.headers.get(header::HOST) {
        Some(host) if *host == authority => {}
        // Another one beside it: two hosts, as if the header had come twice.
        Some(_) | None => {
            parts.headers.append(header::HOST, authority);
        }
    }
}

/// The layer that refuses a head before anything that would cost.
#[derive(Clone, Copy)]
pub(crate) struct CheckHeadLayer;

/// See [`CheckHeadLayer`].
#[derive(Clone)]
pub(crate) struct CheckHead<S>(S);

impl<S> Layer<S> for CheckHeadLayer {
    type Service = CheckHead<S>;

    fn layer(&self, inner: S) -> CheckHead<S> {
        CheckHead(inner)
    }
}

impl<S> Service<Request> for CheckHead<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match check(&request) {
            Ok(()) => Either::Right(self.0.call(request)),
            Err(refusal) => {
                let refused = refusal.into_response(request.uri().path(), &[]);
                Either::Left(ready(Ok(refused)))
            }
        }
    }
}

/// Refuses a URL or headers that are too long (414, 431), a host that is missing, and what must be
/// there once only (400).
fn check(request: &Request) -> Result<(), Refusal> {
    let url = request.uri().path_and_query();
    if url.is_some_and(|url| url.as_str().len() > URL_MAX) {
        let message = format!("The URL is longer than {URL_MAX} bytes");
        let error = Error::new(Reason::ValidationError, message).with("limit", URL_MAX);
        return Err(Refusal::with_status(error, StatusCode::URI_TOO_LONG));
    }
    let headers = request.headers();
    let sizes = headers.iter();
    let size: usize = sizes
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if size > HEADERS_MAX {
        let message = format!("The headers are larger than {HEADERS_MAX} bytes");
        let error = Error::new(Reason::ValidationError, message).with("limit", HEADERS_MAX);
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal::with_status(error, status));
    }
    // RFC 9112 §3.2; HTTP/1.0 did not know it yet.
    if !headers.contains_key(header::HOST) && request.version() > Version::HTTP_10 {
        return Err(invalid("Host", "The Host header is missing"));
    }
    for name in &ONCE {
        if headers.get_all(name).iter().nth(1).is_some() {
            let message = format!("The header {name} was sent more than once");
            return Err(invalid(name.as_str(), message));
        }
    }
    for prefix in ["", SECURE_PREFIX] {
        let is_session = |sent: &&str| sent.strip_prefix(prefix) == Some(SESSION_COOKIE);
        if cookies(headers).filter(is_session).nth(1).is_some() {
            let message = format!("The cookie {prefix}{SESSION_COOKIE} was sent more than once");
            return Err(invalid("Cookie", message));
        }
    }
    Ok(())
}

/// The names of the cookies sent.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.filter_map(|line| line.to_str().ok()?.split(';').into());
    pairs
        .flatten()
        .filter_map(|pair| Some(pair.split_once('=')?.0.trim()))
}

fn invalid(parameter: &str, message: impl Into<String>) -> Refusal {
    Error::validation("INVALID_REQUEST", message)
        .with("parameter", parameter)
        .into()
}
