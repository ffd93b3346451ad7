//! The socket: connections of HTTP/1.1 and HTTP/2, each a task, drained at the end.

use std::{
    convert::Infallible,
    future::Future,
    net::IpAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use mesh::tasks::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tower::{BoxError, Service};

use crate::{
    Gateway,
    answer::Body,
    edge::{Edge, From},
    load::Place,
    request_target::Encoded,
};

/// How long a connection waits for the whole head of its next request. hyper counts idle time too,
/// so this is longer than the 60 seconds for which load balancers keep connections.
const HEAD_WAIT: Duration = Duration::from_secs(75);
/// Pause after the listener failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Gateway {
    /// Serves until `shutdown`, then lets requests in flight end, at most `drain_ms`.
    ///
    /// # Errors
    /// When requests were still running after that time.
    pub fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let edge = self.edge.clone();
        async move {
            let connections = Tasks::default();
            let mut shutdown = pin!(shutdown);
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = &mut shutdown => break,
                };
                match accepted {
                    Ok((stream, peer)) => {
                        let Some(place) = edge.load.connection() else {
                            continue;
                        };
                        let edge = edge.clone();
                        let stop = connections.clone();
                        connections.spawn(connection(edge, stream, peer.ip(), place, stop));
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, "cannot accept connections");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
            // Closed before the drain, so that clients turn to another gateway at once.
            drop(listener);
            let grace = Duration::from_millis(edge.config.drain_ms);
            anyhow::ensure!(
                connections.shut_down(grace).await,
                "requests were still running {grace:?} after shutdown"
            );
            Ok(())
        }
    }
}

async fn connection(
    edge: Arc<Edge>,
    stream: TcpStream,
    address: IpAddr,
    place: Place,
    tasks: Tasks,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "connection without TCP_NODELAY");
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(250)
        // Twice our own limit, so that ours answers with the envelope.
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(20));
    let from = From {
        address,
        spare: place.spare,
    };
    let service = TowerToHyperService::new(Requests { edge, from });
    let mut served = pin!(builder.serve_connection(TokioIo::new(Encoded::new(stream)), service));
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = tasks.stopping() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "connection broke off");
    }
}

/// The requests of one connection.
#[derive(Clone)]
struct Requests {
    edge: Arc<Edge>,
    from: From,
}

impl<B> Service<Request<B>> for Requests
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (edge, from) = (self.edge.clone(), self.from);
        Box::pin(async move { Ok(edge.answer(from, request).await) })
    }
}
