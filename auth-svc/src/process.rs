//! auth-svc as a process of its own.

use std::path::PathBuf;

use mesh::{BoxFuture, Link, process::Process};

use crate::{DEFAULTS, Peers, Sections};

/// What several sections say in common.
fn settle(mut sections: Sections) -> Sections {
    if sections.auth.public_url.is_none() {
        sections.auth.public_url = sections.gateway.public_url.clone();
    }
    sections
}

/// Serves until SIGTERM or Ctrl-C, then finishes the calls in flight.
///
/// # Errors
/// When the configuration is wrong, or the database or the port is not there.
pub fn run(
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(serve(file, environment))
}

async fn serve(file: Option<PathBuf>, environment: Vec<(String, String)>) -> anyhow::Result<()> {
    let (process, sections) = Process::load::<Sections>(DEFAULTS, file.as_deref(), environment)?;
    let sections = settle(sections);
    // It asks itself without a socket.
    let auth = match sections.peers.auth.as_str() {
        "" => Link::unbound(),
        urls => process.link("auth", urls)?,
    };
    let peers = Peers {
        auth: auth.clone(),
        data: process.link("data", &sections.peers.data)?,
    };
    let listen = sections.auth.listen.clone();
    let node = crate::build(sections.auth, peers, process.runtime.clone()).await?;
    auth.bind(node.local());
    process.serve(node, &listen).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_see_reaches_the_service_and_foreign_sections_do_not_matter() {
        let variables = [
            ("OBJECTMESH__GATEWAY__PUBLIC_URL", "https://app.example.com"),
            ("OBJECTMESH__AUTH__SECRET", "an auth secret"),
            ("OBJECTMESH__DATA__DB__URL", "sqlite:data.db"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let sections = mesh::config::load(DEFAULTS, None, variables).unwrap();
        let sections = settle(sections);
        let public_url = sections.auth.public_url.as_deref();
        assert_eq!(public_url, Some("https://app.example.com"));
    }
}
