//! A small OTLP collector for tests: it keeps the spans that are sent to it.

pub(crate) mod running;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// A span as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// Whose it is, by the resource.
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty at the beginning of a trace.
    pub(crate) parent: String,
    pub(crate) attributes: Vec<(String, String)>,
    /// Whether it is marked as failed.
    pub(crate) failed: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Span {
    /// An attribute as text.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// The collector, listening on a free port until it is dropped.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Received>>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    /// Everything that came, as text, to search it for what must not be in it.
    raw: String,
}

impl Sink {
    /// Starts a collector that answers each export after `delay`.
    pub(crate) async fn start(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::default();
        let collector = Collector {
            received: Arc::clone(&received),
            delay,
        };
        let mut server = JoinSet::new();
        server.spawn(async move {
            let served = tonic::transport::Server::builder()
                .add_service(TraceServiceServer::new(collector))
                .serve_with_incoming(TcpIncoming::from(listener))
                .await;
            served.expect("the collector serves");
        });
        Self {
            address,
            received,
            _server: server,
        }
    }

    /// Where it listens, as configured.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans of a trace that have come so far, in the order of their beginning.
    pub(crate) fn trace(&self, id: &str) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let mut spans: Vec<Span> = received
            .spans
            .iter()
            .filter(|span| span.trace == id)
            .cloned()
            .collect();
        spans.sort_by_key(|span| span.start);
        spans
    }

    /// All spans that have come so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap().spans.clone()
    }

    /// Everything that has come so far, as text.
    pub(crate) fn raw(&self) -> String {
        self.received.lock().unwrap().raw.clone()
    }
}

struct Collector {
    received: Arc<Mutex<Received>>,
    delay: Duration,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        tokio::time::sleep(self.delay).await;
        let request = request.into_inner();
        let mut received = self.received.lock().unwrap();
        received.raw.push_str(&format!("{request:?}\n"));
        for resource in request.resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes);
            let attributes = texts(attributes.unwrap_or_default());
            let service = attributes
                .into_iter()
                .find(|(key, _)| key == "service.name");
            let service = service.map(|(_, name)| name).unwrap_or_default();
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                received.spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    attributes: texts(span.attributes),
                    failed: span.status.is_some_and(|status| status.code == 2),
                    start: span.start_time_unix_nano,
                    end: span.end_time_unix_nano,
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(value) => value.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .into_iter()
        .map(|attribute| {
            let value = attribute.value.and_then(|value| value.value);
            (attribute.key, value.map(text).unwrap_or_default())
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
