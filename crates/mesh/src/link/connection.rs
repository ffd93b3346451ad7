//! One HTTP/2 connection: opened, tried out, and driven until it ends.

use std::{net::SocketAddr, pin::Pin};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tonic::body::Body;

use super::{Reach, peer::Target};
use crate::tasks::Tasks;

/// Hands requests to a connection.
pub(super) type Sender = SendRequest<Body>;
/// What keeps a connection going.
pub(super) type Driver = Connection<TokioIo<TcpStream>, Body, OnTasks>;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Calls of one message each way.
    Unary,
    /// Streams: their readers may stall, and must not hold up anybody else.
    Streams,
}

/// Largest headers and trailers taken: error details travel there.
const HEADERS_MAX: u32 = 256 * 1024;
/// An empty message in gRPC's frame.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// Opens a connection. The caller has to drive it.
pub(super) async fn open(
    address: SocketAddr,
    purpose: Purpose,
    reach: &Reach,
    tasks: &Tasks,
) -> anyhow::Result<(Sender, Driver)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut builder = Builder::new(OnTasks(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(reach.keep_alive)
        .keep_alive_timeout(reach.keep_alive)
        .keep_alive_while_idle(true)
        .max_header_list_size(HEADERS_MAX);
    if purpose == Purpose::Streams {
        builder
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(32 * 1024 * 1024);
    }
    Ok(builder.handshake(TokioIo::new(stream)).await?)
}

/// Waits for a sign of life: a peer that hangs accepts connections, its system does that for it.
/// Whatever is answered will do, also by a peer without the health service.
pub(super) async fn try_out(sender: &Sender, target: &Target) -> anyhow::Result<()> {
    let uri = http::Uri::builder()
        .scheme("http")
        .authority(target.authority.clone())
        .path_and_query("/grpc.health.v1.Health/Check")
        .build()?;
    let request = http::Request::post(uri)
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Full::new(Bytes::from_static(EMPTY_MESSAGE))))?;
    let answer = sender.clone().send_request(request).await?;
    answer.into_body().collect().await?;
    Ok(())
}

/// Runs hyper's part of a connection on a node's tasks, so that shutdown waits for its calls.
#[derive(Clone)]
pub(super) struct OnTasks(Tasks);

impl<F> hyper::rt::Executor<F> for OnTasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let future: Pin<Box<F>> = Box::pin(future);
        self.0.spawn(async move {
            future.await;
        });
    }
}
