//! The socket: connections of HTTP/1.1 and HTTP/2, each a task, drained at the end.

use std::{
    convert::Infallible,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use http::Request;
use hyper::body::Incoming;
use mesh::{BoxFuture, tasks::Tasks};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::{
    Gateway, concurrency::ConnectionPermit, layers, request_context::Connection,
    request_target::Encoded, state::AppState,
};

/// Largest head of HTTP/2: twice our own limit, so that ours answers with the envelope.
const HEAD_MAX: u32 = 64 * 1024;
/// Bytes of answers that the kernel keeps of a connection beyond what is on its way.
const NOT_SENT_MAX: u32 = 128 * 1024;
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
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        self.serve_until(listener, Box::pin(shutdown))
    }

    fn serve_until(
        &self,
        listener: TcpListener,
        mut shutdown: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        let app = self.app.clone();
        let stack = layers::stack(app.clone());
        Box::pin(async move {
            let connections = Tasks::default();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = &mut shutdown => break,
                };
                match accepted {
                    Ok((stream, peer)) => {
                        // Everybody behind a proxy has its address.
                        let alone = !app.proxies.contain(peer.ip());
                        let address = alone.then(|| peer.ip());
                        let Some(permit) = app.concurrency.connection(address) else {
                            continue;
                        };
                        let requests = Requests {
                            stack: stack.clone(),
                            connection: Connection {
                                address: peer.ip(),
                                spare: permit.spare,
                            },
                        };
                        let stop = connections.stop_token();
                        connections.spawn(connection(app.clone(), stream, requests, permit, stop));
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, "cannot accept connections");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
            // Closed before the drain, so that clients turn to another gateway at once.
            drop(listener);
            let grace = Duration::from_millis(app.config.drain_ms);
            anyhow::ensure!(
                connections.shut_down(grace).await,
                "requests were still running {grace:?} after shutdown"
            );
            Ok(())
        })
    }
}

async fn connection<S>(
    app: Arc<AppState>,
    stream: TcpStream,
    requests: Requests<S>,
    _permit: ConnectionPermit,
    stop: CancellationToken,
) where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "connection without TCP_NODELAY");
    }
    // What was not sent yet is kept by us, where it can be given up, and not by the kernel.
    if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(NOT_SENT_MAX) {
        tracing::debug!(error = %error, "connection without TCP_NOTSENT_LOWAT");
    }
    let deadlines = app.config.deadlines();
    let stream = Encoded::new(stream);
    let served = mesh::connection::serve(stream, requests, HEAD_MAX, deadlines, stop);
    if let Err(error) = served.await {
        tracing::debug!(error = %error, "connection broke off");
    }
}

/// The requests of one connection.
#[derive(Clone)]
struct Requests<S> {
    stack: S,
    connection: Connection,
}

impl<S> Service<Request<Incoming>> for Requests<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.connection);
        self.stack.call(request)
    }
}
