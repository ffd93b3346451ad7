//! A service of a contract that uses every option of the table, and no service of the product has
//! (`crates/transcoding/tests/protos`), behind a real guard, in this process or on a socket.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use gateway::{Config, Limits, Peers, RateLimit};
use mesh::{
    Error, Link, Node,
    error::Reason,
    guard::Guard,
    openapi::Contract,
    resolver::{Resolver, Tier},
    tasks::Tasks,
};
use prost_reflect::DescriptorPool;
use proto::google::api::HttpBody;
use sha2::{Digest as _, Sha256};
use tokio::{
    net::TcpListener,
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
};
use tokio_stream::Stream;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::{ClientStreamingService, Grpc, NamedService, ServerStreamingService, UnaryService},
    service::Routes,
};
use tonic_prost::ProstCodec;
use tower::Service;
use transcoding::{Table, access};

use crate::{
    fakes,
    harness::{self, Edge},
};

/// The contract.
fn pool() -> DescriptorPool {
    let root = env!("CARGO_MANIFEST_DIR");
    let includes = [
        format!("{root}/../proto"),
        format!("{root}/../crates/transcoding/tests/protos"),
    ];
    let mut compiler = protox::Compiler::new(includes).unwrap();
    compiler.include_imports(true).include_source_info(true);
    let file = "objectmesh/data/probe/v1/probe_service.proto";
    compiler.open_file(file).unwrap();
    compiler.descriptor_pool()
}

/// What happened to a call whose request streams.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// It has begun, with that name.
    Begun(String),
    /// The whole body is there.
    Whole(u64),
    /// The body broke off.
    Broken,
    /// Nobody waits for the call any more.
    Dropped,
}

/// A gateway before the service.
pub(crate) struct Mesh {
    pub(crate) edge: Edge,
    events: UnboundedReceiver<Event>,
    /// Lets a call go on that waits for it.
    pub(crate) go: Arc<Notify>,
    tasks: Tasks,
}

impl Mesh {
    /// The service in the gateway's process.
    pub(crate) async fn local(config: Config) -> Self {
        Self::start(config, false).await
    }

    /// The service on a socket.
    pub(crate) async fn remote(config: Config) -> Self {
        Self::start(config, true).await
    }

    async fn start(config: Config, socket: bool) -> Self {
        let pool = pool();
        let (tell, events) = unbounded_channel();
        let go = Arc::new(Notify::new());
        let probe = Probe {
            tell,
            go: Arc::clone(&go),
        };
        let fakes = fakes::peers().await;
        let resolver = Resolver::new(Tier::Service, fakes.auth.clone(), None);
        let access = access::table(&pool).unwrap();
        let guard = Guard::over_access("data-svc", resolver, false, None, access);
        let contract = Arc::new(Contract::of("objectmesh.data.").unwrap());
        let tasks = Tasks::default();
        let routes = Routes::new(probe);
        let node = Node::new("data-svc", routes, guard, tasks.clone(), contract);
        let node = node.await.unwrap();
        let data = if socket {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let serving = node.serve(listener, tasks.stop_token().cancelled_owned());
            tasks.spawn(async move {
                serving.await.unwrap();
            });
            Link::connect(&url).unwrap()
        } else {
            let data = Link::unbound();
            data.bind(node.local());
            data
        };
        let peers = Peers { data, ..fakes };
        let limits = Limits::in_memory(&RateLimit::default()).unwrap();
        let table = Table::from_pool(&pool).unwrap();
        Self {
            edge: harness::start_over(Some(table), config, peers, limits).await,
            events,
            go,
            tasks,
        }
    }

    /// What happens next to a call.
    pub(crate) async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(fakes::LONG, self.events.recv()).await;
        event
            .expect("something happens")
            .expect("the service lives")
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.tasks.stop_token().cancel();
    }
}

#[derive(Clone)]
struct Probe {
    tell: UnboundedSender<Event>,
    go: Arc<Notify>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UploadRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    mode: String,
    #[prost(string, tag = "3")]
    media_type: String,
    #[prost(uint64, tag = "4")]
    size: u64,
    #[prost(bytes = "bytes", tag = "5")]
    content: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UploadResponse {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(uint64, tag = "3")]
    pieces: u64,
    #[prost(uint64, tag = "4")]
    largest: u64,
    #[prost(string, tag = "5")]
    digest: String,
    #[prost(string, tag = "6")]
    media_type: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UploadSmallRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    content: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UploadSmallResponse {
    #[prost(uint64, tag = "1")]
    size: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DownloadRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    range: String,
    #[prost(string, tag = "3")]
    if_none_match: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchRequest {
    #[prost(string, tag = "1")]
    after: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WatchResponse {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    position: String,
    #[prost(bytes = "bytes", tag = "3")]
    change: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetThingRequest {
    #[prost(string, tag = "1")]
    object: String,
    #[prost(string, tag = "2")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetThingResponse {
    #[prost(message, optional, tag = "1")]
    thing: Option<Thing>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Thing {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bytes = "bytes", optional, tag = "3")]
    json: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Flag {
    #[prost(bool, tag = "1")]
    on: bool,
}

impl NamedService for Probe {
    const NAME: &'static str = "objectmesh.data.probe.v1.ProbeService";
}

impl Service<http::Request<Body>> for Probe {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            Ok(match path.rsplit('/').next().unwrap() {
                "Upload" => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.client_streaming(Uploading(this), request).await
                }
                "UploadSmall" => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.client_streaming(UploadingSmall(this), request).await
                }
                "Download" => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.server_streaming(Downloading, request).await
                }
                "Watch" => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.server_streaming(Watching, request).await
                }
                "GetThing" => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.unary(Getting, request).await
                }
                "DescribeResource" => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.unary(Describing, request).await
                }
                "Enter" => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.unary(Entering, request).await
                }
                _ => Status::unimplemented("not in this test").into_http(),
            })
        })
    }
}

/// Tells when a call ends without having said how.
struct Call {
    tell: UnboundedSender<Event>,
    ended: bool,
}

impl Call {
    fn end(&mut self, event: Event) {
        self.ended = true;
        let _ = self.tell.send(event);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.tell.send(Event::Dropped);
        }
    }
}

impl Probe {
    fn begin(&self, name: &str) -> Call {
        let _ = self.tell.send(Event::Begun(name.to_owned()));
        Call {
            tell: self.tell.clone(),
            ended: false,
        }
    }
}

struct Uploading(Probe);

impl ClientStreamingService<UploadRequest> for Uploading {
    type Response = UploadResponse;
    type Future = BoxFuture<'static, Result<Response<UploadResponse>, Status>>;

    fn call(&mut self, request: Request<Streaming<UploadRequest>>) -> Self::Future {
        let probe = self.0.clone();
        Box::pin(async move {
            let mut messages = request.into_inner();
            let first = messages.message().await?.expect("a first message");
            assert!(first.content.is_empty(), "it carries the fields alone");
            let mut call = probe.begin(&first.name);
            match first.mode.as_str() {
                "refuse" => {
                    let error = Error::new(Reason::InvalidState, "Not in this state");
                    call.ended = true;
                    return Err(error.into());
                }
                "ignore" => {
                    call.ended = true;
                    return Ok(Response::new(UploadResponse::default()));
                }
                "gated" => probe.go.notified().await,
                _ => {}
            }
            let mut got = UploadResponse {
                name: first.name,
                media_type: first.media_type,
                ..UploadResponse::default()
            };
            let mut hash = Sha256::new();
            loop {
                let message = match messages.message().await {
                    Ok(Some(message)) => message,
                    Ok(None) => break,
                    Err(status) => {
                        call.end(Event::Broken);
                        return Err(status);
                    }
                };
                assert!(message.name.is_empty(), "fields come once");
                let size = message.content.len() as u64;
                got.size += size;
                got.pieces += 1;
                got.largest = got.largest.max(size);
                hash.update(&message.content);
            }
            got.digest = format!("{:x}", HexOf(hash.finalize().as_slice()));
            call.end(Event::Whole(got.size));
            Ok(Response::new(got))
        })
    }
}

/// Bytes that print in hexadecimal.
pub(crate) struct HexOf<'a>(pub(crate) &'a [u8]);

impl std::fmt::LowerHex for HexOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

struct UploadingSmall(Probe);

impl ClientStreamingService<UploadSmallRequest> for UploadingSmall {
    type Response = UploadSmallResponse;
    type Future = BoxFuture<'static, Result<Response<UploadSmallResponse>, Status>>;

    fn call(&mut self, request: Request<Streaming<UploadSmallRequest>>) -> Self::Future {
        let probe = self.0.clone();
        Box::pin(async move {
            let mut messages = request.into_inner();
            let first = messages.message().await?.expect("a first message");
            let mut call = probe.begin(&first.name);
            if first.name == "silent" {
                std::future::pending::<()>().await;
            }
            let mut size = 0;
            loop {
                match messages.message().await {
                    Ok(Some(message)) => size += message.content.len() as u64,
                    Ok(None) => break,
                    Err(status) => {
                        call.end(Event::Broken);
                        return Err(status);
                    }
                }
            }
            call.end(Event::Whole(size));
            Ok(Response::new(UploadSmallResponse { size }))
        })
    }
}

type Pieces<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Content of every file.
pub(crate) const CONTENT: &str = "0123456789abcdef";

struct Downloading;

impl ServerStreamingService<DownloadRequest> for Downloading {
    type Response = HttpBody;
    type ResponseStream = Pieces<HttpBody>;
    type Future = BoxFuture<'static, Result<Response<Pieces<HttpBody>>, Status>>;

    fn call(&mut self, request: Request<DownloadRequest>) -> Self::Future {
        let asked = request.into_inner();
        Box::pin(async move {
            let piece = |content_type: &str, data: &'static str| {
                Ok(HttpBody {
                    content_type: content_type.to_owned(),
                    data: Bytes::from_static(data.as_bytes()),
                    extensions: Vec::new(),
                })
            };
            let (head, tail) = CONTENT.split_at(4);
            let broken = Err(Status::internal("the disk is gone"));
            let (pieces, stated): (Vec<_>, Vec<(&'static str, &str)>) = match &*asked.name {
                "plain" if asked.if_none_match == "\"e1\"" => (
                    Vec::new(),
                    vec![
                        ("http-status", "304"),
                        ("http-etag", "\"e1\""),
                        ("http-content-length", "16"),
                    ],
                ),
                "plain" if asked.range == "bytes=0-3" => (
                    vec![piece("image/png", head)],
                    vec![
                        ("http-status", "206"),
                        ("http-content-length", "4"),
                        ("http-content-range", "bytes 0-3/16"),
                    ],
                ),
                "plain" => (
                    vec![piece("image/png", head), piece("", tail)],
                    vec![
                        ("http-content-length", "16"),
                        ("http-accept-ranges", "bytes"),
                        (
                            "http-content-disposition",
                            "attachment; filename*=UTF-8''a%20b.png",
                        ),
                        ("http-etag", "\"e1\""),
                        ("http-last-modified", "Tue, 24 Nov 2026 12:00:00 GMT"),
                        ("http-cache-control", "private, no-cache"),
                        (
                            "http-content-security-policy",
                            "default-src 'none'; sandbox",
                        ),
                        ("http-cross-origin-resource-policy", "same-origin"),
                    ],
                ),
                "sly" => (
                    vec![piece("text/plain", CONTENT)],
                    vec![
                        ("http-set-cookie", "evil=1"),
                        ("http-location", "https://evil.example"),
                        ("http-access-control-allow-origin", "*"),
                        ("http-content-length", "a"),
                        ("http-status", "500"),
                        ("http-etag", "\"e2\""),
                    ],
                ),
                "gone" => (
                    vec![piece("application/json", "{}")],
                    vec![("http-status", "404")],
                ),
                "accepted" => (Vec::new(), vec![("http-status", "202")]),
                "empty" => (
                    vec![piece("text/plain", "")],
                    vec![("http-content-length", "0")],
                ),
                "broken" => (vec![piece("text/plain", head), broken], Vec::new()),
                "short" => (
                    vec![piece("text/plain", head)],
                    vec![("http-content-length", "16")],
                ),
                _ => return Err(Error::not_found("FILE_NOT_FOUND", "No such file").into()),
            };
            let mut response: Response<Pieces<HttpBody>> =
                Response::new(Box::pin(tokio_stream::iter(pieces)));
            for (name, value) in stated {
                response.metadata_mut().append(name, value.parse().unwrap());
            }
            Ok(response)
        })
    }
}

struct Watching;

impl ServerStreamingService<WatchRequest> for Watching {
    type Response = WatchResponse;
    type ResponseStream = Pieces<WatchResponse>;
    type Future = BoxFuture<'static, Result<Response<Pieces<WatchResponse>>, Status>>;

    fn call(&mut self, request: Request<WatchRequest>) -> Self::Future {
        let after = request.into_inner().after;
        let event = |kind: &str, position: &str, change: String| {
            Ok(WatchResponse {
                kind: kind.to_owned(),
                position: position.to_owned(),
                change: change.into(),
            })
        };
        let events = vec![
            event("position", "p1", "{}".to_owned()),
            event("", "", String::new()),
            event("change", "p2", format!("{{\"after\":{after:?}}}")),
            event("", "p3", String::new()),
            Err(Status::internal("gone")),
        ];
        let events: Pieces<WatchResponse> = Box::pin(tokio_stream::iter(events));
        Box::pin(std::future::ready(Ok(Response::new(events))))
    }
}

struct Getting;

impl UnaryService<GetThingRequest> for Getting {
    type Response = GetThingResponse;
    type Future = BoxFuture<'static, Result<Response<GetThingResponse>, Status>>;

    fn call(&mut self, request: Request<GetThingRequest>) -> Self::Future {
        let asked = request.into_inner();
        let thing = Thing {
            json: Some(format!("{{\"of\": {:?}}}", asked.object).into()),
            id: asked.id,
            name: String::new(),
        };
        let answer = GetThingResponse { thing: Some(thing) };
        Box::pin(std::future::ready(Ok(Response::new(answer))))
    }
}

struct Describing;

impl UnaryService<()> for Describing {
    type Response = Text;
    type Future = BoxFuture<'static, Result<Response<Text>, Status>>;

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let text = "the probe".to_owned();
        Box::pin(std::future::ready(Ok(Response::new(Text { text }))))
    }
}

struct Entering;

impl UnaryService<()> for Entering {
    type Response = Flag;
    type Future = BoxFuture<'static, Result<Response<Flag>, Status>>;

    fn call(&mut self, _: Request<()>) -> Self::Future {
        Box::pin(std::future::ready(Ok(Response::new(Flag { on: true }))))
    }
}
