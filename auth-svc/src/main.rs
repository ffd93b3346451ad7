//! auth-svc alone: `auth-svc [CONFIG_FILE]`.

use std::path::PathBuf;

use mesh::telemetry;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    telemetry::init(telemetry::LogFormat::Json, "info");
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    auth_svc::process::run(file.as_deref(), std::env::vars()).await
}
