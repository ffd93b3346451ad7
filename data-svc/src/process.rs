//! data-svc as a process of its own.

use std::path::Path;

use mesh::process::Process;

use crate::{Peers, config};

/// Serves until SIGTERM or Ctrl-C, then finishes the calls in flight.
///
/// # Errors
/// A bad configuration, a database that does not open, a port that is taken.
pub async fn run(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<()> {
    let (process, config) = Process::load::<config::File>(config::DEFAULTS, file, environment)?;
    let peers = Peers {
        auth: process.link("auth", &config.peers.auth)?,
    };
    let config = config::Config {
        mesh_secret: process.mesh.secret.clone(),
        ..config.data
    };
    let service = crate::build(&config, peers, process.tasks.clone()).await?;
    let served = process.serve(service.node, &config.listen).await;
    service.rooms.db.close().await;
    served
}
