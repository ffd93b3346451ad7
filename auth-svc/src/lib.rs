//! auth-svc: who people are. Users, credentials, sessions, and the identity tokens that every
//! service verifies (docs/reference/security.md §3).
//!
//! Invariant: nothing in the database or the session store signs anybody in: tokens are kept as
//! hashes, passwords as argon2id, and signing keys are derived from a secret that is not stored.

mod app;
mod config;
mod domain;
mod grpc;
pub mod openapi;
pub mod process;
mod store;

use std::sync::Arc;

use anyhow::Context as _;
use mesh::{
    BoxFuture, Link, Node,
    db::Db,
    guard::Guard,
    process::Runtime,
    resolver::{Resolver, Tier},
};
use proto::auth::v1::{
    api_key_service_server::ApiKeyServiceServer, auth_service_server::AuthServiceServer,
    identity_service_server::IdentityServiceServer,
    revocation_service_server::RevocationServiceServer,
    user_admin_service_server::UserAdminServiceServer,
};
use tonic::service::Routes;

pub use config::{
    Config, DEFAULTS, EmailAndPassword, HashingConfig, PeerUrls, Sections, SessionConfig,
    SigningConfig, ThrottleConfig,
};
pub use store::MIGRATIONS;

/// Name of the service.
pub const NAME: &str = "auth-svc";

/// The services that auth-svc calls.
pub struct Peers {
    /// Itself, for its own guard.
    pub auth: Link,
    /// data-svc, which knows what users may do.
    pub data: Link,
}

/// Builds the node: opens and migrates the database, makes the first signing key. Calls no peer.
///
/// # Errors
/// Names every problem of the configuration; when the database cannot be opened or migrated.
pub fn build(
    config: Config,
    peers: Peers,
    runtime: Runtime,
) -> BoxFuture<'static, anyhow::Result<Node>> {
    Box::pin(node(config, peers, runtime))
}

async fn node(mut config: Config, peers: Peers, runtime: Runtime) -> anyhow::Result<Node> {
    let problems = config.problems();
    anyhow::ensure!(
        problems.is_empty(),
        "configuration of auth-svc: {}",
        problems.join("; ")
    );
    config.db.service = NAME;
    let db = Db::open(&config.db)
        .await
        .context("the database of auth-svc")?;
    if config.migrate {
        db.migrate(MIGRATIONS).await.context("migrating auth-svc")?;
    }
    let tasks = runtime.tasks.clone();
    let app = app::App::new(&config, db.clone(), peers.data, runtime).await?;
    let routes = Routes::default()
        .add_service(AuthServiceServer::new(grpc::Auth(app.clone())))
        .add_service(UserAdminServiceServer::new(grpc::UserAdmin(app.clone())))
        .add_service(ApiKeyServiceServer::new(grpc::ApiKeys(app.clone())))
        .add_service(RevocationServiceServer::new(grpc::Revocations(app.clone())))
        .add_service(IdentityServiceServer::new(grpc::IdentityRpc(app.clone())));
    let resolver = Resolver::new(Tier::Service, peers.auth, None);
    resolver.follow(&tasks, app.own_identity());
    let guard = Guard::new(NAME, resolver, config.reflection)?;
    let contract = Arc::new(openapi::contract()?);
    let node = Node::new(NAME, routes, guard, tasks, contract).await?;
    Ok(node.needs(&db))
}
