//! One kept-alive HTTP/1.1 connection.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: String,
    token: String,
    // Ends the connection when dropped.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Opens one to an address, for a caller with that token.
    pub(crate) async fn open(address: &str, token: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // A failure shows at the request that waits for its answer.
            let _ended = connection.await;
        });
        Ok(Self {
            sender,
            address: address.to_owned(),
            token: format!("Bearer {token}"),
            _driver: driver,
        })
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        target: &str,
        body: Option<String>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, &self.address)
            .header(header::AUTHORIZATION, &self.token);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        let answered = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, body))
        };
        tokio::time::timeout(PATIENCE, answered)
            .await
            .context("no answer in time")?
    }

    /// Sends a request whose answer must be 2xx with JSON.
    pub(crate) async fn json(
        &mut self,
        method: Method,
        target: &str,
        body: Option<String>,
    ) -> anyhow::Result<serde_json::Value> {
        let (status, body) = self.send(method, target, body).await?;
        anyhow::ensure!(
            status.is_success(),
            "{target}: {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Asks `http://<address><target>` once without a token; whether the answer was 200.
pub(crate) async fn answers(address: &str, target: &str) -> bool {
    let asked = async {
        let mut connection = Connection::open(address, "").await?;
        connection.send(Method::GET, target, None).await
    };
    asked
        .await
        .is_ok_and(|(status, _)| status == StatusCode::OK)
}
