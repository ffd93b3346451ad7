//! auth-svc alone: `auth-svc [CONFIG_FILE]`.

use std::path::PathBuf;

use auth_svc::{NAME, process};
use mesh::telemetry::{self, LogFormat, Settings};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let settings = Settings::load(file.as_deref(), std::env::vars())?;
    telemetry::start(NAME, LogFormat::Json, "info", &settings)?;
    let process = process::load(file.as_deref(), std::env::vars())?;
    let ended = process::run(process, mesh::node::shutdown_signal()).await;
    telemetry::shut_down().await;
    ended
}
