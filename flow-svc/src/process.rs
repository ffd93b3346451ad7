//! flow-svc as a process of its own.

use std::path::PathBuf;

use mesh::{BoxFuture, process::Process};

use crate::{DEFAULTS, Peers, Sections};

/// Serves until SIGTERM or Ctrl-C, then finishes the calls in flight.
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
    };
    let listen = sections.flow.listen.clone();
    let node = crate::build(sections.flow, peers, process.runtime.clone()).await?;
    process.serve(node, &listen).await
}
