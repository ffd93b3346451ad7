//! flow-svc as a process of its own.

use std::{future::Future, path::Path};

use mesh::{Link, tasks::Tasks, telemetry};

use crate::{DEFAULTS, File, Peers};

/// Serves until `shutdown`, then finishes the calls in flight.
///
/// # Errors
/// A bad configuration, a port that is taken.
pub async fn run(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let file: File = mesh::config::load(DEFAULTS, file, environment)?;
    let peers = Peers {
        auth: Link::connect(&file.peers.auth)?,
    };
    let tasks = Tasks::default();
    telemetry::record_metrics(&tasks);
    let node = crate::build(&file.flow, peers, tasks.clone()).await?;
    let listener = tokio::net::TcpListener::bind(&file.flow.listen).await?;
    tracing::info!(address = file.flow.listen, "flow-svc is listening");
    let served = node.serve(listener, shutdown).await;
    tasks.shut_down(mesh::node::GRACE).await;
    served
}
