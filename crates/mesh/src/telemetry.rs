//! Logs and metrics; the only place that sets them up.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::tasks::Tasks;

/// How often what was recorded is folded into buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people, on standard error.
    Text,
    /// One JSON object a line, on standard output.
    Json,
}

/// Starts logging at `filter` (the `RUST_LOG` syntax). A second call changes nothing.
pub fn init(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let done = match format {
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_target(false),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true))
            .try_init(),
    };
    if done.is_err() {
        tracing::debug!("logging was set up already");
    }
}

/// Handle to the process's metrics; the first call starts recording.
///
/// `None` when another recorder was installed before.
pub fn metrics() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            PrometheusBuilder::new()
                .set_buckets(&[
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                ])
                .ok()?
                .install_recorder()
                .ok()
        })
        .as_ref()
}

/// Starts recording, and folds what was recorded every few seconds: between scrapes every single
/// duration is kept, and without this memory would grow where nobody scrapes. A second call in one
/// process changes nothing.
pub fn record_metrics(tasks: &Tasks) {
    static STARTED: OnceLock<()> = OnceLock::new();
    let Some(metrics) = metrics() else { return };
    if STARTED.set(()).is_err() {
        return;
    }
    let stop = tasks.stop_token();
    tasks.spawn(async move {
        while tokio::time::timeout(UPKEEP, stop.cancelled())
            .await
            .is_err()
        {
            metrics.run_upkeep();
        }
    });
}
