//! What a service that writes a body itself may say of the answer: an allow-list of status and headers, in
//! the initial metadata of its reply (`http-etag`). Everything else is the gateway's to say.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use transcoding::Route;

const PREFIX: &str = "http-";
/// Statuses that any such reply may have; a route may name further ones.
const STATUSES: [StatusCode; 4] = [
    StatusCode::OK,
    StatusCode::ACCEPTED,
    StatusCode::PARTIAL_CONTENT,
    StatusCode::NOT_MODIFIED,
];
const HEADERS: [HeaderName; 9] = [
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ACCEPT_RANGES,
    header::CONTENT_DISPOSITION,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CACHE_CONTROL,
    header::CONTENT_SECURITY_POLICY,
    HeaderName::from_static("cross-origin-resource-policy"),
];

/// What a reply says of itself.
#[derive(Debug)]
pub(crate) struct Stated {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl Stated {
    /// Nothing but success.
    pub(crate) fn of(route: &Route) -> Self {
        Self {
            status: route.status,
            headers: HeaderMap::new(),
        }
    }

    /// Reads it from initial metadata. What may not be said is dropped and logged.
    pub(crate) fn read(route: &Route, metadata: &HeaderMap) -> Self {
        let mut stated = Self::of(route);
        for (name, value) in metadata {
            let Some(word) = name.as_str().strip_prefix(PREFIX) else {
                continue;
            };
            let said = match word {
                "status" => stated.say_status(route, value),
                word => stated.say(word, value),
            };
            if !said {
                tracing::warn!(
                    rpc = route.rpc.as_str(),
                    name = name.as_str(),
                    value = ?value,
                    "a service stated what it may not say of a reply"
                );
            }
        }
        // Its length would be that of a body which is not sent.
        if stated.status == StatusCode::NOT_MODIFIED {
            stated.headers.remove(header::CONTENT_LENGTH);
        }
        stated
    }

    fn say_status(&mut self, route: &Route, value: &HeaderValue) -> bool {
        let Ok(status) = StatusCode::from_bytes(value.as_bytes()) else {
            return false;
        };
        let may = STATUSES.contains(&status) || route.further_statuses.contains(&status);
        if may {
            self.status = status;
        }
        may
    }

    fn say(&mut self, word: &str, value: &HeaderValue) -> bool {
        let Some(name) = HEADERS.into_iter().find(|name| name.as_str() == word) else {
            return false;
        };
        let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
        let once = !self.headers.contains_key(&name);
        let is_length = name == header::CONTENT_LENGTH;
        let may = once && !value.is_empty() && (!is_length || digits);
        if may {
            self.headers.insert(name, value.clone());
        }
        may
    }
}
