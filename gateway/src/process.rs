//! The gateway as a process of its own.

use std::path::PathBuf;

use mesh::{
    BoxFuture,
    process::{Process, bind},
};

use tokio_util::sync::CancellationToken;

use crate::{DEFAULTS, Limits, NAME, Peers, Sections};

/// Serves until SIGTERM or Ctrl-C, then finishes the requests in flight.
///
/// # Errors
/// A bad configuration, a port that is taken.
pub fn run(
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(serve(file, environment))
}

async fn serve(file: Option<PathBuf>, environment: Vec<(String, String)>) -> anyhow::Result<()> {
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
    let serve =
        move |listener, stop: CancellationToken| gateway.serve(listener, stop.cancelled_owned());
    process
        .serve_with(NAME, readiness, listener, Box::new(serve))
        .await
}
