//! data-svc as a process of its own.

use std::path::PathBuf;

use mesh::{BoxFuture, process::Process};

use crate::{DEFAULTS, Peers, Sections};

/// Serves until SIGTERM or Ctrl-C, then finishes the calls in flight.
///
/// # Errors
/// A bad configuration, a database that does not open, a port that is taken.
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
    };
    let listen = sections.data.listen.clone();
    let service = crate::build(sections.data, peers, process.runtime.clone()).await?;
    let served = process.serve(service.node, &listen).await;
    service.rooms.db.close().await;
    served
}
