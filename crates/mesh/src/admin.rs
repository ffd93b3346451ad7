//! Health, readiness and metrics over plain HTTP, for orchestrators; at an address of their own,
//! which no client reaches.

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::{ready::Readiness, tasks::Tasks, telemetry};

/// Serves on `listener` until the process ends.
pub(crate) fn start(listener: TcpListener, readiness: Readiness, tasks: &Tasks) {
    let app = Router::new()
        .route("/health", get(|| async { r#"{"status":"ok"}"# }))
        .route("/ready", get(move || ready(readiness.clone())))
        .route("/metrics", get(metrics));
    let stop = tasks.stop_token();
    tasks.spawn(async move {
        let server = axum::serve(listener, app).into_future();
        // Cut at the end: a scraper that keeps its connection must not hold up the process.
        if let Some(Err(error)) = stop.run_until_cancelled(server).await {
            tracing::error!(error = %error, "the admin listener failed");
        }
    });
}

async fn ready(readiness: Readiness) -> impl IntoResponse {
    match readiness.check().await {
        Ok(()) => (StatusCode::OK, r#"{"status":"ready"}"#.to_owned()),
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
