//! A node: what a service's `build` returns, ready to be served on a socket, called in process, or
//! both. `build` binds no socket; listeners are handed in.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{StreamExt as _, future::BoxFuture};
use proto::mesh::v1::{
    DescribeRequest, DescribeResponse,
    describe_service_server::{DescribeService, DescribeServiceServer},
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tower::Layer as _;

use crate::{
    Ctx, Error,
    concurrency::ConcurrencyLimit,
    db::Db,
    guard::{Guard, Guarded},
    openapi::{self, Describe},
    preface::PrefaceTimeout,
    ready::Readiness,
    tasks::Tasks,
    telemetry,
};

/// Largest message a service takes.
pub const MESSAGE_MAX: usize = 32 * 1024 * 1024;

/// How long a client has to begin speaking HTTP/2; after that, keep-alive watches its connection.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a caller may send ahead of a handler on one stream, and on one connection in all, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 256 * STREAM_WINDOW;

/// A service, built.
pub struct Node {
    /// Its name, for example `data-svc`.
    pub name: &'static str,
    routes: Routes,
    guard: Guard,
    health: tonic_health::server::HealthReporter,
    readiness: Readiness,
    /// Its background tasks.
    pub tasks: Tasks,
}

impl Node {
    /// A node of these RPC services; health, reflection and `DescribeService` are added.
    ///
    /// # Errors
    /// When the descriptors cannot be read.
    pub async fn new(
        name: &'static str,
        mut routes: Routes,
        guard: Guard,
        tasks: Tasks,
        describe: Arc<dyn Describe>,
    ) -> anyhow::Result<Self> {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter
            .set_service_status("", tonic_health::ServingStatus::Serving)
            .await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // Python's client and older tools speak the version before v1 only.
        let (reflection, older) = (reflection().build_v1()?, reflection().build_v1alpha()?);
        let describe = DescribeServiceServer::new(Described { name, describe });
        routes = routes
            .add_service(health)
            .add_service(reflection)
            .add_service(older)
            .add_service(describe);
        Ok(Self {
            name,
            routes: routes.prepare(),
            guard,
            readiness: Readiness::new(reporter.clone(), None),
            health: reporter,
            tasks,
        })
    }

    /// Says that the node is of no use without that database.
    #[must_use]
    pub fn needs(mut self, db: &Db) -> Self {
        telemetry::gauge_database(self.name, db);
        self.readiness = Readiness::new(self.health.clone(), Some(db.clone()));
        self
    }

    /// Says that the node is of no use without that database and before its metadata is there.
    pub async fn needs_metadata(
        mut self,
        db: &Db,
        is_there: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        telemetry::gauge_database(self.name, db);
        let (health, db) = (self.health.clone(), Some(db.clone()));
        self.readiness = Readiness::over_metadata(health, db, Some(Box::new(is_there)));
        let status = tonic_health::ServingStatus::NotServing;
        self.health.set_service_status("", status).await;
        self
    }

    /// How many calls it serves at once.
    #[must_use]
    pub fn concurrency_limit(&self) -> &ConcurrencyLimit {
        self.guard.concurrency_limit()
    }

    /// Whether the node can do its work.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// The node as a peer in this process: all layers, no socket.
    #[must_use]
    pub fn local(&self) -> Guarded<Routes> {
        self.guard.layer(self.routes.clone())
    }

    /// Serves the node on a listener until `shutdown`, then finishes the calls in flight.
    ///
    /// # Errors
    /// When the listener fails.
    pub fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        self.serve_aging(listener, Duration::ZERO, Duration::ZERO, Box::pin(shutdown))
    }

    /// The same, but connections are closed in good order at about that age (zero = never), so that
    /// clients spread over new replicas; their calls may take `grace` to end.
    ///
    /// # Errors
    /// When the listener fails.
    pub fn serve_aging(
        &self,
        listener: TcpListener,
        age: Duration,
        grace: Duration,
        shutdown: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        let tasks = self.tasks.clone();
        let shutdown = async move {
            shutdown.await;
            tasks.drain();
        };
        // `serve_with_incoming` loses TCP_NODELAY unless the stream sets it (45 ms a call).
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let incoming = incoming.map(|io| io.map(|io| PrefaceTimeout::new(io, PREFACE_TIMEOUT)));
        let mut server = Server::builder();
        if !age.is_zero() {
            server = server
                // Not all replicas in the same moment.
                .max_connection_age(age.mul_f64(rand::random_range(0.9..=1.1)))
                .max_connection_age_grace(grace);
        }
        let server = server
            // tonic's default is unbounded, and h2 closes a connection flooded with small frames.
            .max_concurrent_streams(Some(1000))
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            // What a handler does not read yet counts against both windows: where the one of the
            // connection is no larger, a request that streams slowly stops all others on it.
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .layer(self.guard.clone())
            .add_routes(self.routes.clone())
            .serve_with_incoming_shutdown(incoming, shutdown);
        Box::pin(async move { Ok(server.await?) })
    }
}

struct Described {
    name: &'static str,
    describe: Arc<dyn Describe>,
}

#[tonic::async_trait]
impl DescribeService for Described {
    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let (registry_revision, openapi) = if request.into_inner().with_openapi {
            let (revision, fragment) = self.describe.fragment(&ctx).await?;
            (
                revision,
                serde_json::to_vec(&fragment).map_err(Error::internal)?,
            )
        } else {
            (self.describe.revision(), Vec::new())
        };
        Ok(Response::new(DescribeResponse {
            service: self.name.to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            registry_revision,
            rights_key: openapi::rights_key(ctx.identity()?),
            openapi: openapi.into(),
        }))
    }
}

/// How long background tasks may take to end at shutdown.
pub const GRACE: Duration = Duration::from_secs(10);

/// Resolves on Ctrl-C or SIGTERM.
pub async fn shutdown_signal() {
    let interrupt = async {
        // Without a handler there is no way to be told; then only a kill ends the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
