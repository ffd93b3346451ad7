//! ai-svc as a process of its own.

use std::path::Path;

use mesh::process::Process;

use crate::{Config, DEFAULTS, File, Peers};

/// Serves until SIGTERM or Ctrl-C, then finishes the calls in flight.
///
/// # Errors
/// A bad configuration, a port that is taken.
pub async fn run(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<()> {
    let environment = crate::config::environment(environment);
    let (process, file) = Process::load::<File>(DEFAULTS, file, environment)?;
    let peers = Peers {
        auth: process.link("auth", &file.peers.auth)?,
        data: process.link("data", &file.peers.data)?,
        flow: process.link("flow", &file.peers.flow)?,
    };
    let config = Config {
        mesh_secret: process.mesh.secret.clone(),
        ..file.ai
    };
    let node = crate::build(&config, peers, process.tasks.clone()).await?;
    process.serve(node, &config.listen).await
}
