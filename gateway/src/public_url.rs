//! Under which URL a client reaches the gateway.

use http::{HeaderMap, header};

use crate::{origin, request_context::RequestContext, state::AppState};

/// That URL, without a slash at its end: the configured one, else what the request says, as far as the
/// proxy is trusted. `None` when it names no host that is one.
pub(crate) fn of(app: &AppState, context: &RequestContext, headers: &HeaderMap) -> Option<String> {
    if let Some(url) = &app.config.public_url {
        return Some(url.trim_end_matches('/').to_owned());
    }
    let forwarded = |name| context.proxied.then(|| text(headers, name)).flatten();
    let scheme = match forwarded("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    let host = forwarded("x-forwarded-host").or_else(|| text(headers, header::HOST.as_str()));
    host.and_then(|host| origin::url(scheme, host))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
