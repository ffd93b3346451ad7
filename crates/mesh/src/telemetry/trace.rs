//! The trace that a request belongs to (W3C Trace Context), and the spans of this process in it:
//! one for each request that is served, one for each SQL statement below it.
//!
//! Nothing is paid where nothing is recorded: without a collector the spans of statements are
//! switched off where they are written, and a request's span is there for the log only. Whether a
//! trace is recorded is decided where it begins, and everybody who continues it keeps to that.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tracing::{
    Span,
    field::{self, display},
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Header and metadata that name the trace and the span of the caller.
pub const TRACEPARENT: &str = "traceparent";
/// Header and metadata in which the tracing systems of others keep what they need; handed on as it
/// is.
pub const TRACESTATE: &str = "tracestate";

/// Target of the spans that stand for a request. They are always exported.
pub(super) const SERVED: &str = "objectmesh::served";
/// Targets of the spans that are exported when they lie within one that is.
pub(super) const WITHIN: &str = "objectmesh::";
/// Target of the spans of SQL statements.
pub(super) const SQL: &str = crate::db::span::TARGET;

/// Longest `tracestate` that is handed on.
const STATE_MAX: usize = 512;

/// Whether spans are exported at all, and which part of the traces that begin here (as bits).
static EXPORTING: AtomicBool = AtomicBool::new(false);
static RATIO: AtomicU64 = AtomicU64::new(0);

/// Starts to record the traces that begin here, in that part of the cases.
pub(super) fn export(ratio: f64) {
    RATIO.store(ratio.to_bits(), Ordering::Relaxed);
    EXPORTING.store(true, Ordering::Relaxed);
    crate::db::span::record(true);
}

pub(super) fn exporting() -> bool {
    EXPORTING.load(Ordering::Relaxed)
}

/// A place in a trace: where the next call hangs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    id: TraceId,
    /// The span that calls.
    span: SpanId,
    sampled: bool,
    state: Option<Arc<str>>,
}

impl Trace {
    /// The trace that the headers name, if they name a valid one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let (id, span, sampled) = parse(headers.get(TRACEPARENT)?.to_str().ok()?)?;
        let state = headers
            .get(TRACESTATE)
            .and_then(|value| value.to_str().ok());
        let state = state.filter(|text| !text.is_empty() && text.len() <= STATE_MAX);
        Some(Self {
            id,
            span,
            sampled,
            state: state.map(Into::into),
        })
    }

    /// The place of the current span, when its trace is recorded.
    #[must_use]
    pub fn current() -> Option<Self> {
        if !exporting() {
            return None;
        }
        Self::of_span(&Span::current())
    }

    /// A trace that begins here and is not recorded; told to the services that are called, lest
    /// each of them decides anew.
    fn unrecorded() -> Self {
        Self {
            id: TraceId::from(rand::random::<u128>()),
            span: SpanId::from(rand::random::<u64>()),
            sampled: false,
            state: None,
        }
    }

    fn of_span(span: &Span) -> Option<Self> {
        let context = span.context();
        let permit = context.span().span_context().clone();
        permit.is_valid().then(|| Self {
            id: permit.trace_id(),
            span: permit.span_id(),
            sampled: permit.is_sampled(),
            state: None,
        })
    }

    /// The trace's id, as it is written in logs.
    #[must_use]
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// Puts the place into the headers of a call.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::try_from(self.to_string()) {
            headers.insert(TRACEPARENT, value);
        }
        if let Some(Ok(value)) = self.state.as_deref().map(HeaderValue::try_from) {
            headers.insert(TRACESTATE, value);
        }
    }

    fn remote(&self) -> opentelemetry::Context {
        let permit = SpanContext::new(
            self.id,
            self.span,
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        opentelemetry::Context::new().with_remote_span_context(permit)
    }
}

impl fmt::Display for Trace {
    /// As `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-{:02x}",
            self.id,
            self.span,
            u8::from(self.sampled)
        )
    }
}

/// `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`; later versions may say more behind.
fn parse(text: &str) -> Option<(TraceId, SpanId, bool)> {
    let mut parts = text.trim().split('-');
    let version = lower_hex(parts.next()?, 2)?;
    let id = TraceId::from(lower_hex(parts.next()?, 32)?);
    let span = SpanId::from(u64::try_from(lower_hex(parts.next()?, 16)?).ok()?);
    let flags = lower_hex(parts.next()?, 2)?;
    let more = parts.next().is_some();
    let valid = version != 0xff && (version != 0 || !more);
    let named = id != TraceId::INVALID && span != SpanId::INVALID;
    (valid && named).then_some((id, span, flags & 1 == 1))
}

fn lower_hex(text: &str, length: usize) -> Option<u128> {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (digits && text.len() == length)
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

/// What is to happen with the trace of a request that comes in.
enum Recording {
    /// It is recorded: it continues the caller's, or begins here.
    Recorded(Option<Trace>),
    /// It is not recorded here; what is known of it is handed on.
    HandedOn(Option<Trace>),
}

impl Recording {
    fn of(headers: Option<&HeaderMap>) -> Self {
        match (headers.and_then(Trace::of), exporting()) {
            (Some(trace), true) if trace.sampled => Self::Recorded(Some(trace)),
            (None, true) => {
                let ratio = f64::from_bits(RATIO.load(Ordering::Relaxed));
                if rand::random::<f64>() < ratio {
                    Self::Recorded(None)
                } else {
                    Self::HandedOn(Some(Trace::unrecorded()))
                }
            }
            (trace, _) => Self::HandedOn(trace),
        }
    }
}

/// Something that this process serves: its span, and the place that its own calls hang on.
#[derive(Debug)]
pub struct Served {
    span: Span,
    trace: Option<Trace>,
    recorded: bool,
}

impl Served {
    /// A call of the RPC (`package.Service/Method`).
    #[must_use]
    pub fn rpc(service: &str, rpc: &str, request_id: &str, headers: &HeaderMap) -> Self {
        match Recording::of(Some(headers)) {
            Recording::Recorded(parent) => {
                let span = tracing::info_span!(
                    target: SERVED, parent: None, "rpc",
                    otel.name = rpc, otel.kind = "server", otel.status_code = field::Empty,
                    service.name = service, request.id = request_id, trace_id = field::Empty,
                    rpc.system.name = "grpc", rpc.method = rpc,
                    rpc.response.status_code = field::Empty, "error.type" = field::Empty,
                    user.id = field::Empty,
                );
                Self::recorded(span, parent)
            }
            Recording::HandedOn(trace) => {
                let trace_id = trace.as_ref().map(|trace| display(trace.id));
                let span = tracing::info_span!(
                    parent: None, "rpc", service.name = service, request.id = request_id,
                    trace_id, rpc.method = rpc,
                );
                Self::handed_on(span, trace)
            }
        }
    }

    /// A request over HTTP for a route (`/api/v1/data/{object}`). The path itself is not told: what
    /// clients write into it is theirs.
    #[must_use]
    pub fn http(
        service: &str,
        method: &str,
        route: &str,
        request_id: &str,
        headers: &HeaderMap,
    ) -> Self {
        match Recording::of(Some(headers)) {
            Recording::Recorded(parent) => {
                let span = tracing::info_span!(
                    target: SERVED, parent: None, "request",
                    otel.name = display(format_args!("{method} {route}")), otel.kind = "server",
                    otel.status_code = field::Empty,
                    service.name = service, request.id = request_id, trace_id = field::Empty,
                    http.request.method = method, http.route = route,
                    http.response.status_code = field::Empty, "error.type" = field::Empty,
                    user.id = field::Empty,
                );
                Self::recorded(span, parent)
            }
            Recording::HandedOn(trace) => {
                let trace_id = trace.as_ref().map(|trace| display(trace.id));
                let span = tracing::info_span!(
                    parent: None, "request", service.name = service, request.id = request_id,
                    trace_id, http.request.method = method, http.route = route,
                );
                Self::handed_on(span, trace)
            }
        }
    }

    /// Work that no request asked for, or that goes on after its answer. `cause` is the place that
    /// asked for it, if there is one.
    #[must_use]
    pub fn work(service: &str, name: &str, request_id: &str, cause: Option<Trace>) -> Self {
        let asked = match cause {
            Some(trace) if trace.sampled && exporting() => Recording::Recorded(Some(trace)),
            Some(trace) => Recording::HandedOn(Some(trace)),
            None => Recording::of(None),
        };
        match asked {
            Recording::Recorded(parent) => {
                let span = tracing::info_span!(
                    target: SERVED, parent: None, "work",
                    otel.name = name, otel.kind = "internal", otel.status_code = field::Empty,
                    service.name = service, request.id = request_id, trace_id = field::Empty,
                    work.name = name, "error.type" = field::Empty,
                );
                Self::recorded(span, parent)
            }
            Recording::HandedOn(trace) => {
                let trace_id = trace.as_ref().map(|trace| display(trace.id));
                let span = tracing::info_span!(
                    parent: None, "work", service.name = service, request.id = request_id,
                    trace_id, work.name = name,
                );
                Self::handed_on(span, trace)
            }
        }
    }

    fn recorded(span: Span, parent: Option<Trace>) -> Self {
        let state = parent.as_ref().and_then(|trace| trace.state.clone());
        if let Some(parent) = parent {
            // It fails where the filter of the log has switched the span off; then there is none.
            let _untraced = span.set_parent(parent.remote());
        }
        let trace = Trace::of_span(&span).map(|trace| Trace { state, ..trace });
        if let Some(trace) = &trace {
            span.record("trace_id", display(trace.id));
        }
        Self {
            span,
            trace,
            recorded: true,
        }
    }

    fn handed_on(span: Span, trace: Option<Trace>) -> Self {
        Self {
            span,
            trace,
            recorded: false,
        }
    }

    /// Its span, to be entered while it is worked on.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Where its own calls hang on.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Notes how an RPC ended; `error` when its server is to blame.
    pub fn rpc_ended(&self, code: &'static str, user: Option<&str>, error: bool) {
        if self.recorded {
            self.span.record("rpc.response.status_code", code);
            self.ended(code, user, error);
        }
    }

    /// Notes how a request over HTTP ended.
    pub fn http_ended(&self, status: u16, user: Option<&str>) {
        if self.recorded {
            self.span.record("http.response.status_code", status);
            self.ended(status, user, status >= 500);
        }
    }

    fn ended(&self, code: impl fmt::Display, user: Option<&str>, error: bool) {
        if let Some(user) = user {
            self.span.record("user.id", user);
        }
        if error {
            self.span.record("otel.status_code", "ERROR");
            self.span.record("error.type", display(code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(traceparent: &str, tracestate: Option<&str>) -> Option<Trace> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, traceparent.parse().unwrap());
        if let Some(state) = tracestate {
            headers.insert(TRACESTATE, state.parse().unwrap());
        }
        Trace::of(&headers)
    }

    #[test]
    fn a_valid_traceparent_is_read_and_written_alike() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = of(text, Some("vendor=1")).unwrap();
        assert!(trace.sampled);
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let mut headers = HeaderMap::new();
        trace.write(&mut headers);
        assert_eq!(headers[TRACEPARENT], text);
        assert_eq!(headers[TRACESTATE], "vendor=1");
        assert!(!of(&text.replace("-01", "-00"), None).unwrap().sampled);
        // A version to come may say more; what is known of it is read.
        assert!(of(&text.replace("00-4", "01-4").replace("-01", "-01-x"), None).is_some());
    }

    #[test]
    fn what_is_no_traceparent_is_ignored() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(text, None), None, "{text}");
        }
        let long = "k=".to_owned() + &"v".repeat(STATE_MAX);
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(text, Some(&long)).unwrap().state, None);
    }
}
