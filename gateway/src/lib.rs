//! The REST edge: it reads who asks, finds the route and moves the request over it to a service.
//!
//! Invariant: the gateway has no handler for any endpoint of a service, parses no record and
//! decides nothing about rights. Written by hand are only discovery, the OpenAPI document's frame, the explorer, health,
//! readiness and metrics.

mod access_log;
mod address;
mod authentication;
mod body;
mod concurrency;
mod config;
mod cors;
mod discovery;
mod docs;
mod handlers;
mod head;
mod http_metadata;
mod layers;
mod limits;
pub mod openapi;
mod origin;
mod own_paths;
mod path;
mod probes;
pub mod process;
mod public_url;
mod request_context;
mod request_target;
mod response;
mod serve;
mod state;
mod stream;
mod transcode;
mod upload;
mod upstream;

use std::sync::Arc;

use anyhow::Context as _;
use mesh::{
    Link,
    process::Runtime,
    ready::Readiness,
    resolver::{Resolver, Tier},
    revision::Seen,
    service_identity::ServiceIdentity,
    telemetry,
};
use transcoding::Table;

pub use config::{Config, DEFAULTS, PeerUrls, Sections};
pub use limits::{Limits, RateLimit};

use crate::{
    concurrency::ConcurrencyLimit, discovery::Discovery, openapi::Documents, probes::Probes,
    state::AppState, upstream::Upstream,
};

/// Name of the service.
pub const NAME: &str = "gateway";

/// The services behind the gateway.
#[derive(Clone)]
pub struct Peers {
    /// auth-svc: the packages `objectmesh.auth.*`.
    pub auth: Link,
    /// data-svc: the packages `objectmesh.data.*`.
    pub data: Link,
    /// flow-svc: the packages `objectmesh.flow.*`.
    pub flow: Link,
    /// ai-svc: the packages `objectmesh.ai.*`.
    pub ai: Link,
}

impl Peers {
    /// Name, link and proto package of each.
    fn all(&self) -> [(&'static str, &Link, &'static str); 4] {
        [
            ("auth-svc", &self.auth, "objectmesh.auth."),
            ("data-svc", &self.data, "objectmesh.data."),
            ("flow-svc", &self.flow, "objectmesh.flow."),
            ("ai-svc", &self.ai, "objectmesh.ai."),
        ]
    }
}

/// The gateway, built.
#[derive(Clone)]
pub struct Gateway {
    readiness: Readiness,
    app: Arc<AppState>,
}

/// Builds the gateway, within a runtime. Binds no socket; starts on `tasks` what has to run beside
/// requests.
///
/// # Errors
/// When the configuration is wrong (all problems at once), or a descriptor is.
pub fn build(
    config: Config,
    peers: Peers,
    limits: Limits,
    runtime: Runtime,
) -> anyhow::Result<Gateway> {
    let table = Table::from_descriptors().context("the route table")?;
    build_over(table, config, peers, limits, runtime)
}

/// The same over another table of routes than that of the product's contract.
///
/// # Errors
/// As [`build`]; when a route has no service, or a path that is the gateway's own.
pub fn build_over(
    table: Table,
    config: Config,
    peers: Peers,
    limits: Limits,
    runtime: Runtime,
) -> anyhow::Result<Gateway> {
    let Runtime {
        secret,
        sessions,
        tasks,
    } = runtime;
    let (origins, proxies) = config.check()?;
    for name in &config.compat {
        let known = table.profile(name).is_some();
        anyhow::ensure!(
            known,
            "gateway.compat: the contract has no profile `{name}`"
        );
    }
    let own = table.routes().iter();
    let mut own = own.filter(|route| own_paths::is_own(&route.pattern));
    anyhow::ensure!(
        own.next().is_none(),
        "a route of the contract has a path that is the gateway's own"
    );
    let upstreams = peers
        .all()
        .map(|(name, link, package)| (package, Arc::new(Upstream::new(name, link.clone()))));
    let auth = upstreams.iter().find(|(_, peer)| peer.name == "auth-svc");
    let (_, auth) = auth.context("auth-svc is no peer")?.clone();
    let upstreams = table
        .routes()
        .iter()
        .map(|route| {
            let mut peers = upstreams.iter();
            let peer = peers.find(|(package, _)| route.package.starts_with(package));
            let (_, peer) = peer.with_context(|| format!("nobody serves {route}"))?;
            Ok((route.rpc.clone(), peer.clone()))
        })
        .collect::<anyhow::Result<_>>()?;
    let discovery = Discovery::new(&table, &config.environment, config.public_discovery);
    let resolver = Resolver::new(Tier::Edge, peers.auth.clone(), Some(sessions.clone()));
    let own = ServiceIdentity::new(NAME, peers.auth.clone(), secret);
    resolver.follow(&tasks, own);
    let concurrency = ConcurrencyLimit::new(
        config.max_in_flight,
        config.max_connections,
        config.max_connections_per_address,
    );
    let readiness = Readiness::of_itself();
    let documents = Documents::new(&peers, &config);
    let probes = Probes::new(peers, sessions, readiness.clone());
    telemetry::record_metrics(&tasks);
    let app = Arc::new(AppState {
        table,
        upstreams,
        auth,
        resolver,
        limits,
        concurrency,
        origins,
        proxies,
        discovery,
        documents,
        probes,
        revision: Seen::default(),
        tasks,
        config,
    });
    Ok(Gateway { readiness, app })
}

impl Gateway {
    /// Whether this process takes requests; what it needs of its peers is asked by its `/ready`.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// The routes of the services.
    #[must_use]
    pub fn routes(&self) -> &Table {
        &self.app.table
    }
}
