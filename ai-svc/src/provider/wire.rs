//! One request to a provider over HTTP, and its answer as server-sent events. No redirect is followed:
//! a key goes where the operator says and nowhere else.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use mesh::{Error, Result, error::Reason};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{Piece, Provider, failed, timed_out, total};
use crate::config::Limits;

/// Longest event of a stream, and longest answer in one piece, in bytes.
const EVENT_MAX: usize = 4 * 1024 * 1024;
/// Longest stream, in bytes.
const STREAM_MAX: usize = 16 * 1024 * 1024;

/// The HTTP client of all providers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    limits: Limits,
}

/// A call that is ready to be made.
pub(super) struct Call {
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) reader: Box<dyn Reader>,
}

/// How a provider's events read.
pub(super) trait Reader: Send {
    /// Adds what an event says to `pieces`. True when it was the last one.
    ///
    /// # Errors
    /// AI_PROVIDER_ERROR when the event tells of a failure.
    fn event(&mut self, event: &Value, pieces: &mut VecDeque<Piece>) -> Result<bool>;

    /// Adds what an answer in one piece says: that of a server that does not stream.
    fn whole(&mut self, answer: &Value, pieces: &mut VecDeque<Piece>);
}

/// An answer that a server sends.
pub(crate) struct Remote {
    provider: Provider,
    body: Incoming,
    reader: Box<dyn Reader>,
    buffer: Vec<u8>,
    /// How much of the buffer was searched for the end of a line.
    searched: usize,
    taken: usize,
    pieces: VecDeque<Piece>,
    ended: bool,
    /// The answer said why it ends; some servers say nothing after that.
    finished: bool,
    limits: Limits,
    deadline: Instant,
}

/// The body of an answer.
type Incoming = UnsyncBoxBody<Bytes, Broken>;
type Broken = Box<dyn std::error::Error + Send + Sync>;

impl Http {
    pub(super) fn new(limits: Limits) -> anyhow::Result<Self> {
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(Duration::from_secs(10)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Ok(Self { client, limits })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn post(self, provider: Provider, call: Call) -> Result<Remote> {
        let deadline = Instant::now() + total(self.limits);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(call.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "text/event-stream, application/json")
            .header(header::USER_AGENT, "objectmesh")
            .body(Full::new(Bytes::from(call.body.to_string())))
            .map_err(Error::internal)?;
        request.headers_mut().extend(call.headers);
        let idle = deadline.min(Instant::now() + idle(self.limits));
        let answer = timeout_at(idle, self.client.request(request)).await;
        let answer = answer
            .map_err(|_| timed_out(provider, self.limits.idle_ms))?
            .map_err(|error| {
                tracing::warn!(ai.provider = provider.as_str(), %error, "provider not reached");
                failed(provider, "cannot be reached")
            })?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            return Err(refusal(provider, head.status, &head.headers));
        }
        let events = head
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/event-stream"));
        let body = body
            .map_err(|error| Box::new(error) as Broken)
            .boxed_unsync();
        let mut remote = Remote {
            provider,
            body,
            reader: call.reader,
            buffer: Vec::new(),
            searched: 0,
            taken: 0,
            pieces: VecDeque::new(),
            ended: false,
            finished: false,
            limits: self.limits,
            deadline,
        };
        if !events {
            remote.read_whole().await?;
        }
        Ok(remote)
    }
}

/// TLS with the system's certificates; without any, no https server is trusted.
fn tls() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(match builder.clone().with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "the system has no certificates; no https provider can be reached");
            builder
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth()
        }
    })
}

fn idle(limits: Limits) -> Duration {
    Duration::from_millis(limits.idle_ms)
}

/// What a status of a provider means for our caller. Its text is not looked at: it may repeat the key.
fn refusal(provider: Provider, status: StatusCode, headers: &HeaderMap) -> Error {
    tracing::warn!(
        ai.provider = provider.as_str(),
        http.status = status.as_u16(),
        "provider refused"
    );
    if status == StatusCode::TOO_MANY_REQUESTS {
        let seconds = headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        return Error::new(
            Reason::RateLimited,
            format!(
                "The model provider {} takes no more requests now",
                provider.as_str()
            ),
        )
        .with("provider", provider.as_str())
        .with("retryAfter", seconds.unwrap_or(5).clamp(1, 3_600));
    }
    if status == StatusCode::GATEWAY_TIMEOUT || status == StatusCode::REQUEST_TIMEOUT {
        return Error::new(
            Reason::Timeout,
            format!("The model provider {} took too long", provider.as_str()),
        )
        .with("provider", provider.as_str());
    }
    let what = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "does not accept our key",
        StatusCode::NOT_FOUND => "does not know the model or the address",
        _ => "refused the request",
    };
    failed(provider, what).with("status", status.as_u16())
}

impl Remote {
    /// The next piece; `None` once the answer is whole.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            if self.read_line()? {
                continue;
            }
            if !self.read_more().await? {
                // A stream that just stops is not whole.
                if !self.finished {
                    return Err(failed(self.provider, "broke off its answer"));
                }
                self.ended = true;
            }
        }
    }

    /// Takes the next line off the buffer, if there is a whole one.
    fn read_line(&mut self) -> Result<bool> {
        let rest = &self.buffer[self.searched..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return Ok(false);
        };
        let mut line: Vec<u8> = self.buffer.drain(..=self.searched + end).collect();
        self.searched = 0;
        while line
            .last()
            .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
        {
            line.pop();
        }
        let Some(data) = line.strip_prefix(b"data:") else {
            return Ok(true);
        };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.ended = true;
        } else if !data.is_empty() {
            let event = serde_json::from_slice(data)
                .map_err(|_| failed(self.provider, "answered what cannot be read"))?;
            self.ended = self.reader.event(&event, &mut self.pieces)?;
            let mut new = self.pieces.iter();
            self.finished |= new.any(|piece| matches!(piece, Piece::Finish(_)));
        }
        Ok(true)
    }

    /// Waits for more of the body. False at its end.
    async fn read_more(&mut self) -> Result<bool> {
        let until = self.deadline.min(Instant::now() + idle(self.limits));
        loop {
            let frame = timeout_at(until, self.body.frame()).await;
            let limit = match until == self.deadline {
                true => self.limits.total_ms,
                false => self.limits.idle_ms,
            };
            let Some(frame) = frame.map_err(|_| timed_out(self.provider, limit))? else {
                return Ok(false);
            };
            let frame = frame.map_err(|_| failed(self.provider, "broke off its answer"))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.taken += data.len();
            if self.buffer.len() + data.len() > EVENT_MAX || self.taken > STREAM_MAX {
                return Err(failed(self.provider, "answered more than is taken"));
            }
            self.buffer.extend_from_slice(&data);
            return Ok(true);
        }
    }

    async fn read_whole(&mut self) -> Result<()> {
        while self.read_more().await? {}
        let answer: Value = serde_json::from_slice(&self.buffer)
            .map_err(|_| failed(self.provider, "answered what cannot be read"))?;
        self.reader.whole(&answer, &mut self.pieces);
        self.ended = true;
        if self.pieces.is_empty() {
            return Err(failed(self.provider, "answered what cannot be read"));
        }
        Ok(())
    }
}
