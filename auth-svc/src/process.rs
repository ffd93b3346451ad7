//! auth-svc as a process of its own: the sections beside `auth`, and running until told to stop.

use std::path::Path;

use anyhow::Context as _;
use mesh::{Link, config::Secret, process::Process, session::SessionStore};
use serde::Deserialize;

use crate::{CONFIG_DEFAULTS, Config, Peers};

/// Settings of the process. Other sections (of other services, in a shared file) are not looked at.
#[derive(Debug, Deserialize)]
pub struct Sections {
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

/// What several sections say in common.
fn settle(mut sections: Sections) -> Sections {
    if sections.auth.mesh_secret.is_empty() {
        sections.auth.mesh_secret = sections.mesh.secret.clone();
    }
    if sections.auth.public_url.is_none() {
        sections.auth.public_url = sections.gateway.public_url.clone();
    }
    sections
}

/// Serves until SIGTERM or Ctrl-C, then finishes the calls in flight.
///
/// # Errors
/// When the configuration is wrong, or the database or the port is not there.
pub async fn run(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<()> {
    let (process, sections) = Process::load::<Sections>(CONFIG_DEFAULTS, file, environment)?;
    let sections = settle(sections);
    let sessions = match &sections.redis.url {
        Some(url) => SessionStore::redis(url.reveal()).context("the session store")?,
        None => SessionStore::embedded(),
    };
    // Its own door needs no socket.
    let auth = match sections.peers.auth.as_str() {
        "" => Link::unbound(),
        urls => process.link("auth", urls)?,
    };
    let peers = Peers {
        auth: auth.clone(),
        data: process.link("data", &sections.peers.data)?,
    };
    let listen = sections.auth.listen.clone();
    let node = crate::build(sections.auth, peers, sessions, process.tasks.clone()).await?;
    auth.bind(node.local());
    process.serve(node, &listen).await
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
        let sections = mesh::config::load(CONFIG_DEFAULTS, None, variables).unwrap();
        let sections = settle(sections);
        assert_eq!(sections.auth.mesh_secret.reveal(), "a mesh secret");
        assert_eq!(
            sections.auth.public_url.as_deref(),
            Some("https://app.example.com")
        );
        let shown = format!("{sections:?}");
        assert!(
            !shown.contains("hush") && !shown.contains("a mesh secret"),
            "{shown}"
        );
    }
}
