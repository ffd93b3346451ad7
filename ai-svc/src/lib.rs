//! ai-svc: models, chat, conversations, agents and their tools, pending actions.
//!
//! Its contract stands (`proto/objectmesh/ai/v1`) and its guard admits calls; what is not built yet
//! is marked so in the contract, and the guard answers it with NOT_IMPLEMENTED.

mod config;
pub mod openapi;
pub mod process;

use std::sync::Arc;

use mesh::{
    Link, Node,
    db::{Db, DbConfig},
    guard::Guard,
    registry::Replica,
    resolver::{Door, Resolver},
    service_identity::ServiceIdentity,
    tasks::Tasks,
};
use tonic::service::Routes;

pub use config::{Config, DEFAULTS, File, PeerUris};

/// Name of the service.
pub const NAME: &str = "ai-svc";

/// The services that ai-svc calls.
pub struct Peers {
    /// auth-svc, for identity tokens.
    pub auth: Link,
    /// data-svc, for records and metadata.
    pub data: Link,
    /// flow-svc, for actions and flows.
    pub flow: Link,
}

/// Builds the node: opens its database. Binds no socket and calls no peer.
///
/// # Errors
/// Those of the database; when the descriptors cannot be read.
pub async fn build(config: &Config, peers: Peers, tasks: Tasks) -> anyhow::Result<Node> {
    let own = ServiceIdentity::new(NAME, peers.auth.clone(), config.mesh_secret.clone());
    let resolver = Resolver::new(Door::Service, peers.auth, None);
    resolver.follow(&tasks, own.clone());
    let replica = Replica::follow(&tasks, peers.data, own, |snapshot| snapshot);
    let metadata = Some(replica.served());
    let guard = Guard::over_metadata(NAME, resolver, config.reflection, metadata)?;
    let contract = Arc::new(openapi::contract()?);
    let db = Db::open(&DbConfig {
        service: NAME,
        ..config.db.clone()
    })
    .await?;
    // Nothing reads it yet; the guard's calls wait for its revisions.
    let (kept, stop) = (replica, tasks.stop_token());
    tasks.spawn(async move {
        stop.cancelled().await;
        drop(kept);
    });
    let node = Node::new(NAME, Routes::default(), guard, tasks, contract).await?;
    Ok(node.needs(&db))
}
