//! One document: the fragments in the gateway's frame, and how it is answered.

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use mesh::openapi::Fragment;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Settings, frame};
use crate::response::{empty, json_response};

/// A document, written already but for the server's URL, which the request decides.
#[derive(Debug)]
pub struct Document {
    /// Up to the URL.
    before: String,
    /// What follows it.
    after: String,
    hash: [u8; 32],
    /// Whether all services are in it.
    whole: bool,
}

impl Document {
    /// Puts fragments together. Names are sorted, so that equal content is equal text; `away` are
    /// services whose part is missing.
    #[must_use]
    pub fn merge(fragments: Vec<Fragment>, away: &[&str], settings: Settings) -> Self {
        let mut whole = frame::fragment(settings);
        for fragment in fragments {
            add(&mut whole, fragment);
        }
        let tags = whole.tags.iter();
        let tags: Vec<Value> = tags
            .map(|(name, text)| json!({"name": name, "description": text}))
            .collect();
        let mut head = json!({"openapi": "3.0.3", "info": frame::info()});
        if !away.is_empty() {
            head["x-unavailable"] = json!(away);
        }
        let tail = json!({
            "security": frame::security(),
            "tags": tags,
            "paths": whole.paths,
            "components": {
                "schemas": whole.schemas,
                "responses": frame::responses(),
                "securitySchemes": frame::security_schemes(settings),
            },
        });
        let head = head.to_string();
        let before = format!(
            "{},\"servers\":[{{\"url\":",
            head.strip_suffix('}').unwrap_or(&head)
        );
        let tail = tail.to_string();
        let after = format!("}}],{}", tail.strip_prefix('{').unwrap_or(&tail));
        let mut hash = Sha256::new();
        hash.update(&before);
        hash.update(&after);
        Self {
            hash: hash.finalize().into(),
            before,
            after,
            whole: away.is_empty(),
        }
    }

    /// The document's text, for that server.
    #[must_use]
    pub fn text(&self, server: &str) -> String {
        format!("{}{}{}", self.before, Value::from(server), self.after)
    }

    /// Bytes that keeping it takes.
    pub(super) fn weight(&self) -> u32 {
        let bytes = self.before.len() + self.after.len();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// The answer to a request: the document, or 304 when the client has it already.
    pub(crate) fn response(&self, server: &str, headers: &HeaderMap) -> Response {
        if !self.whole {
            return json_response(StatusCode::OK, self.text(server));
        }
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(server);
        let tag = etag(&hash.finalize());
        let mut response = if is_known(headers, &tag) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            json_response(StatusCode::OK, Bytes::from(self.text(server)))
        };
        let kept = response.headers_mut();
        if let Ok(tag) = HeaderValue::try_from(tag) {
            kept.insert(header::ETAG, tag);
        }
        let private = HeaderValue::from_static("private, no-cache");
        kept.insert(header::CACHE_CONTROL, private);
        let vary = HeaderValue::from_static("Authorization, Cookie, X-Api-Key, Host");
        kept.insert(header::VARY, vary);
        response
    }
}

/// An entity tag of a hash, quotes included.
pub(crate) fn etag(hash: &[u8]) -> String {
    let hex: String = hash
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{hex}\"")
}

/// Whether `If-None-Match` names the tag, or any (RFC 9110 §13.1.2: compared weakly).
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter();
    given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == tag || one == "*")
}

/// The first of two things of one name stays: the contract's checks keep that from happening, and a
/// document with one mistake is of more use than none.
fn add(whole: &mut Fragment, fragment: Fragment) {
    for (path, operations) in fragment.paths {
        let all = whole.paths.entry(path.clone()).or_default();
        for (method, operation) in operations {
            match all.get(&method) {
                None => _ = all.insert(method, operation),
                Some(other) if *other == operation => {}
                Some(_) => tracing::error!(path, method, "two services describe one operation"),
            }
        }
    }
    for (name, schema) in fragment.schemas {
        match whole.schemas.get(&name) {
            None => _ = whole.schemas.insert(name, schema),
            Some(other) if *other == schema => {}
            Some(_) => tracing::error!(schema = name, "two services describe one schema"),
        }
    }
    for (name, text) in fragment.tags {
        whole.tags.entry(name).or_insert(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_json_and_the_tag_covers_the_server() {
        let document = Document::merge(Vec::new(), &[], Settings::default());
        let server = "http://a\"b";
        let text: Value = serde_json::from_str(&document.text(server)).unwrap();
        assert_eq!(text["openapi"], "3.0.3");
        assert_eq!(text["servers"], json!([{"url": server}]));
        let answer = document.response("http://a", &HeaderMap::new());
        let tag = answer.headers()[header::ETAG].clone();
        let other = document.response("http://b", &HeaderMap::new());
        assert_ne!(other.headers()[header::ETAG], tag);
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, tag);
        let again = document.response("http://a", &headers);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(
            document.response("http://b", &headers).status(),
            StatusCode::OK
        );
    }

    #[test]
    fn a_gap_is_named_and_nothing_kept() {
        let document = Document::merge(Vec::new(), &["ai-svc"], Settings::default());
        let text: Value = serde_json::from_str(&document.text("/")).unwrap();
        assert_eq!(text["x-unavailable"], json!(["ai-svc"]));
        let answer = document.response("/", &HeaderMap::new());
        assert!(!answer.headers().contains_key(header::ETAG));
    }
}
