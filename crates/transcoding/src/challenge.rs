//! What a 401 of a route says of the way in, after `WWW-Authenticate: Bearer`.

use anyhow::ensure;
use http::HeaderValue;

/// Stands for the URL under which clients reach the gateway.
const PUBLIC_URL: &str = "{public_url}";

/// The parameters of a route's challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge(String);

impl Challenge {
    /// Reads the option; `None` for an empty one.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let rest = text.replace(PUBLIC_URL, "");
        ensure!(
            !rest.contains(['{', '}']),
            "the challenge `{text}` may hold {PUBLIC_URL} only"
        );
        let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        ensure!(
            text.bytes().all(printable) && text.trim() == text,
            "the challenge `{text}` is no text of a header"
        );
        ensure!(
            text.contains('=') && !text.to_ascii_lowercase().starts_with("bearer"),
            "the challenge `{text}` is what follows after `Bearer`: parameters like name=\"value\""
        );
        Ok(Some(Self(text.to_owned())))
    }

    /// The whole value of `WWW-Authenticate` for clients that reach the gateway under that URL, which
    /// has no slash at its end. `None` when the URL is none that fits into a header.
    #[must_use]
    pub fn render(&self, public_url: &str) -> Option<HeaderValue> {
        // It stands in quotes there.
        if public_url.contains(['"', '\\']) {
            return None;
        }
        let parameters = self.0.replace(PUBLIC_URL, public_url);
        HeaderValue::try_from(format!("Bearer {parameters}")).ok()
    }

    /// The option as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_takes_its_place() {
        let text = r#"resource_metadata="{public_url}/.well-known/x", scope="data:read""#;
        let challenge = Challenge::parse(text).unwrap().unwrap();
        assert_eq!(
            challenge.render("https://mesh.example.org").unwrap(),
            r#"Bearer resource_metadata="https://mesh.example.org/.well-known/x", scope="data:read""#
        );
        assert_eq!(challenge.render("https://x\" evil=\""), None);
        assert_eq!(challenge.render("https://x\r\n"), None);
        assert_eq!(Challenge::parse("").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_keeps_the_table_from_being_built() {
        for wrong in [
            "a=\"{url}\"",
            "a=\"{public_url\"",
            "Bearer a=1",
            "a=\"\n\"",
            "a=\"ü\"",
            " a=1",
            "nothing",
        ] {
            assert!(Challenge::parse(wrong).is_err(), "{wrong}");
        }
    }
}
