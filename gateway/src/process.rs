//! The gateway as a process of its own.

use std::path::PathBuf;

use mesh::process::{Process, bind};

use crate::{DEFAULTS, Limits, NAME, Peers, Sections};

/// Serves until SIGTERM or Ctrl-C, then finishes the requests in flight.
///
/// # Errors
/// A bad configuration, a port that is taken.
pub async fn run(
    file: Option<PathBuf>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<()> {
    let (process, sections) = Process::load::<Sections>(DEFAULTS, file.as_deref(), environment)?;
    let peers = Peers {
        auth: process.link("auth", &sections.peers.auth)?,
        data: process.link("data", &sections.peers.data)?,
        flow: process.link("flow", &sections.peers.flow)?,
        ai: process.link("ai", &sections.peers.ai)?,
    };
    let limits = match &process.redis_url {
        Some(url) => Limits::shared(&sections.rate_limit, url.reveal())?,
        None => Limits::in_memory(&sections.rate_limit)?,
    };
    let listen = sections.gateway.listen;
    let gateway = crate::build(sections.gateway, peers, limits, process.runtime.clone())?;
    let listener = bind(&listen.to_string()).await?;
    let readiness = gateway.readiness().clone();
    process
        .serve_with(NAME, readiness, listener, |listener, stop| {
            gateway.serve(listener, stop.cancelled_owned())
        })
        .await
}
