//! Metrics, read at `/metrics` as Prometheus text.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::tasks::Tasks;

/// How often what was recorded is folded into buckets.
const UPKEEP: Duration = Duration::from_secs(5);

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
