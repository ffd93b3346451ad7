//! data-svc as a process of its own.

use std::{future::Future, path::Path};

use mesh::{Link, tasks::Tasks, telemetry};

use crate::{Peers, config};

/// Serves until `shutdown`, then finishes the calls in flight.
///
/// # Errors
/// A bad configuration, a database that does not open, a port that is taken.
pub async fn run(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let config: config::File = mesh::config::load(config::DEFAULTS, file, environment)?;
    let peers = Peers {
        auth: Link::connect(&config.peers.auth)?,
    };
    let config = config::Config {
        mesh_secret: config.mesh.secret,
        ..config.data
    };
    let tasks = Tasks::default();
    telemetry::record_metrics(&tasks);
    let service = crate::build(&config, peers, tasks.clone()).await?;
    let listener = tokio::net::TcpListener::bind(&config.listen).await?;
    tracing::info!(address = config.listen, "data-svc is listening");
    service.node.serve(listener, shutdown).await?;
    tasks.shut_down(mesh::node::GRACE).await;
    service.engine.db.close().await;
    Ok(())
}
