//! The gateway alone: `gateway [CONFIG_FILE]`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    mesh::process::stand_alone(gateway::NAME, gateway::process::run).await
}
