//! A way to a service: its server in this process, or connections to another one. Every generated
//! client is `Client<Link>`; nothing else knows where a peer lives.
//!
//! Invariant: a failure of the transport is a status UNAVAILABLE, and [`never_reached`] says
//! whether the peer can have seen the request.

mod connection;
mod endpoint;
mod failure;
mod peer;
mod remote;

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use serde::Deserialize;
use tokio::sync::Notify;
use tonic::{Status, body::Body, service::Routes};
use tower::{BoxError, Service};

pub use self::{failure::never_reached, remote::Remote};
use crate::{ctx, guard::Guarded, tasks::Tasks};

/// A way to a service. Cheap to clone.
#[derive(Clone)]
pub enum Link {
    /// The service runs in this process; bound once it is built, since services know each other
    /// in cycles.
    Local(Arc<Slot>),
    /// The service runs elsewhere, in one or more replicas.
    Remote(Remote),
}

/// A service of this process, once it is built.
#[derive(Default)]
pub struct Slot {
    service: OnceLock<Guarded<Routes>>,
    bound: Notify,
}

impl Slot {
    /// The service; services that are built earlier wait for those that are built later.
    async fn service(&self) -> Option<Guarded<Routes>> {
        let bound = self.bound.notified();
        if let Some(service) = self.service.get() {
            return Some(service.clone());
        }
        // Whether in time or not, the slot says what is in it.
        let _in_time = tokio::time::timeout(BINDING_MAX, bound).await;
        self.service.get().cloned()
    }
}

/// How long a call waits for a service of this process to be built.
const BINDING_MAX: Duration = Duration::from_secs(2);

/// How to reach services that run elsewhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reach {
    /// Connections to each replica for calls with one message each way; streams have one more of
    /// their own.
    pub connections: usize,
    /// How long opening a connection may take.
    #[serde(rename = "connect_timeout_ms", deserialize_with = "milliseconds")]
    pub connect_timeout: Duration,
    /// How often host names are looked up again.
    #[serde(rename = "resolve_interval_ms", deserialize_with = "milliseconds")]
    pub resolve_interval: Duration,
    /// A connection that was silent for so long is asked for a sign of life, and closed when none
    /// comes within the same time.
    #[serde(rename = "keep_alive_ms", deserialize_with = "milliseconds")]
    pub keep_alive: Duration,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            connections: 1,
            connect_timeout: Duration::from_secs(1),
            resolve_interval: Duration::from_secs(5),
            keep_alive: Duration::from_secs(5),
        }
    }
}

fn milliseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

impl Link {
    /// A link to a service of this process that is not built yet.
    #[must_use]
    pub fn unbound() -> Self {
        Self::Local(Arc::default())
    }

    /// Binds an unbound link. A second call, or one on a remote link, changes nothing.
    pub fn bind(&self, service: Guarded<Routes>) {
        if let Self::Local(slot) = self {
            // A second bind would change the peer under running calls; the first one stays.
            let _already_bound = slot.service.set(service);
            slot.bound.notify_waiters();
        }
    }

    /// A link to the replicas of a service at `urls`: a comma list of `http://host:port`, where a
    /// host of several addresses is several replicas. Connects on first use, and again after a
    /// connection was lost.
    ///
    /// # Errors
    /// When a URL is none.
    pub fn connect(urls: &str) -> anyhow::Result<Self> {
        Self::connect_with(urls, &Reach::default(), &Tasks::default())
    }

    /// The same, with the settings and the tasks of a process: names are looked up and connections
    /// kept on `tasks`.
    ///
    /// # Errors
    /// When a URL is none.
    pub fn connect_with(urls: &str, reach: &Reach, tasks: &Tasks) -> anyhow::Result<Self> {
        Ok(Self::Remote(Remote::new(urls, reach, tasks)?))
    }
}

impl Service<http::Request<Body>> for Link {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A replica is chosen when the request is there.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // Only metadata crosses, in process as over a socket.
        let (mut parts, body) = request.into_parts();
        parts.extensions.clear();
        ctx::name_request(&mut parts.headers);
        let request = http::Request::from_parts(parts, body);
        match self {
            Self::Local(slot) => {
                if let Some(service) = slot.service.get() {
                    let mut service = service.clone();
                    return Box::pin(async move {
                        let answer = service.call(request).await;
                        answer.map_err(|never| match never {})
                    });
                }
                let slot = Arc::clone(slot);
                Box::pin(async move {
                    let Some(mut service) = slot.service().await else {
                        return Err(Status::unavailable("the peer is not bound yet").into());
                    };
                    let answer = service.call(request).await;
                    answer.map_err(|never| match never {})
                })
            }
            Self::Remote(remote) => {
                let remote = remote.clone();
                Box::pin(async move { remote.call(request).await.map_err(Into::into) })
            }
        }
    }
}
