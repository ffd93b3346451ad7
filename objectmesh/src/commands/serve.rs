//! `objectmesh serve <service>`: one service of the mesh as a process.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Serves one service.
#[derive(Args, Debug)]
pub struct Serve {
    /// Which.
    pub service: Service,
    /// Configuration file; the environment (`OBJECTMESH__…`) overrides it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The services of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// The REST edge.
    Gateway,
    /// Objects, records and metadata.
    Data,
    /// Users, sessions and identity tokens.
    Auth,
    /// Actions, flows, approvals, schedules, mail.
    Flow,
    /// Models, chat, conversations, agents.
    Ai,
}

impl Service {
    /// Its name in logs, metrics and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => gateway::NAME,
            Self::Data => data_svc::NAME,
            Self::Auth => auth_svc::NAME,
            Self::Flow => flow_svc::NAME,
            Self::Ai => ai_svc::NAME,
        }
    }
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// A bad configuration, a database that does not open, a port that is taken.
pub async fn run(serve: Serve) -> anyhow::Result<()> {
    let file = serve.config;
    let environment = std::env::vars().collect();
    match serve.service {
        Service::Data => data_svc::process::run(file, environment).await,
        Service::Auth => auth_svc::process::run(file, environment).await,
        Service::Flow => flow_svc::process::run(file, environment).await,
        Service::Ai => ai_svc::process::run(file, environment).await,
        Service::Gateway => gateway::process::run(file, environment).await,
    }
}
