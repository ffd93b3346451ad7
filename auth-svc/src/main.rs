//! auth-svc alone: `auth-svc [CONFIG_FILE]`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    mesh::process::stand_alone(auth_svc::NAME, auth_svc::process::run).await
}
