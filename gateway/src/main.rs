//! The gateway alone: `gateway [CONFIG_FILE]`.

use std::path::PathBuf;

use mesh::telemetry::{self, LogFormat, Settings};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let settings = Settings::load(file.as_deref(), std::env::vars())?;
    telemetry::start("gateway", LogFormat::Json, "info", &settings)?;
    let ended = gateway::process::run(file.as_deref(), std::env::vars()).await;
    telemetry::shut_down().await;
    ended
}
