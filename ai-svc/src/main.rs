//! ai-svc alone: `ai-svc [CONFIG_FILE]`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    mesh::process::stand_alone(ai_svc::NAME, ai_svc::process::run).await
}
