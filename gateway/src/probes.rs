//! Health, readiness and metrics: for orchestrators and operators, outside `/api/v1`.

use axum::{body::Body, response::Response};
use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use http::{HeaderValue, Method, StatusCode, header};
use mesh::{
    Error, Link,
    error::Reason,
    ready::{BACKGROUND, Readiness},
    session::SessionStore,
    telemetry,
};
use serde_json::json;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    Peers,
    response::{Refusal, json_response},
};

/// Longest wait for one peer.
const WAIT: Duration = Duration::from_secs(1);

/// Without these no request is answered; without the others some are.
pub(crate) const NEEDED: [&str; 2] = ["auth-svc", "data-svc"];

/// How a service is, in discovery's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Available,
    /// It answers, but what it does beside the calls fails.
    Lagging,
    /// It answers that it cannot do its work.
    NotReady,
    Unavailable,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Lagging | Self::NotReady => "degraded",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Asks the peers and the session store how they are.
pub(crate) struct Probes {
    peers: Peers,
    sessions: SessionStore,
    readiness: Readiness,
}

impl Probes {
    pub(crate) fn new(peers: Peers, sessions: SessionStore, readiness: Readiness) -> Self {
        Self {
            peers,
            sessions,
            readiness,
        }
    }

    /// How each peer is, by name; all are asked at once.
    pub(crate) async fn statuses(&self) -> Vec<(&'static str, Status)> {
        let peers = self.peers.all();
        join_all(peers.map(|(name, link, _)| async move {
            let asked = async {
                match serving(link, "").await {
                    Err(_) => Status::Unavailable,
                    Ok(false) => Status::NotReady,
                    Ok(true) => match serving(link, BACKGROUND).await {
                        Ok(false) => Status::Lagging,
                        // Of what beside the calls never failed nothing is known.
                        Ok(true) | Err(_) => Status::Available,
                    },
                }
            };
            let status = tokio::time::timeout(WAIT, asked).await;
            (name, status.unwrap_or(Status::Unavailable))
        }))
        .await
    }

    /// 200 when what every request needs answers, else 503 with what is missing. The session store
    /// is no part of that: while it is away auth-svc's database answers.
    pub(crate) async fn ready(&self) -> Result<Response, Refusal> {
        let store = tokio::time::timeout(WAIT, self.sessions.ping());
        let (statuses, store) = futures::join!(self.statuses(), store);
        let (mut missing, mut degraded) = (Vec::new(), Vec::new());
        for (name, status) in statuses {
            match status {
                Status::Available => {}
                Status::NotReady | Status::Unavailable if NEEDED.contains(&name) => {
                    missing.push(name);
                }
                Status::Lagging | Status::NotReady | Status::Unavailable => degraded.push(name),
            }
        }
        if !matches!(store, Ok(Ok(()))) {
            degraded.push("session store");
        }
        if self.readiness.check().await.is_err() {
            missing.push("gateway");
        }
        if missing.is_empty() {
            let mut body = json!({"status": "ready"});
            if !degraded.is_empty() {
                body["degraded"] = json!(degraded);
            }
            return Ok(json_response(StatusCode::OK, body.to_string()));
        }
        let message = format!("Not ready: {} missing", missing.join(", "));
        Err(Error::new(Reason::ServiceUnavailable, message)
            .with("missing", json!(missing))
            .with("retryAfter", 1)
            .into())
    }
}

/// Whether a service says of itself, or of a part, that it serves.
async fn serving(link: &Link, part: &str) -> Result<bool, tonic::Status> {
    let request = HealthCheckRequest {
        service: part.to_owned(),
    };
    let answer = HealthClient::new(link.clone()).check(request).await?;
    Ok(answer.get_ref().status() == ServingStatus::Serving)
}

/// The process runs; nothing else is said.
pub(crate) fn health() -> Response {
    json_response(StatusCode::OK, r#"{"status":"ok"}"#)
}

/// The process's metrics as Prometheus text.
pub(crate) fn metrics() -> Response {
    let text = telemetry::metrics_text();
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

/// Counts an answered request.
pub(crate) fn count(method: &Method, route: &Arc<str>, status: u16, took: Duration) {
    let method = method_label(method);
    let route = || metrics::SharedString::from_shared(route.clone());
    let status = status_label(status);
    metrics::counter!(
        "objectmesh_http_requests_total",
        "method" => method, "route" => route(), "status" => status
    )
    .increment(1);
    metrics::histogram!(
        "objectmesh_http_request_duration_seconds",
        "method" => method, "route" => route()
    )
    .record(took);
}

/// Unknown methods share one label, so that a client cannot make labels.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_label(status: u16) -> metrics::SharedString {
    match status {
        200 => "200".into(),
        201 => "201".into(),
        204 => "204".into(),
        304 => "304".into(),
        _ => status.to_string().into(),
    }
}
