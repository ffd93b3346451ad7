//! A deadline for the beginning of an HTTP/2 connection. Keep-alive watches a connection once it speaks
//! HTTP/2; until its preface has come (RFC 9113 §3.4) nothing does, and a socket that sends nothing would
//! stay for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

/// Bytes of the preface that a client begins with.
const PREFACE_LEN: usize = 24;

/// A connection that fails when its preface has not come in time.
pub(crate) struct PrefaceTimeout<S> {
    io: S,
    /// Bytes of the preface that are still to come.
    missing: usize,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> PrefaceTimeout<S> {
    /// A connection that was accepted just now.
    pub(crate) fn new(io: S, timeout: Duration) -> Self {
        Self {
            io,
            missing: PREFACE_LEN,
            deadline: Some(Box::pin(sleep(timeout))),
        }
    }
}

impl<S: Connected> Connected for PrefaceTimeout<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefaceTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let Some(deadline) = self.deadline.as_mut() else {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        };
        if deadline.as_mut().poll(cx).is_ready() {
            metrics::counter!("objectmesh_connections_timed_out_total", "what" => "preface")
                .increment(1);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.missing = self.missing.saturating_sub(buf.filled().len() - before);
        if self.missing == 0 {
            self.deadline = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PrefaceTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        time::timeout,
    };
    use tonic::transport::{Channel, Server, server::TcpIncoming};
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    use super::*;

    const DEADLINE: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn silent_and_half_greeted_connections_end_and_others_stay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming =
            TcpIncoming::from(listener).map(|io| io.map(|io| PrefaceTimeout::new(io, DEADLINE)));
        let (_reporter, health) = tonic_health::server::health_reporter();
        let server = Server::builder().add_service(health);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(server.serve_with_incoming(incoming));
        let client = Channel::from_shared(format!("http://{address}")).unwrap();
        let mut client = HealthClient::new(client.connect().await.unwrap());
        client.check(HealthCheckRequest::default()).await.unwrap();

        let sent: [&[u8]; 3] = [b"", b"PRI * HTTP/2.0", b"GET / HTTP/1.1\r\nHo"];
        for bytes in sent {
            let mut silent = TcpStream::connect(address).await.unwrap();
            silent.write_all(bytes).await.unwrap();
            let mut read = Vec::new();
            let ended = timeout(Duration::from_secs(20), silent.read_to_end(&mut read)).await;
            assert!(ended.is_ok(), "after {bytes:?}");
        }
        // Far beyond the deadline by now, on the same connection.
        client.check(HealthCheckRequest::default()).await.unwrap();
    }
}
