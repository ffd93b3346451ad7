//! The gateway as a process of its own.

use std::path::PathBuf;

use gateway::{Peers, Process};
use mesh::{Link, config, node, session::SessionStore, tasks::Tasks, telemetry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    telemetry::init(telemetry::LogFormat::Json, "info");
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let process: Process = config::load(gateway::DEFAULTS, file.as_deref(), std::env::vars())?;

    let peers = Peers {
        auth: Link::connect(&process.peers.auth)?,
        data: Link::connect(&process.peers.data)?,
    };
    let sessions = match process.redis.url.reveal() {
        "" => SessionStore::embedded(),
        url => SessionStore::redis(url).await?,
    };
    let tasks = Tasks::default();
    let listen = process.gateway.listen;
    let gateway = gateway::build(process.gateway, peers, sessions, tasks.clone())?;
    let listener = tokio::net::TcpListener::bind(listen).await?;
    tracing::info!(address = %listen, "gateway is listening");
    gateway.serve(listener, node::shutdown_signal()).await?;
    tasks.shut_down(node::GRACE).await;
    Ok(())
}
