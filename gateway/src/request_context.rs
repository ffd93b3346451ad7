//! What is known of a request, for everything that handles it: an extension of the request.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use axum::extract::Request;
use http::{HeaderValue, Method, request::Parts};
use mesh::{identity::Identity, telemetry::Trace};
use tokio::time::Instant;

use crate::{limits::Verdict, state::AppState};

/// The connection that a request came on.
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    /// The address at its other end.
    pub(crate) address: IpAddr,
    /// Whether it is one too many.
    pub(crate) spare: bool,
}

/// What is known of a request.
#[derive(Clone)]
pub(crate) struct RequestContext(Arc<Known>);

/// See [`RequestContext`].
pub(crate) struct Known {
    /// The request id, well formed.
    pub(crate) id: Arc<str>,
    pub(crate) method: Method,
    /// The client's address, as far as it can be told.
    pub(crate) client: IpAddr,
    /// Whether a trusted proxy handed it on.
    pub(crate) proxied: bool,
    /// Whether its connection is one too many.
    pub(crate) spare: bool,
    pub(crate) started: Instant,
    /// Its `Origin`, when it is trusted.
    pub(crate) origin: Option<HeaderValue>,
    /// The trace that it belongs to.
    pub(crate) trace: Option<Trace>,
    /// Who asks, once it is known.
    pub(crate) user: OnceLock<Arc<Identity>>,
    /// What the rate limit said, once it was asked.
    pub(crate) verdict: OnceLock<Verdict>,
}

impl std::ops::Deref for RequestContext {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.0
    }
}

impl RequestContext {
    /// What a request tells of itself.
    pub(crate) fn new(
        app: &AppState,
        id: Arc<str>,
        parts: &Parts,
        started: Instant,
        trace: Option<Trace>,
    ) -> Self {
        let connection = parts.extensions.get::<Connection>();
        let address = connection.map_or(IpAddr::from([0, 0, 0, 0]), |known| known.address);
        Self(Arc::new(Known {
            id,
            method: parts.method.clone(),
            client: app.proxies.client(address, &parts.headers),
            proxied: app.proxies.contain(address),
            spare: connection.is_some_and(|known| known.spare),
            started,
            origin: app.origins.trusted(&parts.headers).cloned(),
            trace,
            user: OnceLock::new(),
            verdict: OnceLock::new(),
        }))
    }

    /// The context that [`access_log`](crate::access_log) gave the request.
    ///
    /// # Panics
    /// Without that layer, which the stack always has.
    #[expect(
        clippy::expect_used,
        reason = "the stack is built in one place, layers.rs"
    )]
    pub(crate) fn of(request: &Request) -> Self {
        let context = request.extensions().get::<Self>();
        context
            .expect("the layer access_log is in the stack")
            .clone()
    }
}
