//! Who asks, and that a change with a cookie comes from a trusted page.

use http::{HeaderMap, Method};
use mesh::{
    Ctx, Error,
    ctx::Caller,
    error::Reason,
    guard,
    resolver::{Credential, Resolver},
};
use tokio::time::Instant;
use transcoding::Route;

use crate::{
    origin::Origins,
    path,
    upstream::{Retries, Upstream},
};

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
    let mut retries = Retries::new(auth);
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
                if !unavailable || !retries.another(deadline.into_std()).await {
                    return Err(error);
                }
            }
        }
    }
}

/// Refuses a change that came with a cookie from a page that is not trusted.
pub(crate) fn check_origin(
    origins: &Origins,
    (method, path, headers): (&Method, &str, &HeaderMap),
    credential: Option<&Credential>,
) -> Result<(), Error> {
    let by_cookie = matches!(credential, Some(Credential::Cookie(_)));
    let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || !by_cookie || origins.may_change(headers) {
        return Ok(());
    }
    let message = "A request with a cookie must come from a trusted origin";
    // Better Auth's clients know this word; elsewhere the seed's code comes first.
    Err(if path::is_auth(path) {
        Error::new(Reason::InvalidOrigin, message)
    } else {
        Error::denied(message).with("reason", "INVALID_ORIGIN")
    })
}

/// A missing right is told before a wrong parameter (docs/reference/errors.md §8). The service would refuse
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
