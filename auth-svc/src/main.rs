//! auth-svc alone: `auth-svc [CONFIG_FILE]`.

use std::path::PathBuf;

use auth_svc::process;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let process = process::load(file.as_deref(), std::env::vars())?;
    process::run(process, mesh::node::shutdown_signal()).await
}
