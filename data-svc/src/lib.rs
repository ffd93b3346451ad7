//! data-svc: objects and records, metadata, permissions.
//!
//! `kernel/` is the one pipeline to records. Around it stand rooms, one for each capability, that speak to
//! records through the kernel's door and keep tables of their own: `records` (the API), `metadata`,
//! `changes`, `organization`, `seeds`, `openapi`.

pub mod changes;
pub mod config;
pub mod kernel;
pub mod metadata;
pub mod openapi;
pub mod organization;
pub mod process;
pub mod records;
pub mod seeds;

use std::{sync::Arc, time::Duration};

use mesh::{
    BoxFuture, Link, Node,
    db::{Db, Migration},
    guard::Guard,
    process::Runtime,
    resolver::{Resolver, Tier},
    service_identity::ServiceIdentity,
    tasks::Tasks,
};
use proto::data::v1::{
    change_service_server::ChangeServiceServer, metadata_service_server::MetadataServiceServer,
    principal_service_server::PrincipalServiceServer, record_service_server::RecordServiceServer,
    registry_service_server::RegistryServiceServer,
};
use script::LazyPool;
use tonic::service::Routes;

pub use config::{Config, DEFAULTS, PeerUrls, Sections};

use crate::{changes::Changes, kernel::Kernel, metadata::catalog::Catalog};

/// Name of the service.
pub const NAME: &str = "data-svc";

/// The engine's own tables.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "create_engine_tables",
        sql: include_str!("../migrations/0001_create_engine_tables.sql"),
    },
    Migration {
        version: 2,
        name: "number_the_outbox",
        sql: include_str!("../migrations/0002_number_the_outbox.sql"),
    },
    Migration {
        version: 3,
        name: "index_numbered_changes",
        sql: include_str!("../migrations/0003_index_numbered_changes.sql"),
    },
    Migration {
        version: 4,
        name: "index_ages_of_idempotency_keys",
        sql: include_str!("../migrations/0004_index_ages_of_idempotency_keys.sql"),
    },
    Migration {
        version: 5,
        name: "record_revisions",
        sql: include_str!("../migrations/0005_record_revisions.sql"),
    },
];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The services that data-svc calls.
pub struct Peers {
    /// auth-svc, for identity tokens.
    pub auth: Link,
}

/// data-svc, built.
pub struct Service {
    /// What is served.
    pub node: Node,
    /// What is behind it, for installing packages and loading data.
    pub rooms: Rooms,
}

/// The rooms over one database. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    /// The database.
    pub db: Db,
    /// The pipeline to records.
    pub kernel: Kernel,
    /// The metadata in force and its revisions.
    pub catalog: Arc<Catalog>,
    /// What has changed, for those who follow.
    pub changes: Arc<Changes>,
}

impl Rooms {
    /// Opens them: tables, metadata, the platform's own rows. `scripts` is the sandbox in which hooks
    /// run.
    ///
    /// # Errors
    /// Those of the database, and of installed metadata that cannot be read.
    pub fn open(db: Db, scripts: LazyPool) -> BoxFuture<'static, anyhow::Result<Self>> {
        Box::pin(Self::open_all(db, scripts))
    }

    async fn open_all(db: Db, scripts: LazyPool) -> anyhow::Result<Self> {
        db.migrate(MIGRATIONS).await?;
        let catalog = Catalog::open(db.clone()).await?;
        let changes = Arc::new(Changes::new(db.clone()));
        let (in_force, joins) = (catalog.in_force(), Arc::clone(&changes));
        let kernel = Kernel::open(db.clone(), in_force, Arc::new(scripts), joins).await?;
        organization::ensure_default(&kernel).await?;
        Ok(Self {
            db,
            kernel,
            catalog: Arc::new(catalog),
            changes,
        })
    }

    /// Starts what runs beside the calls: following metadata that other processes publish, and what
    /// [`Changes::start`] says.
    pub fn start(&self, tasks: &Tasks, changes_kept_for: Duration) {
        let (catalog, stop) = (Arc::clone(&self.catalog), tasks.stop_token());
        let watched = tasks.watched("metadata_head");
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = catalog.follow(watched) => {}
            }
        });
        self.changes.start(tasks, changes_kept_for);
    }
}

/// Builds data-svc: opens the database, brings it up to date, loads the metadata. Binds no socket
/// and calls no peer.
///
/// # Errors
/// Those of the database, and of installed metadata that cannot be read.
pub fn build(
    config: Config,
    peers: Peers,
    runtime: Runtime,
) -> BoxFuture<'static, anyhow::Result<Service>> {
    Box::pin(service(config, peers, runtime))
}

async fn service(config: Config, peers: Peers, runtime: Runtime) -> anyhow::Result<Service> {
    let tasks = runtime.tasks;
    let db = Db::open(&config.db.to_db_config()).await?;
    let scripts = &config.scripts;
    let scripts = LazyPool::new(&scripts.program, scripts.workers);
    let rooms = Rooms::open(db, scripts).await?;
    let own = ServiceIdentity::new(NAME, peers.auth.clone(), runtime.secret);
    let resolver = Resolver::new(Tier::Service, peers.auth, None);
    resolver.follow(&tasks, own);
    let metadata = Some(rooms.catalog.served());
    let guard = Guard::over_metadata(NAME, resolver, config.reflection, metadata)?;
    let (kernel, catalog) = (rooms.kernel.clone(), Arc::clone(&rooms.catalog));
    let records = RecordServiceServer::new(records::grpc::Records {
        kernel: kernel.clone(),
    })
    .max_decoding_message_size(mesh::node::MESSAGE_MAX);
    let metadata = MetadataServiceServer::new(metadata::grpc::Metadata {
        kernel: kernel.clone(),
    });
    let principals = PrincipalServiceServer::new(organization::grpc::Principals {
        kernel: kernel.clone(),
        catalog: Arc::clone(&catalog),
        fallback: config.fallback_permission_set.as_deref().map(Into::into),
    });
    let changes = ChangeServiceServer::new(changes::grpc::ChangesApi {
        changes: Arc::clone(&rooms.changes),
    });
    let registries = RegistryServiceServer::new(metadata::watch::Registries {
        catalog: Arc::clone(&catalog),
        tasks: tasks.clone(),
    });
    rooms.start(&tasks, DAY * config.changes_kept_days);
    let routes = Routes::new(records)
        .add_service(changes)
        .add_service(metadata)
        .add_service(principals)
        .add_service(registries);
    let description = Arc::new(openapi::Description::new(kernel, catalog)?);
    let node = Node::new(NAME, routes, guard, tasks, description).await?;
    let node = node.needs(&rooms.db);
    Ok(Service { node, rooms })
}
