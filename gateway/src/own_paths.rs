//! The paths that are the gateway's own.

use crate::docs;

/// Those beside the files of [`docs`].
const PATHS: [&str; 9] = [
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/api",
    "/api/v1",
    "/api/v1/discovery",
    "/api/v1/openapi.json",
    "/.well-known/objectstack",
];

/// Whether a path is one of them.
pub(crate) fn is_own(path: &str) -> bool {
    let path = match path.strip_suffix('/') {
        None | Some("") => path,
        Some(path) => path,
    };
    PATHS.contains(&path) || docs::asset(path).is_some()
}
