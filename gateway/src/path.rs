//! What a path tells by itself, before a route is looked up.

/// The version in a path `/api/vN/…` that is not served.
pub(crate) fn unknown_version(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/api/")?;
    let version = rest.split('/').next()?;
    let number = version.strip_prefix('v')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (digits && version != "v1").then_some(version)
}

/// Whether Better Auth's clients call this path.
pub(crate) fn is_auth(path: &str) -> bool {
    path.starts_with("/api/v1/auth/")
}
