//! Metrics, read at `/metrics` as Prometheus text.

use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::{concurrency::ConcurrencyLimit, db::Db, tasks::Tasks};

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

/// Sets gauges before they are read; false once what it looks at is gone.
type Gauges = Box<dyn Fn() -> bool + Send>;

static GAUGES: Mutex<Vec<Gauges>> = Mutex::new(Vec::new());

fn gauges() -> std::sync::MutexGuard<'static, Vec<Gauges>> {
    GAUGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process's metrics as Prometheus text; gauges are read now.
#[must_use]
pub fn metrics_text() -> String {
    gauges().retain(|set| set());
    metrics().map_or_else(String::new, PrometheusHandle::render)
}

/// Shows how many calls a service has in flight, as long as it is there.
pub(crate) fn gauge_in_flight(service: &'static str, load: &ConcurrencyLimit) {
    let load = load.watch();
    gauges().push(Box::new(move || {
        let taken = load();
        let gauge = metrics::gauge!("objectmesh_rpc_in_flight", "service" => service);
        gauge.set(count(taken.unwrap_or_default()));
        taken.is_some()
    }));
}

/// Shows how busy a service's database is, as long as it is open.
pub(crate) fn gauge_database(service: &'static str, db: &Db) {
    let load = db.watch();
    gauges().push(Box::new(move || {
        let Some(load) = load() else { return false };
        for (what, value) in load {
            metrics::gauge!("objectmesh_db", "service" => service, "what" => what)
                .set(count(value));
        }
        true
    }));
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of what is in memory is far below 2^52"
)]
fn count(value: usize) -> f64 {
    value as f64
}
