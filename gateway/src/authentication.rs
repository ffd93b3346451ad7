//! The single checks of the stack: head, credential, origin.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use mesh::{
    Ctx, Error,
    ctx::{Caller, REQUEST_ID},
    error::Reason,
    guard,
    resolver::{Credential, Resolver},
    route::Route,
};
use tokio::time::Instant;

use crate::{
    answer::Refusal,
    origin::Origins,
    path,
    upstream::{Repeats, Upstream},
};

/// Longest path and query.
const URL_MAX: usize = 8 * 1024;
/// Most bytes of headers, names and values.
const HEADERS_MAX: usize = 32 * 1024;
const REQUEST_ID_MAX: usize = 128;

/// HTTP/2 names the host in the URI; from here on it is in the header either way.
pub(crate) fn name_host(parts: &mut Parts) {
    if parts.headers.contains_key(header::HOST) {
        return;
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    if let Some(Ok(host)) = authority.map(HeaderValue::from_str) {
        parts.headers.insert(header::HOST, host);
    }
}

/// The client's own request id when it is well formed, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let given = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    match given {
        Some(id)
            if (1..=REQUEST_ID_MAX).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            id.to_owned()
        }
        _ => mesh::id::new(),
    }
}

/// Refuses a URL or headers that are too long (414, 431).
pub(crate) fn check_head(parts: &Parts) -> Result<(), Refusal> {
    let url = parts.uri.path_and_query();
    if url.is_some_and(|url| url.as_str().len() > URL_MAX) {
        let message = format!("The URL is longer than {URL_MAX} bytes");
        let error = Error::new(Reason::ValidationError, message).with("limit", URL_MAX);
        return Err(Refusal::with_status(error, StatusCode::URI_TOO_LONG));
    }
    let headers = parts.headers.iter();
    let size: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if size > HEADERS_MAX {
        let message = format!("The headers are larger than {HEADERS_MAX} bytes");
        let error = Error::new(Reason::ValidationError, message).with("limit", HEADERS_MAX);
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal::with_status(error, status));
    }
    Ok(())
}

/// Who asks. Where the route is public a credential that is not good counts as none.
/// Asking auth-svc is a read, so it is repeated like one.
pub(crate) async fn authenticate(
    resolver: &Resolver,
    auth: &Upstream,
    headers: &HeaderMap,
    public: bool,
    deadline: Instant,
) -> Result<(Option<Credential>, Option<Caller>), Error> {
    let credential = match Credential::of(headers) {
        Ok(Some(credential)) => credential,
        Ok(None) if public => return Ok((None, None)),
        Ok(None) => return Err(Error::unauthenticated("Authentication required")),
        Err(_) if public => return Ok((None, None)),
        Err(error) => return Err(error),
    };
    let mut repeats = Repeats::new(auth);
    loop {
        match resolver.resolve(&credential).await {
            Ok(caller) => return Ok((Some(credential), Some(caller))),
            Err(error) if public && error.reason() == Reason::Unauthenticated => {
                return Ok((Some(credential), None));
            }
            Err(error) => {
                let unavailable = error.reason() == Reason::ServiceUnavailable;
                // Most credentials are known without a call; those that failed made one.
                auth.note_call();
                if !unavailable || !repeats.another(deadline.into_std()).await {
                    return Err(error);
                }
            }
        }
    }
}

/// Refuses a change that came with a cookie from a page that is not trusted.
pub(crate) fn check_origin(
    origins: &Origins,
    parts: &Parts,
    credential: Option<&Credential>,
) -> Result<(), Error> {
    let by_cookie = matches!(credential, Some(Credential::Cookie(_)));
    let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || !by_cookie || origins.may_change(&parts.headers) {
        return Ok(());
    }
    let message = "A request with a cookie must come from a trusted origin";
    // Better Auth's clients know this word; elsewhere the seed's code comes first.
    Err(if path::is_auth(parts.uri.path()) {
        Error::new(Reason::InvalidOrigin, message)
    } else {
        Error::denied(message).with("reason", "INVALID_ORIGIN")
    })
}

/// A missing right is told before a wrong parameter (architecture.md §10). The service would refuse
/// as well, but it cannot be asked with a message that cannot be written.
pub(crate) fn right_first(route: &Route, ctx: &Ctx, error: Error) -> Error {
    let malformed = error
        .detail("reason")
        .is_some_and(|reason| reason == "MALFORMED_JSON");
    match &ctx.caller {
        Some(caller) if !malformed => guard::admit(&route.entry, &caller.identity)
            .err()
            .unwrap_or(error),
        _ => error,
    }
}
