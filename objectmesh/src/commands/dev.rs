//! `objectmesh dev`: the mesh in one process, on SQLite, with nothing to install.

use std::{
    io::{self, IsTerminal as _, Write},
    net::SocketAddr,
    path::PathBuf,
    time::Instant,
};

use anyhow::Context as _;
use clap::Args;
use data_svc::seeds;
use metadata::Severity;

use super::people;
use crate::{
    apps::{self, Apps},
    compose::{Mesh, Options},
    demo,
};

/// Name under which the demo data is noted as loaded.
const DATA_SET: &str = "support-desk-demo";

/// Serves the mesh in one process.
#[derive(Args, Debug)]
pub struct Dev {
    /// Metadata directory or compiled artifact to serve; may repeat. Without it: the example app
    /// with demo users and data.
    #[arg(long = "app", value_name = "PATH")]
    pub apps: Vec<PathBuf>,
    /// Folder for the databases; data survives a restart with the same folder.
    #[arg(long, value_name = "DIR", default_value = ".objectmesh")]
    pub data_dir: PathBuf,
    /// Where REST is served; gRPC takes the ports behind it. Port 0 takes free ones.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7400")]
    pub listen: SocketAddr,
    /// PostgreSQL instead of SQLite.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Redis instead of the embedded session store.
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
    /// Starts without demo users and data; the first to sign up becomes administrator.
    #[arg(long)]
    pub no_demo: bool,
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// What keeps the mesh from starting, in words that say what to do.
pub async fn run(dev: Dev) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut out = io::stdout();
    let apps = apps::load(&dev.apps)?;
    let (errors, warnings) = apps::count(&apps.diagnostics);
    for diagnostic in &apps.diagnostics {
        if diagnostic.severity == Severity::Error {
            tracing::warn!("{diagnostic}");
        } else {
            tracing::debug!("{diagnostic}");
        }
    }
    let options = Options {
        data_dir: dev.data_dir.clone(),
        listen: dev.listen,
        database_url: dev.database_url,
        redis_url: dev.redis_url,
        environment: std::env::vars().collect(),
    };
    let mut mesh = Mesh::start(&options).await?;
    let installation = mesh.rooms.catalog.install(&apps.packages).await?;
    for diagnostic in &installation.diagnostics {
        tracing::debug!("{diagnostic}");
    }
    let seeded = seeds::load(&mesh.rooms, &installation.seeds).await?;
    for warning in &seeded.warnings {
        tracing::warn!("{warning}");
    }
    let credentials = if dev.no_demo {
        None
    } else {
        Some(demo_people(&mesh, &apps, &mut out).await?)
    };
    welcome(
        &mut out,
        &mesh,
        &apps,
        credentials.as_deref(),
        (errors, warnings),
        began,
    )?;
    tokio::select! {
        () = mesh::node::shutdown_signal() => {}
        failed = mesh.failed() => failed.context("a server ended")?,
    }
    writeln!(out, "\nstopping: finishing the calls in flight")?;
    mesh.stop().await
}

/// Creates the demo users, and the example's data with them; answers a session token.
async fn demo_people(mesh: &Mesh, apps: &Apps, out: &mut io::Stdout) -> anyhow::Result<String> {
    let ids = people::ensure(mesh).await?;
    if apps.is_example {
        let base = mesh::clock::unix_ms();
        let records =
            demo::records(base, &ids).map(|record| (record.object.to_owned(), record.fields));
        let live = io::stdout().is_terminal();
        let mut shown = 0;
        let began = Instant::now();
        let progress = |count| {
            if live && count >= shown + 1000 {
                shown = count;
                // Progress that cannot be shown is no reason to stop loading.
                let _shown =
                    write!(out, "\rloading demo data: {count} records").and_then(|()| out.flush());
            }
        };
        let (records, progress) = (Box::new(records), Box::new(progress));
        let loaded = seeds::load_data_set(&mesh.rooms, DATA_SET, records, progress).await?;
        if loaded > 0 {
            let cleared = if live { "\r" } else { "" };
            writeln!(
                out,
                "{cleared}loaded demo data: {loaded} records in {:.1} s",
                began.elapsed().as_secs_f64()
            )?;
        }
    }
    let admin = demo::users()[0].email;
    people::sign_in(&mesh.auth_link, admin)
        .await?
        .context("the demo administrator's password was changed; start with --no-demo")
}

fn welcome(
    out: &mut impl Write,
    mesh: &Mesh,
    apps: &Apps,
    token: Option<&str>,
    (errors, warnings): (usize, usize),
    began: Instant,
) -> anyhow::Result<()> {
    let registry = mesh.rooms.catalog.current();
    for package in &apps.packages {
        let objects: Vec<&str> = package
            .objects
            .iter()
            .map(|object| object.name.as_str())
            .collect();
        writeln!(
            out,
            "app    {} {} ({})",
            package.name, package.version, package.id
        )?;
        writeln!(out, "       objects: {}", objects.join(", "))?;
    }
    if errors + warnings > 0 {
        writeln!(
            out,
            "       {errors} errors, {warnings} warnings: `objectmesh validate <path>` lists them"
        )?;
    }
    writeln!(out, "REST   {}", mesh.base_url())?;
    writeln!(out, "docs   http://{}/docs", mesh.rest)?;
    writeln!(out, "gRPC   data-svc http://{}", mesh.data)?;
    writeln!(out, "gRPC   auth-svc http://{}", mesh.auth)?;
    writeln!(out, "gRPC   flow-svc http://{}", mesh.flow)?;
    writeln!(out, "gRPC   ai-svc   http://{}", mesh.ai)?;
    if let Some(token) = token {
        writeln!(out, "users  (password {})", people::PASSWORD)?;
        for user in demo::users() {
            let rights = user.permission_set.unwrap_or("admin_full_access");
            writeln!(out, "       {:<22} {rights}", user.email)?;
        }
        writeln!(out, "token  {token}")?;
        let object = apps
            .packages
            .iter()
            .flat_map(|package| &package.objects)
            .find(|object| !apps.is_example || object.name == "support_ticket")
            .map_or("sys_user", |object| object.name.as_str());
        let filter = if apps.is_example {
            "where={\"status\":{\"$eq\":\"open\"}}&orderBy=-created_at&limit=20"
        } else {
            "limit=20"
        };
        writeln!(out, "\ntry    curl -gH 'Authorization: Bearer {token}' \\")?;
        writeln!(out, "         '{}/data/{object}?{filter}'", mesh.base_url())?;
    } else {
        writeln!(out, "\ntry    curl -H 'Content-Type: application/json' \\")?;
        writeln!(
            out,
            "         -d '{{\"name\":\"You\",\"email\":\"you@example.com\",\"password\":\"choose-one-now\"}}' \\"
        )?;
        writeln!(out, "         '{}/auth/sign-up/email'", mesh.base_url())?;
    }
    writeln!(
        out,
        "\nready in {:.2} s (registry revision {}); Ctrl-C stops",
        began.elapsed().as_secs_f64(),
        registry.revision
    )?;
    out.flush()?;
    Ok(())
}
