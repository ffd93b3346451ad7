//! The paths that are the gateway's own.

use http::Method;

use crate::docs::{self, Asset};

/// A path of the gateway's own.
#[derive(Clone, Copy)]
pub(crate) enum Own {
    Health,
    Ready,
    Metrics,
    Versions,
    Discovery,
    WellKnown,
    OpenApi,
    Docs(&'static Asset),
}

/// The methods that all of them take.
pub(crate) const METHODS: [Method; 2] = [Method::GET, Method::HEAD];

/// The one that a path names.
pub(crate) fn own(path: &str) -> Option<Own> {
    Some(match path.strip_suffix('/').unwrap_or(path) {
        "/health" => Own::Health,
        "/ready" => Own::Ready,
        "/metrics" => Own::Metrics,
        "/api" => Own::Versions,
        "/api/v1" | "/api/v1/discovery" => Own::Discovery,
        "/api/v1/openapi.json" => Own::OpenApi,
        "/.well-known/objectstack" => Own::WellKnown,
        other => Own::Docs(docs::asset(other)?),
    })
}
