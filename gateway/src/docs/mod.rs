//! `/docs`: a page to explore the API. It is public and holds nothing: it signs in, loads the
//! document with that session and tries calls. Swagger UI does the exploring; its files and ours
//! are part of the program, so that it works without any other network.
//!
//! Invariant: no script but these files runs on the page, and it talks to this gateway only; the
//! policy below says so to the browser.

use axum::{body::Body, response::Response};
use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::{
    openapi::{etag, is_known},
    response::empty,
};

/// What the page may do. Swagger UI's icons are `data:` images in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// A file of the page.
pub(crate) struct Asset {
    pub(crate) path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    /// The same compressed, where that is worth it.
    gzip: Option<&'static [u8]>,
    etag: LazyLock<String>,
}

macro_rules! swagger_ui {
    ($file:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $file))
    };
}

static ASSETS: [Asset; 6] = [
    Asset {
        path: "/docs",
        media_type: "text/html; charset=utf-8",
        bytes: include_bytes!("index.html"),
        gzip: None,
        etag: LazyLock::new(|| hash(include_bytes!("index.html"))),
    },
    Asset {
        path: "/docs/explorer.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("explorer.js"),
        gzip: None,
        etag: LazyLock::new(|| hash(include_bytes!("explorer.js"))),
    },
    Asset {
        path: "/docs/explorer.css",
        media_type: "text/css; charset=utf-8",
        bytes: include_bytes!("explorer.css"),
        gzip: None,
        etag: LazyLock::new(|| hash(include_bytes!("explorer.css"))),
    },
    Asset {
        path: "/docs/icon.svg",
        media_type: "image/svg+xml",
        bytes: include_bytes!("icon.svg"),
        gzip: None,
        etag: LazyLock::new(|| hash(include_bytes!("icon.svg"))),
    },
    Asset {
        path: "/docs/swagger-ui-bundle.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: swagger_ui!("swagger-ui-bundle.js"),
        gzip: Some(swagger_ui!("swagger-ui-bundle.js.gz")),
        etag: LazyLock::new(|| hash(swagger_ui!("swagger-ui-bundle.js"))),
    },
    Asset {
        path: "/docs/swagger-ui.css",
        media_type: "text/css; charset=utf-8",
        bytes: swagger_ui!("swagger-ui.css"),
        gzip: Some(swagger_ui!("swagger-ui.css.gz")),
        etag: LazyLock::new(|| hash(swagger_ui!("swagger-ui.css"))),
    },
];

/// All files.
pub(crate) fn assets() -> impl Iterator<Item = &'static Asset> {
    ASSETS.iter()
}

/// The file at a path.
pub(crate) fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

fn hash(bytes: &[u8]) -> String {
    etag(&Sha256::digest(bytes))
}

impl Asset {
    /// The answer: the file, or 304 when the browser has it already. It may keep it, but asks each
    /// time, so that a new release is whole at once.
    pub(crate) fn response(&self, headers: &HeaderMap) -> Response {
        let gzip = self.gzip.filter(|_| takes_gzip(headers));
        // Another representation has another tag (RFC 9110 §8.8.3).
        let tag = match gzip {
            Some(_) => self.etag.replacen('"', "\"gzip-", 1),
            None => self.etag.clone(),
        };
        let mut response = if is_known(headers, &tag) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            let bytes = gzip.unwrap_or(self.bytes);
            Response::new(Body::from(bytes))
        };
        let known = response.status() == StatusCode::NOT_MODIFIED;
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::try_from(tag) {
            headers.insert(header::ETAG, tag);
        }
        let mut say = |name, value| headers.insert(name, HeaderValue::from_static(value));
        say(header::CACHE_CONTROL, "public, no-cache");
        say(header::CONTENT_SECURITY_POLICY, POLICY);
        say(header::REFERRER_POLICY, "no-referrer");
        if self.gzip.is_some() {
            say(header::VARY, "Accept-Encoding");
        }
        if !known {
            say(header::CONTENT_TYPE, self.media_type);
            if gzip.is_some() {
                say(header::CONTENT_ENCODING, "gzip");
            }
        }
        response
    }
}

/// Whether the client takes gzip (RFC 9110 §12.5.3), unless it says so with a weight of zero.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let given = headers.get_all(header::ACCEPT_ENCODING).iter();
    given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .any(|one| {
            let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
            let refused = weight.trim().trim_start_matches("q=").parse() == Ok(0.0_f32);
            coding.trim().eq_ignore_ascii_case("gzip") && !refused
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, header: Option<(header::HeaderName, &str)>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        asset(path).unwrap().response(&headers)
    }

    #[test]
    fn files_are_compressed_for_those_who_take_it_and_known_by_their_tag() {
        let bundle = "/docs/swagger-ui-bundle.js";
        let plain = get(bundle, None);
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        let packed = get(bundle, Some((header::ACCEPT_ENCODING, "br, gzip;q=0.8")));
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        let (plain_tag, packed_tag) = (
            &plain.headers()[header::ETAG],
            &packed.headers()[header::ETAG],
        );
        assert_ne!(plain_tag, packed_tag);
        let again = get(
            bundle,
            Some((header::IF_NONE_MATCH, plain_tag.to_str().unwrap())),
        );
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let refused = get(bundle, Some((header::ACCEPT_ENCODING, "gzip;q=0")));
        assert!(!refused.headers().contains_key(header::CONTENT_ENCODING));
        assert!(asset("/docs/other.js").is_none());
    }

    #[test]
    fn the_page_asks_for_nothing_but_its_own_files() {
        let page = include_str!("index.html");
        let named = page.match_indices("=\"/docs/").count();
        assert_eq!(named, ASSETS.len() - 1);
        assert!(!page.contains("http") && !page.contains("style=") && !page.contains(" on"));
    }
}
