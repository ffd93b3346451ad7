//! auth-svc as a process of its own: the sections beside `auth`, and running until told to stop.

use std::path::Path;

use anyhow::Context as _;
use mesh::{Link, config::Secret, session::SessionStore, tasks::Tasks, telemetry};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::{CONFIG_DEFAULTS, Config, Peers};

/// Settings of the process. Other sections (of other services, in a shared file) are not looked at.
#[derive(Debug, Deserialize)]
pub struct Process {
    /// The service.
    pub auth: Config,
    /// Where the peers are.
    #[serde(default)]
    pub peers: PeerUris,
    /// The session store; without it sessions are known to this process only.
    #[serde(default)]
    pub redis: Redis,
    /// What the mesh shares.
    #[serde(default)]
    pub mesh: MeshSection,
    /// What browsers see.
    #[serde(default)]
    pub gateway: GatewaySection,
}

/// Section `peers`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct PeerUris {
    /// data-svc.
    pub data: String,
    /// auth-svc itself, for foreign credentials at its own door.
    pub auth: String,
}

impl Default for PeerUris {
    fn default() -> Self {
        Self {
            data: "http://127.0.0.1:7402".to_owned(),
            auth: String::new(),
        }
    }
}

/// Section `redis`.
#[derive(Debug, Default, Deserialize)]
pub struct Redis {
    /// `redis://…`; secret, since it may hold a password.
    pub url: Option<Secret>,
}

/// Section `mesh`.
#[derive(Debug, Default, Deserialize)]
pub struct MeshSection {
    /// The mesh secret; fills `auth.mesh_secret` where that is empty.
    #[serde(default)]
    pub secret: Secret,
}

/// Section `gateway`.
#[derive(Debug, Default, Deserialize)]
pub struct GatewaySection {
    /// The public URL; fills `auth.public_url` where that is unset.
    pub public_url: Option<String>,
}

/// Reads the settings: the defaults, then `file`, then the environment.
///
/// # Errors
/// Names unknown keys and wrong types.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<Process> {
    let mut process: Process = mesh::config::load(CONFIG_DEFAULTS, file, environment)?;
    if process.auth.mesh_secret.is_empty() {
        process.auth.mesh_secret = process.mesh.secret.clone();
    }
    if process.auth.public_url.is_none() {
        process.auth.public_url = process.gateway.public_url.clone();
    }
    Ok(process)
}

/// Serves until `shutdown`, then finishes the calls in flight.
///
/// # Errors
/// When the configuration is wrong, or the database, the session store or the port is not there.
pub async fn run(
    process: Process,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let sessions = match &process.redis.url {
        Some(url) => SessionStore::redis(url.reveal())
            .await
            .context("the session store")?,
        None => SessionStore::embedded(),
    };
    // Its own door needs no socket.
    let auth = match process.peers.auth.as_str() {
        "" => Link::unbound(),
        uri => Link::connect(uri)?,
    };
    let data = Link::connect(&process.peers.data)?;
    let tasks = Tasks::default();
    let peers = Peers {
        auth: auth.clone(),
        data,
    };
    let listen = process.auth.listen.clone();
    let node = crate::build(process.auth, peers, sessions, tasks.clone()).await?;
    auth.bind(node.local());
    let listener = TcpListener::bind(&listen)
        .await
        .with_context(|| listen.clone())?;
    tracing::info!(address = listen, "auth-svc is listening");
    telemetry::record_metrics(&tasks);
    let served = node.serve(listener, shutdown).await;
    tasks.shut_down(mesh::node::GRACE).await;
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_settings_reach_the_service_and_foreign_sections_do_not_matter() {
        let variables = [
            ("OBJECTMESH__MESH__SECRET", "a mesh secret"),
            ("OBJECTMESH__GATEWAY__PUBLIC_URL", "https://app.example.com"),
            ("OBJECTMESH__REDIS__URL", "redis://:hush@redis"),
            ("OBJECTMESH__AUTH__SECRET", "an auth secret"),
            ("OBJECTMESH__DATA__DB__URL", "sqlite:data.db"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let process = load(None, variables).unwrap();
        assert_eq!(process.auth.mesh_secret.reveal(), "a mesh secret");
        assert_eq!(
            process.auth.public_url.as_deref(),
            Some("https://app.example.com")
        );
        let shown = format!("{process:?}");
        assert!(
            !shown.contains("hush") && !shown.contains("a mesh secret"),
            "{shown}"
        );
    }
}
