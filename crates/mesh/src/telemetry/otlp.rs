//! Export of spans over OTLP. Requests never wait for it: spans that the collector does not take in
//! time are dropped.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter as _},
};
use tokio::runtime::Handle;

/// How long an ending process waits for its last spans to be taken.
const FLUSH: Duration = Duration::from_secs(3);
/// Attribute that says which service a span is of; it becomes the resource's.
const SERVICE: &str = "service.name";
/// Fields of spans that are there for the log only.
const FOR_THE_LOG: &str = "trace_id";

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// A tracer that exports to `endpoint`; within a runtime. `process` names what comes from no
/// service, `fixed` all of it.
///
/// # Errors
/// When the endpoint is none.
pub(super) fn tracer(
    endpoint: &str,
    process: &'static str,
    fixed: Option<&str>,
) -> anyhow::Result<SdkTracer> {
    let exporter = ByService {
        endpoint: endpoint.to_owned(),
        process,
        fixed: fixed.map(str::to_owned),
        instance: crate::id::new(),
        runtime: Handle::try_current()?,
        exporters: Mutex::default(),
        failing: AtomicBool::new(false),
    };
    // Made now, so that a wrong endpoint is told at the start.
    exporter.of(fixed.unwrap_or(process))?;
    let provider = SdkTracerProvider::builder()
        // Whether a trace is recorded was decided before its span was made.
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(Resource::builder_empty().build())
        .with_batch_exporter(exporter)
        .build();
    let tracer = provider.tracer("objectmesh");
    // Only the first is used: the log was set up once, with it.
    let _already_set = PROVIDER.set(provider);
    Ok(tracer)
}

/// Sends what is left, for a bounded time.
pub(super) async fn shut_down() {
    let Some(provider) = PROVIDER.get() else {
        return;
    };
    let ended = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(FLUSH)).await;
    if !matches!(ended, Ok(Ok(()))) {
        tracing::warn!("the last spans were not taken by the collector");
    }
}

/// Exports the spans of each service under its own name, also when several share a process:
/// that is what trace viewers go by.
struct ByService {
    endpoint: String,
    process: &'static str,
    fixed: Option<String>,
    instance: String,
    runtime: Handle,
    /// As many as there are services.
    exporters: Mutex<HashMap<String, Arc<SpanExporter>>>,
    failing: AtomicBool,
}

impl fmt::Debug for ByService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByService")
    }
}

impl ByService {
    fn of(&self, service: &str) -> anyhow::Result<Arc<SpanExporter>> {
        let mut exporters = self
            .exporters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = exporters.get(service) {
            return Ok(Arc::clone(known));
        }
        let _connections_live_in = self.runtime.enter();
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&self.endpoint)
            .build()?;
        exporter.set_resource(
            &Resource::builder()
                .with_service_name(service.to_owned())
                .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
                .with_attribute(KeyValue::new("service.instance.id", self.instance.clone()))
                .build(),
        );
        let exporter = Arc::new(exporter);
        exporters.insert(service.to_owned(), Arc::clone(&exporter));
        Ok(exporter)
    }

    /// The spans by the service that they are of.
    fn sort(&self, batch: Vec<SpanData>) -> HashMap<String, Vec<SpanData>> {
        let mut sorted: HashMap<String, Vec<SpanData>> = HashMap::new();
        for mut span in batch {
            let mut service = None;
            span.attributes
                .retain(|attribute| match attribute.key.as_str() {
                    SERVICE => {
                        service = Some(attribute.value.to_string());
                        false
                    }
                    name => name != FOR_THE_LOG,
                });
            let own = || service.filter(|name| !name.is_empty());
            let name = self.fixed.clone().or_else(own);
            let name = name.unwrap_or_else(|| self.process.to_owned());
            sorted.entry(name).or_default().push(span);
        }
        sorted
    }

    /// Tells when it begins to fail and when it works again, not each time.
    fn noted(&self, failed: bool) {
        if self.failing.swap(failed, Ordering::Relaxed) == failed {
            return;
        }
        if failed {
            tracing::warn!("the OTLP collector takes no spans; those of this time are lost");
        } else {
            tracing::info!("the OTLP collector takes spans again");
        }
    }
}

impl opentelemetry_sdk::trace::SpanExporter for ByService {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut outcome = Ok(());
        for (service, spans) in self.sort(batch) {
            let exported = match self.of(&service) {
                Ok(exporter) => exporter.export(spans).await,
                Err(error) => Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure(
                    error.to_string(),
                )),
            };
            outcome = outcome.and(exported);
        }
        self.noted(outcome.is_err());
        outcome
    }
}
