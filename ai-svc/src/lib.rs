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
    guard::Guard,
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
}

/// Builds the node. Binds no socket and calls no peer.
///
/// # Errors
/// When the descriptors cannot be read.
pub async fn build(config: &Config, peers: Peers, tasks: Tasks) -> anyhow::Result<Node> {
    let own = ServiceIdentity::new(NAME, peers.auth.clone(), config.mesh_secret.clone());
    let resolver = Resolver::new(Door::Service, peers.auth, None);
    resolver.follow(&tasks, own);
    let guard = Guard::new(NAME, resolver, config.reflection)?;
    let contract = Arc::new(openapi::contract()?);
    Node::new(NAME, Routes::default(), guard, tasks, contract).await
}
