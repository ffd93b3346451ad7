//! flow-svc alone: `flow-svc [CONFIG_FILE]`.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    // First of all: the workers of scripts are this program again.
    if let Some(code) = script::worker::run_if_worker() {
        return Ok(code);
    }
    serve().map(|()| ExitCode::SUCCESS)
}

#[tokio::main]
async fn serve() -> anyhow::Result<()> {
    mesh::process::stand_alone(flow_svc::NAME, flow_svc::process::run).await
}
