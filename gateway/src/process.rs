//! The gateway as a process of its own.

use std::path::Path;

use mesh::{
    process::{Process, bind},
    session::SessionStore,
};

use crate::{Config, DEFAULTS, Limits, Peers, Process as Sections};

/// Serves until SIGTERM or Ctrl-C, then finishes the requests in flight.
///
/// # Errors
/// A bad configuration, a port that is taken.
pub async fn run(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<()> {
    let (process, sections) = Process::load::<Sections>(DEFAULTS, file, environment)?;
    let peers = Peers {
        auth: process.link("auth", &sections.peers.auth)?,
        data: process.link("data", &sections.peers.data)?,
        flow: process.link("flow", &sections.peers.flow)?,
        ai: process.link("ai", &sections.peers.ai)?,
    };
    let (sessions, limits) = match sections.redis.url.reveal() {
        "" => (
            SessionStore::embedded(),
            Limits::in_memory(&sections.rate_limit)?,
        ),
        url => (
            SessionStore::redis(url)?,
            Limits::shared(&sections.rate_limit, url)?,
        ),
    };
    let listen = sections.gateway.listen;
    let config = Config {
        mesh_secret: process.mesh.secret.clone(),
        ..sections.gateway
    };
    let gateway = crate::build(config, peers, sessions, limits, process.tasks.clone())?;
    let listener = bind(&listen.to_string()).await?;
    let readiness = gateway.readiness().clone();
    process
        .serve_with("gateway", readiness, listener, |listener, stop| {
            gateway.serve(listener, stop.cancelled_owned())
        })
        .await
}
