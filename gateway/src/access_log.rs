//! A request on its way: what is known of it from the start, what is learned, and what is told of it
//! in the end, to its client, the metrics and the log.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use mesh::{
    clock,
    ctx::REQUEST_ID,
    identity::Identity,
    telemetry::{Served, Trace},
};
use tokio::time::Instant;

use crate::{limits::Verdict, probes};

/// Where a request came in.
#[derive(Clone, Copy)]
pub(crate) struct From {
    /// The address at the other end of the connection.
    pub(crate) address: IpAddr,
    /// Whether the connection is one too many.
    pub(crate) spare: bool,
}

/// What is known of a request before anything is decided.
pub(super) struct Asked {
    pub(super) id: Arc<str>,
    /// The client's address, as far as it can be told.
    pub(super) client: IpAddr,
    /// Whether a trusted proxy handed it on.
    pub(super) proxied: bool,
    /// Whether the connection is one too many.
    pub(super) spare: bool,
    pub(super) started: Instant,
    /// Its `Origin`, when it is trusted.
    pub(super) origin: Option<HeaderValue>,
    pub(super) parts: Parts,
}

impl Asked {
    pub(super) fn path(&self) -> &str {
        self.parts.uri.path()
    }
}

/// What is learned of a request on the way.
#[derive(Default)]
pub(super) struct Noted {
    /// The trace it belongs to.
    pub(super) trace: Option<Trace>,
    /// Who asks.
    pub(super) user: Option<Arc<Identity>>,
    /// What the rate limit said.
    pub(super) counted: Option<Verdict>,
}

/// A request that is being answered; told when it is, or when its client has gone away.
pub(super) struct Answering<'a> {
    pub(super) method: &'a Method,
    pub(super) route: &'a Arc<str>,
    pub(super) served: Served,
    pub(super) started: Instant,
    pub(super) noted: Noted,
    pub(super) answered: bool,
}

/// Status of a request whose client went away before it was answered; nobody ever receives it.
const CLIENT_GONE: u16 = 499;

impl Answering<'_> {
    pub(super) fn answered(mut self, status: u16) {
        self.answered = true;
        self.tell(status);
    }

    fn tell(&self, status: u16) {
        let took = self.started.elapsed();
        probes::count(self.method, self.route, status, took);
        let user = self
            .noted
            .user
            .as_deref()
            .map(|identity| &*identity.subject);
        self.served.http_ended(status, user);
        let message = if self.answered {
            "request answered"
        } else {
            "the client went away"
        };
        let duration_ms = took.as_secs_f64() * 1e3;
        // Probes and scrapes come every few seconds and tell nothing.
        let probe = matches!(&**self.route, "/health" | "/ready" | "/metrics") && status < 400;
        self.served.span().in_scope(|| match probe {
            true => tracing::debug!(http.response.status_code = status, duration_ms, message),
            false => tracing::info!(
                http.response.status_code = status,
                duration_ms,
                user.id = user,
                message
            ),
        });
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.tell(CLIENT_GONE);
        }
    }
}

/// Every answer, failures too, carries the request id, and says what it is and who may keep it.
pub(super) fn protect(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

/// The limit, what is left of it, and when all of it is there again (epoch seconds).
pub(super) fn tell(verdict: Verdict, headers: &mut HeaderMap) {
    let full_at_ms = clock::unix_ms() + i64::try_from(verdict.full_in.as_millis()).unwrap_or(0);
    for (name, value) in [
        ("x-ratelimit-limit", i64::from(verdict.limit)),
        ("x-ratelimit-remaining", i64::from(verdict.remaining)),
        ("x-ratelimit-reset", (full_at_ms + 999) / 1000),
    ] {
        headers.insert(HeaderName::from_static(name), value.into());
    }
}
