//! flow-svc alone: `flow-svc [CONFIG_FILE]`.

use std::{path::PathBuf, process::ExitCode};

use mesh::telemetry::{self, LogFormat, Settings};

fn main() -> anyhow::Result<ExitCode> {
    // First of all: the workers of scripts are this program again.
    if let Some(code) = script::worker::run_if_worker() {
        return Ok(code);
    }
    serve().map(|()| ExitCode::SUCCESS)
}

#[tokio::main]
async fn serve() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let settings = Settings::load(file.as_deref(), std::env::vars())?;
    telemetry::start(flow_svc::NAME, LogFormat::Json, "info", &settings)?;
    let ended = flow_svc::process::run(file.as_deref(), std::env::vars()).await;
    telemetry::shut_down().await;
    ended
}
