//! The whole mesh in one process: the same `build` functions as in five, joined by links that call
//! the generated servers directly. The gRPC ports are open as well.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use data_svc::Rooms;
use mesh::{
    Link,
    config::{MeshSection, Secret},
    db::DbConfig,
    process::Runtime,
    session::SessionStore,
    tasks::Tasks,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How long the services of one process may take to be ready, once all are built.
const READY_MAX: Duration = Duration::from_secs(10);

/// How to run the mesh in one process.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder for databases and the secret.
    pub data_dir: PathBuf,
    /// Where REST is served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// PostgreSQL instead of SQLite files: a schema for each service in this database.
    pub database_url: Option<String>,
    /// Redis instead of the embedded session store.
    pub redis_url: Option<String>,
    /// Overrides of the configuration, as environment variables.
    pub environment: Vec<(String, String)>,
}

/// The mesh, serving.
pub struct Mesh {
    /// Where REST is served.
    pub rest: SocketAddr,
    /// Where auth-svc serves gRPC.
    pub auth: SocketAddr,
    /// Where data-svc serves gRPC.
    pub data: SocketAddr,
    /// Where flow-svc serves gRPC.
    pub flow: SocketAddr,
    /// Where ai-svc serves gRPC.
    pub ai: SocketAddr,
    /// auth-svc in this process.
    pub auth_link: Link,
    /// data-svc in this process.
    pub data_link: Link,
    /// data-svc's rooms, for installing packages and loading data.
    pub rooms: Rooms,
    stop: CancellationToken,
    servers: JoinSet<anyhow::Result<()>>,
    tasks: Tasks,
}

impl Mesh {
    /// Builds the services, binds the ports and serves.
    ///
    /// # Errors
    /// A bad configuration, a database that does not open, a port that is taken.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("{}: cannot be created", options.data_dir.display()))?;
        let sessions = match &options.redis_url {
            Some(url) => SessionStore::redis(url).context("the session store")?,
            None => SessionStore::embedded(),
        };
        let tasks = Tasks::default();
        let runtime = Runtime {
            secret: mesh_secret(options)?,
            sessions,
            tasks: tasks.clone(),
        };
        let (auth_link, data_link) = (Link::unbound(), Link::unbound());

        let config = data_config(options)?;
        let peers = data_svc::Peers {
            auth: auth_link.clone(),
        };
        let data = data_svc::build(config, peers, runtime.clone())
            .await
            .context("data-svc")?;
        data_link.bind(data.node.local());

        let config = auth_config(options)?;
        let peers = auth_svc::Peers {
            auth: auth_link.clone(),
            data: data_link.clone(),
        };
        let auth = auth_svc::build(config, peers, runtime.clone())
            .await
            .context("auth-svc")?;
        auth_link.bind(auth.local());

        let flow_link = Link::unbound();
        let mut config = section::<flow_svc::Sections>(options, flow_svc::DEFAULTS)?.flow;
        config.db = own_database(options, "flow", config.db);
        config.reflection = true;
        let peers = flow_svc::Peers {
            auth: auth_link.clone(),
            data: data_link.clone(),
        };
        let flow = flow_svc::build(config, peers, runtime.clone())
            .await
            .context("flow-svc")?;
        flow_link.bind(flow.local());
        let environment = ai_svc::config::environment(options.environment.iter().cloned());
        let file: ai_svc::Sections = mesh::config::load(ai_svc::DEFAULTS, None, environment)?;
        let mut config = file.ai;
        config.db = own_database(options, "ai", config.db);
        config.reflection = true;
        let peers = ai_svc::Peers {
            auth: auth_link.clone(),
            data: data_link.clone(),
            flow: flow_link.clone(),
        };
        let ai = ai_svc::build(config, peers, runtime.clone())
            .await
            .context("ai-svc")?;
        let ai_link = Link::unbound();
        ai_link.bind(ai.local());

        let (config, rate_limit) = gateway_config(options)?;
        let limits = match &options.redis_url {
            Some(url) => gateway::Limits::shared(&rate_limit, url)?,
            None => gateway::Limits::in_memory(&rate_limit)?,
        };
        let peers = gateway::Peers {
            auth: auth_link.clone(),
            data: data_link.clone(),
            flow: flow_link,
            ai: ai_link,
        };
        let gateway = gateway::build(config, peers, limits, runtime).context("gateway")?;

        let rest = bind(options.listen).await?;
        let next = |offset: u16| match options.listen.port() {
            0 => SocketAddr::new(options.listen.ip(), 0),
            port => SocketAddr::new(options.listen.ip(), port.saturating_add(offset)),
        };
        let (auth_listener, data_listener) = (bind(next(1)).await?, bind(next(2)).await?);
        let (flow_listener, ai_listener) = (bind(next(3)).await?, bind(next(4)).await?);
        for node in [&auth, &data.node, &flow, &ai] {
            node.readiness().watch(&tasks);
            let ready = node.readiness().within(READY_MAX).await;
            ready.map_err(|missing| anyhow::anyhow!("{}: {missing}", node.name))?;
        }
        let stop = CancellationToken::new();
        let mut mesh = Self {
            rest: rest.local_addr()?,
            auth: auth_listener.local_addr()?,
            data: data_listener.local_addr()?,
            flow: flow_listener.local_addr()?,
            ai: ai_listener.local_addr()?,
            auth_link,
            data_link,
            rooms: data.rooms,
            stop: stop.clone(),
            servers: JoinSet::new(),
            tasks,
        };
        mesh.servers
            .spawn(gateway.serve(rest, stop.clone().cancelled_owned()));
        mesh.servers
            .spawn(auth.serve(auth_listener, stop.clone().cancelled_owned()));
        mesh.servers.spawn(
            data.node
                .serve(data_listener, stop.clone().cancelled_owned()),
        );
        mesh.servers
            .spawn(flow.serve(flow_listener, stop.clone().cancelled_owned()));
        mesh.servers
            .spawn(ai.serve(ai_listener, stop.cancelled_owned()));
        Ok(mesh)
    }

    /// URL of the REST API.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.rest)
    }

    /// Resolves when a server fails; it should not.
    ///
    /// # Errors
    /// The failure.
    pub async fn failed(&mut self) -> anyhow::Result<()> {
        match self.servers.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
    }

    /// Finishes the calls in flight, then everything else.
    ///
    /// # Errors
    /// When a server failed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut outcome = Ok(());
        while let Some(ended) = self.servers.join_next().await {
            outcome = outcome.and(ended?);
        }
        self.tasks.shut_down(mesh::node::GRACE).await;
        self.rooms.db.close().await;
        outcome
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {} is taken; is another mesh running? Choose another with --listen 127.0.0.1:<port>",
            address.port()
        ),
        _ => anyhow::anyhow!("{address}: {error}"),
    })
}

fn database(options: &Options, service: &str) -> (String, String) {
    match &options.database_url {
        Some(url) => (url.clone(), service.to_owned()),
        None => {
            let file = options.data_dir.join(format!("{service}.db"));
            (format!("sqlite:{}", file.display()), service.to_owned())
        }
    }
}

/// data-svc's configuration in one process.
///
/// # Errors
/// Names what is wrong in the environment.
pub fn data_config(options: &Options) -> anyhow::Result<data_svc::Config> {
    let environment = options.environment.iter().cloned();
    let sections: data_svc::Sections = mesh::config::load(data_svc::DEFAULTS, None, environment)?;
    let mut config = sections.data;
    (config.db.url, config.db.schema) = database(options, "data");
    config.reflection = true;
    Ok(config)
}

/// The database of a service in one process, opened as its settings say.
fn own_database(options: &Options, service: &str, settings: DbConfig) -> DbConfig {
    let (url, schema) = database(options, service);
    DbConfig {
        url,
        schema: Some(schema),
        ..settings
    }
}

/// The configuration of a service.
fn section<T: serde::de::DeserializeOwned>(options: &Options, defaults: &str) -> anyhow::Result<T> {
    mesh::config::load(defaults, None, options.environment.iter().cloned())
}

fn auth_config(options: &Options) -> anyhow::Result<auth_svc::Config> {
    let environment = options.environment.iter().cloned();
    let sections: auth_svc::Sections = mesh::config::load(auth_svc::DEFAULTS, None, environment)?;
    let mut config = sections.auth;
    config.db = own_database(options, "auth", config.db);
    config.reflection = true;
    if config.secret.is_empty() {
        config.secret = Secret::new(dev_secret(&options.data_dir, "secret")?);
    }
    Ok(config)
}

fn gateway_config(options: &Options) -> anyhow::Result<(gateway::Config, gateway::RateLimit)> {
    let environment = options.environment.iter().cloned();
    let file: gateway::Sections = mesh::config::load(gateway::DEFAULTS, None, environment)?;
    let mut config = file.gateway;
    config.listen = options.listen;
    config.dev_origins = true;
    // Whoever sets a limit wants to see it.
    let explicit = "OBJECTMESH__RATE_LIMIT__AUTH_PER_MINUTE";
    let explicit = options.environment.iter().any(|(name, _)| name == explicit);
    let rate_limit = gateway::RateLimit {
        exempt_loopback: !explicit,
        ..file.rate_limit
    };
    Ok((config, rate_limit))
}

/// The mesh secret: that of the environment, else one of this data folder.
fn mesh_secret(options: &Options) -> anyhow::Result<Secret> {
    let environment = options.environment.iter().cloned();
    let file: MeshFile = mesh::config::load("", None, environment)?;
    if file.mesh.secret.is_empty() {
        return Ok(Secret::new(dev_secret(&options.data_dir, "mesh-secret")?));
    }
    Ok(file.mesh.secret)
}

#[derive(serde::Deserialize)]
struct MeshFile {
    #[serde(default)]
    mesh: MeshSection,
}

/// A secret of this data folder: made once, readable by its owner only.
fn dev_secret(data_dir: &Path, name: &str) -> anyhow::Result<String> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let path = data_dir.join(name);
    let fresh: String = mesh::id::secret()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let created = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    match created {
        Ok(mut file) => {
            file.write_all(fresh.as_bytes())?;
            file.sync_all()?;
            Ok(fresh)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok(std::fs::read_to_string(&path)?.trim().to_owned())
        }
        Err(error) => Err(error).with_context(|| format!("{}: cannot be written", path.display())),
    }
}
