//! The gateway as a process of its own.

use std::{future::Future, path::Path};

use mesh::{Link, config, session::SessionStore, tasks::Tasks};

use crate::{Config, DEFAULTS, Limits, Peers, Process};

/// Serves until `shutdown`, then finishes the requests in flight.
///
/// # Errors
/// A bad configuration, a session store that does not answer, a port that is taken.
pub async fn run(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let process: Process = config::load(DEFAULTS, file, environment)?;
    let peers = Peers {
        auth: Link::connect(&process.peers.auth)?,
        data: Link::connect(&process.peers.data)?,
        flow: Link::connect(&process.peers.flow)?,
        ai: Link::connect(&process.peers.ai)?,
    };
    let (sessions, limits) = match process.redis.url.reveal() {
        "" => (
            SessionStore::embedded(),
            Limits::in_memory(&process.rate_limit)?,
        ),
        url => (
            SessionStore::redis(url).await?,
            Limits::shared(&process.rate_limit, url)?,
        ),
    };
    let tasks = Tasks::default();
    let listen = process.gateway.listen;
    let config = Config {
        mesh_secret: process.mesh.secret,
        ..process.gateway
    };
    let gateway = crate::build(config, peers, sessions, limits, tasks.clone())?;
    let listener = tokio::net::TcpListener::bind(listen).await?;
    tracing::info!(address = %listen, "gateway is listening");
    gateway.serve(listener, shutdown).await?;
    tasks.shut_down(mesh::node::GRACE).await;
    Ok(())
}
