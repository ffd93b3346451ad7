//! A way to a service: its server in this process, or a channel to another one. Every generated
//! client is `Client<Link>`; nothing else knows where a peer lives.

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tonic::{
    body::Body,
    service::Routes,
    transport::{Channel, Endpoint},
};
use tower::{BoxError, Service};

use crate::guard::Guarded;

/// A way to a service. Cheap to clone.
#[derive(Clone)]
pub enum Link {
    /// The service runs in this process; bound once it is built, since services know each other
    /// in cycles.
    Local(Arc<OnceLock<Guarded<Routes>>>),
    /// The service runs elsewhere.
    Remote(Channel),
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
            let _already_bound = slot.set(service);
        }
    }

    /// A link to a service at `uri` (`http://host:port`). Connects on first use and again after
    /// the connection was lost.
    ///
    /// # Errors
    /// When the URI is none.
    pub fn connect(uri: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(uri.to_owned())?
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(2))
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .http2_max_header_list_size(256 * 1024);
        Ok(Self::Remote(endpoint.connect_lazy()))
    }
}

impl Service<http::Request<Body>> for Link {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Local(_) => Poll::Ready(Ok(())),
            Self::Remote(channel) => channel.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match self {
            Self::Local(slot) => match slot.get() {
                Some(service) => {
                    // Only metadata crosses, as over a socket.
                    let (mut parts, body) = request.into_parts();
                    parts.extensions.clear();
                    let mut service = service.clone();
                    Box::pin(async move {
                        let answer = service.call(http::Request::from_parts(parts, body)).await;
                        answer.map_err(|never| match never {})
                    })
                }
                None => Box::pin(async { Err("the peer is not bound yet".into()) }),
            },
            Self::Remote(channel) => {
                let answer = channel.call(request);
                Box::pin(async move { answer.await.map_err(Into::into) })
            }
        }
    }
}
