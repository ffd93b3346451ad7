//! Health, readiness and metrics over plain HTTP, for orchestrators; at an address of their own,
//! which no client reaches.

use std::time::Duration;

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    connection::{self, Deadlines},
    ready::Readiness,
    tasks::Tasks,
    telemetry,
    watched::DEGRADED_AFTER,
};

/// Nobody who asks here is far away.
const DEADLINES: Deadlines = Deadlines {
    head: Duration::from_secs(5),
    idle: Duration::from_secs(75),
    write: Duration::from_secs(10),
};
const HEAD_MAX: u32 = 16 * 1024;
/// Pause after the listener failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves on `listener` until the process ends.
pub(crate) fn start(listener: TcpListener, readiness: Readiness, tasks: &Tasks) {
    let watched = tasks.clone();
    let app = Router::new()
        .route("/health", get(|| async { r#"{"status":"ok"}"# }))
        .route(
            "/ready",
            get(move || ready(readiness.clone(), watched.clone())),
        )
        .route("/metrics", get(metrics));
    let (stop, connections) = (tasks.stop_token(), tasks.clone());
    tasks.spawn(async move {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Cut at the end: a scraper that keeps its connection must not hold up the process.
            let (app, stop) = (app.clone(), stop.clone());
            let served = connection::serve(stream, app, HEAD_MAX, DEADLINES, stop.clone());
            connections.spawn(async move {
                if let Some(Err(error)) = stop.run_until_cancelled(served).await {
                    tracing::debug!(error = %error, "a connection of the admin listener broke off");
                }
            });
        }
    });
}

/// Ready or not; `degraded` names the tasks beside the calls that have failed for a while.
async fn ready(readiness: Readiness, tasks: Tasks) -> impl IntoResponse {
    match readiness.check().await {
        Ok(()) => {
            let mut body = serde_json::json!({"status": "ready"});
            let failing = tasks.failing_for(DEGRADED_AFTER);
            if !failing.is_empty() {
                body["degraded"] = serde_json::json!(failing);
            }
            (StatusCode::OK, body.to_string())
        }
        Err(missing) => {
            let body = serde_json::json!({"status": "not ready", "missing": missing});
            (StatusCode::SERVICE_UNAVAILABLE, body.to_string())
        }
    }
}

async fn metrics() -> impl IntoResponse {
    let text = telemetry::metrics_text();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}
