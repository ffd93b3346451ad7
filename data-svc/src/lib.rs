//! data-svc: objects and records, metadata, permissions.
//!
//! `grpc/` converts, `engine/` is the one pipeline that every door to records goes through,
//! `domain/` holds the rules over plain types, `store/` all SQL, `registry/` the metadata in force.

pub mod config;
pub mod domain;
pub mod engine;
pub mod grpc;
pub mod openapi;
pub mod process;
pub mod registry;
pub mod store;

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use mesh::{
    Link, Node,
    db::{Db, Migration, Statement, Value},
    guard::Guard,
    resolver::{Door, Resolver},
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

pub use config::Config;

use crate::{
    domain::query::CursorKey,
    engine::{Engine, changes::Changes, seed},
    registry::packages::Catalog,
};

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
    /// The engine behind it, for installing packages and loading data.
    pub engine: Engine,
}

/// Builds data-svc: opens the database, brings it up to date, loads the registry. Binds no socket
/// and calls no peer.
///
/// # Errors
/// Those of the database, and of installed metadata that cannot be read.
pub async fn build(config: &Config, peers: Peers, tasks: Tasks) -> anyhow::Result<Service> {
    let db = Db::open(&config.db.to_db_config()).await?;
    let mut engine = open_engine(db).await?;
    let scripts = &config.scripts;
    engine.scripts = Arc::new(LazyPool::new(&scripts.program, scripts.workers));
    engine.fallback_permission_set = config.fallback_permission_set.as_deref().map(Into::into);
    let own = ServiceIdentity::new(NAME, peers.auth.clone(), config.mesh_secret.clone());
    let resolver = Resolver::new(Door::Service, peers.auth, None);
    resolver.follow(&tasks, own);
    let metadata = Some(engine.catalog.served());
    let guard = Guard::over_metadata(NAME, resolver, config.reflection, metadata)?;
    let message_max = mesh::node::MESSAGE_MAX;
    let records = RecordServiceServer::new(grpc::records::Records {
        engine: engine.clone(),
    })
    .max_decoding_message_size(message_max);
    let metadata = MetadataServiceServer::new(grpc::metadata::Metadata {
        engine: engine.clone(),
    });
    let principals = PrincipalServiceServer::new(grpc::principal::Principals {
        engine: engine.clone(),
    });
    let changes = ChangeServiceServer::new(grpc::changes::Changes {
        engine: engine.clone(),
    });
    let registries = RegistryServiceServer::new(grpc::registry::Registries {
        engine: engine.clone(),
        tasks: tasks.clone(),
    });
    let kept_for = DAY * config.changes_kept_days;
    engine.start(&tasks, kept_for);
    let routes = Routes::new(records)
        .add_service(changes)
        .add_service(metadata)
        .add_service(principals)
        .add_service(registries);
    let description = Arc::new(openapi::Description::new(engine.clone())?);
    let node = Node::new(NAME, routes, guard, tasks, description).await?;
    let node = node.needs(&engine.db);
    Ok(Service { node, engine })
}

/// Opens the engine on a database: tables, registry, the platform's own rows.
///
/// # Errors
/// Those of the database, and of installed metadata that cannot be read.
pub async fn open_engine(db: Db) -> anyhow::Result<Engine> {
    db.migrate(MIGRATIONS).await?;
    let cursor_key = cursor_key(&db).await?;
    let catalog = Catalog::open(db.clone()).await?;
    let engine = Engine {
        fallback_permission_set: None,
        changes: Arc::new(Changes::new(db.clone())),
        db,
        catalog: Arc::new(catalog),
        cursor_key: Arc::new(cursor_key),
        scripts: Arc::new(LazyPool::new("", 1)),
    };
    seed::ensure_default_organization(&engine).await?;
    Ok(engine)
}

/// The random key that signs cursors; made once for a database, the same on every replica.
async fn cursor_key(db: &Db) -> anyhow::Result<CursorKey> {
    let fresh = mesh::id::secret().to_vec();
    db.write::<_, mesh::Error, _>(move |tx| {
        let statement = Statement::new(
            "INSERT INTO om_secret (name, value) VALUES ('cursor_key', $1) ON CONFLICT (name) DO NOTHING",
        )
        .bind(Value::Bytes(Some(fresh.clone())));
        async move {
            tx.execute(statement).await?;
            Ok(())
        }
        .boxed()
    })
    .await?;
    let statement = Statement::new("SELECT value FROM om_secret WHERE name = 'cursor_key'");
    let key = db
        .query_one(statement, |row| {
            Ok(row.bytes(0)?.unwrap_or_default().to_vec())
        })
        .await?;
    let key: [u8; 32] = key
        .try_into()
        .map_err(|_| anyhow::anyhow!("the stored cursor key is damaged"))?;
    Ok(CursorKey::new(key))
}
