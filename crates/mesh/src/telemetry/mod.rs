//! What a process tells about itself: log lines, traces and metrics. The only place that sets them
//! up.
//!
//! Invariant: telling never blocks or fails a request, and never holds a token, a body, a record's
//! value or a value bound to SQL.

mod log;
mod otlp;
mod output;
mod prometheus;
mod settings;
mod trace;

use std::{
    io::{self, IsTerminal as _},
    sync::OnceLock,
    time::Duration,
};

use opentelemetry_sdk::trace::SdkTracer;
use tracing::{Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::dynamic_filter_fn,
    fmt,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use self::output::Output;
pub(crate) use self::prometheus::{gauge_database, gauge_in_flight};
pub use self::{
    prometheus::{metrics, metrics_text, record_metrics},
    settings::{DEFAULTS, LogFormat, Settings},
    trace::{Served, TRACEPARENT, TRACESTATE, Trace},
};

/// How long an ending process waits for its log to be written.
const FLUSH: Duration = Duration::from_secs(2);

static OUTPUT: OnceLock<Output> = OnceLock::new();

/// Starts the log at `filter` (the `RUST_LOG` syntax) and nothing else: for commands that do not
/// serve. A second call changes nothing.
pub fn init(format: LogFormat, filter: &str) {
    let settings = Settings {
        log: Some(filter.to_owned()),
        log_format: Some(format),
        ..Settings::default()
    };
    // Without a collector nothing can be wrong.
    if let Err(error) = start("objectmesh", format, filter, &settings) {
        tracing::warn!(error = format!("{error:#}"), "logging is not complete");
    }
}

/// Starts log and traces of a process; `format` and `filter` hold where the settings say nothing.
/// Within a runtime, and with [`shut_down`] at the end. A second call changes nothing.
///
/// # Errors
/// When the filter or the collector's address is none.
pub fn start(
    process: &'static str,
    format: LogFormat,
    filter: &str,
    settings: &Settings,
) -> anyhow::Result<()> {
    let filter = settings.log.as_deref().unwrap_or(filter);
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| anyhow::anyhow!("log filter {filter:?}: {error}"))?
        // Statements are for the collector only.
        .add_directive(format!("{}=off", trace::SQL).parse()?);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.log_format.unwrap_or(format)
    {
        LogFormat::Text => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        LogFormat::Json => {
            let fresh = Output::start(io::stdout())?;
            let output = OUTPUT.get_or_init(|| fresh).clone();
            log::JsonLines::new(process, output).boxed()
        }
    };
    let registry = tracing_subscriber::registry();
    let done = match &settings.otlp_endpoint {
        Some(endpoint) => {
            let tracer = otlp::tracer(endpoint, process, settings.service_name.as_deref())?;
            let done = registry
                .with(lines.with_filter(filter))
                .with(spans(tracer))
                .try_init();
            if done.is_ok() {
                trace::export(settings.sample_ratio);
            }
            done
        }
        // As a filter of everything it also switches spans off where they are written.
        None => registry.with(lines).with(filter).try_init(),
    };
    if done.is_err() {
        tracing::debug!("logging was set up already");
    }
    Ok(())
}

/// Hands spans to the tracer: those of requests, and what lies within them. Nothing else: the
/// exporter's own connection has spans too. No events: the cause of an error is for the log.
fn spans<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let ours = |metadata: &Metadata<'_>| {
        metadata.is_span() && metadata.target().starts_with(trace::WITHIN)
    };
    let filter = dynamic_filter_fn(move |metadata, context: &Context<'_, S>| {
        // The filter sees only spans that were let through before.
        ours(metadata) && (metadata.target() == trace::SERVED || context.lookup_current().is_some())
    })
    .with_callsite_filter(move |metadata| match ours(metadata) {
        false => Interest::never(),
        true if metadata.target() == trace::SERVED => Interest::always(),
        true => Interest::sometimes(),
    })
    .with_max_level_hint(LevelFilter::INFO);
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_level(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(filter)
}

/// Sends and writes what is left, for a bounded time. The last thing that a process does.
pub async fn shut_down() {
    otlp::shut_down().await;
    if let Some(output) = OUTPUT.get() {
        // The thread that writes may be stuck for as long.
        let _ended = tokio::task::spawn_blocking(|| output.flush(FLUSH)).await;
    }
}
