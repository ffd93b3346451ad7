//! flow-svc: actions, flows, approvals, schedules, mail.
//!
//! Its contract stands (`proto/objectmesh/flow/v1`) and its guard admits calls; what is not built yet
//! is marked so in the contract, and the guard answers it with NOT_IMPLEMENTED.

mod actions;
mod app;
mod catalog;
mod config;
mod flows;
mod grpc;
pub mod openapi;
pub mod process;
mod scripts;
mod store;

use std::sync::Arc;

use data_client::{metadata::Metadata, records::Records, registry::Replica};
use mesh::{
    BoxFuture, Link, Node,
    db::{Db, DbConfig},
    delegation::Delegation,
    guard::Guard,
    node::MESSAGE_MAX,
    process::Runtime,
    resolver::{Resolver, Tier},
    service_identity::ServiceIdentity,
};
use proto::flow::v1::{
    action_service_server::ActionServiceServer, flow_service_server::FlowServiceServer,
};
use script::LazyPool;
use tonic::service::Routes;
use transcoding::Table;

use crate::{app::App, catalog::Catalog};

pub use config::{Config, DEFAULTS, PeerUrls, Sections};

/// Name of the service.
pub const NAME: &str = "flow-svc";

/// The services that flow-svc calls.
pub struct Peers {
    /// auth-svc, for identity tokens.
    pub auth: Link,
    /// data-svc, for records and metadata.
    pub data: Link,
}

/// Builds the node: opens its database. Binds no socket and calls no peer.
///
/// # Errors
/// Those of the database; when the descriptors cannot be read.
pub fn build(
    config: Config,
    peers: Peers,
    runtime: Runtime,
) -> BoxFuture<'static, anyhow::Result<Node>> {
    Box::pin(node(config, peers, runtime))
}

async fn node(config: Config, peers: Peers, runtime: Runtime) -> anyhow::Result<Node> {
    let tasks = runtime.tasks;
    let own = ServiceIdentity::new(NAME, peers.auth.clone(), runtime.secret);
    let resolver = Resolver::new(Tier::Service, peers.auth.clone(), None);
    resolver.follow(&tasks, own.clone());
    let db = Db::open(&DbConfig {
        service: NAME,
        ..config.db.clone()
    })
    .await?;
    db.migrate(store::MIGRATIONS).await?;
    let compile = |snapshot, last: Option<&Catalog>| Catalog::compile(&snapshot, last);
    let catalog = Replica::follow(&tasks, peers.data.clone(), own.clone(), compile);
    let (metadata, is_there) = (Some(catalog.served()), catalog.is_there());
    let delegation = Delegation::new(peers.auth.clone(), own.clone(), resolver.clone());
    let guard = Guard::over_metadata(NAME, resolver, config.reflection, metadata)?;
    let app = Arc::new(App {
        db: db.clone(),
        catalog,
        records: Records::new(peers.data.clone()),
        metadata: Metadata::new(peers.data.clone()),
        delegation,
        own,
        data: peers.data,
        auth: peers.auth,
        sandbox: LazyPool::new(&config.scripts.program, config.scripts.workers),
        table: Table::from_descriptors()?,
        driver: flows::driver(&db),
        tasks: tasks.clone(),
        run_flow: flows::run_for_action,
    });
    let actions = ActionServiceServer::new(grpc::actions::Actions {
        app: Arc::clone(&app),
    });
    flows::spawn_tasks(&app);
    let flows = FlowServiceServer::new(grpc::flows::Flows(Arc::clone(&app)));
    let routes = Routes::new(actions.max_decoding_message_size(MESSAGE_MAX))
        .add_service(flows.max_decoding_message_size(MESSAGE_MAX));
    let description = Arc::new(openapi::Description {
        app,
        contract: openapi::contract()?,
    });
    let node = Node::new(NAME, routes, guard, tasks, description).await?;
    Ok(node.needs_metadata(&db, is_there).await)
}
