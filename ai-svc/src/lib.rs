//! ai-svc: models, chat, conversations, agents and their tools, pending actions.
//!
//! Invariant: records and metadata are read and changed as the user, through data-svc and flow-svc; a
//! model changes nothing by itself unless the app says that it may.

mod agents;
mod app;
mod chat;
pub mod config;
mod conversations;
mod domain;
mod grpc;
pub mod openapi;
mod paging;
pub mod process;
mod proposals;
mod provider;
mod store;
mod tools;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use data_client::registry::Replica;
use mesh::{
    BoxFuture, Link, Node,
    db::{Db, DbConfig},
    delegation::Delegation,
    guard::Guard,
    process::Runtime,
    resolver::{Resolver, Tier},
    service_identity::ServiceIdentity,
};
use proto::ai::v1::{
    chat_service_server::ChatServiceServer, conversation_service_server::ConversationServiceServer,
    pending_action_service_server::PendingActionServiceServer,
};
use tonic::service::Routes;

use crate::{
    app::App,
    provider::{Catalogue, Providers},
    store::Store,
    tools::Services,
};
pub use config::{Config, DEFAULTS, PeerUrls, Sections};

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

/// Builds the node: opens and migrates its database. Binds no socket and calls no peer.
///
/// # Errors
/// Names every problem of the configuration; those of the database; when the descriptors cannot be
/// read.
pub fn build(
    config: Config,
    peers: Peers,
    runtime: Runtime,
) -> BoxFuture<'static, anyhow::Result<Node>> {
    Box::pin(node(config, peers, runtime))
}

async fn node(config: Config, peers: Peers, runtime: Runtime) -> anyhow::Result<Node> {
    let tasks = runtime.tasks;
    let problems = config.problems();
    anyhow::ensure!(
        problems.is_empty(),
        "configuration of ai-svc: {}",
        problems.join("; ")
    );
    let own = ServiceIdentity::new(NAME, peers.auth.clone(), runtime.secret);
    let resolver = Resolver::new(Tier::Service, peers.auth.clone(), None);
    resolver.follow(&tasks, own.clone());
    let metadata = Replica::follow(&tasks, peers.data.clone(), own.clone(), |snapshot, _| {
        snapshot
    });
    let (served, is_there) = (Some(metadata.served()), metadata.is_there());
    let delegation = Delegation::new(peers.auth, own, resolver.clone());
    let guard = Guard::over_metadata(NAME, resolver, config.reflection, served)?;
    let contract = Arc::new(openapi::contract()?);
    let db = Db::open(&DbConfig {
        service: NAME,
        ..config.db.clone()
    })
    .await
    .context("the database of ai-svc")?;
    let migrated = db.migrate(store::MIGRATIONS).await;
    migrated.context("migrating ai-svc")?;
    let lifetime = u64::from(config.pending_action_lifetime_s);
    let app = Arc::new(App {
        store: Store { db: db.clone() },
        providers: Providers::new(&config)?,
        catalogue: Catalogue::new(&config),
        metadata,
        delegation,
        services: Services::new(peers.data, peers.flow),
        tasks: tasks.clone(),
        approval: config.approval,
        lifetime: Duration::from_secs(lifetime),
        iterations: config.iterations_max,
    });
    proposals::resume(&app, &tasks);
    let message_max = mesh::node::MESSAGE_MAX;
    let chats = ChatServiceServer::new(grpc::Chats(Arc::clone(&app)));
    let conversations = ConversationServiceServer::new(grpc::Conversations(Arc::clone(&app)));
    let routes = Routes::new(chats.max_decoding_message_size(message_max))
        .add_service(conversations.max_decoding_message_size(message_max))
        .add_service(PendingActionServiceServer::new(grpc::PendingActions(app)));
    let node = Node::new(NAME, routes, guard, tasks, contract).await?;
    Ok(node.needs_metadata(&db, is_there).await)
}
