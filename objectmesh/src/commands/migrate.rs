//! `objectmesh migrate`: brings data-svc's database up to date and installs apps into it.

use std::{io::Write, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use data_svc::{Rooms, seeds};
use mesh::db::Db;
use script::LazyPool;

use crate::apps;

/// Migrates the database of data-svc and installs apps.
#[derive(Args, Debug)]
pub struct Migrate {
    /// Metadata directory or compiled artifact to install; may repeat.
    #[arg(long = "app", value_name = "PATH")]
    pub apps: Vec<PathBuf>,
    /// Configuration file of data-svc.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Migrates and installs.
///
/// # Errors
/// When the database refuses, or an app would lose data.
pub async fn run(migrate: &Migrate, out: &mut impl Write) -> anyhow::Result<()> {
    let sections: data_svc::Sections = mesh::config::load(
        data_svc::DEFAULTS,
        migrate.config.as_deref(),
        std::env::vars(),
    )?;
    let db = Db::open(&sections.data.db.to_db_config())
        .await
        .context("the database of data-svc")?;
    let rooms = Rooms::open(db, LazyPool::new("", 1)).await?;
    if !migrate.apps.is_empty() {
        let loaded = apps::load(&migrate.apps)?;
        let installation = rooms.catalog.install(&loaded.packages).await?;
        let seeded = seeds::load(&rooms, &installation.seeds).await?;
        for line in installation
            .diagnostics
            .iter()
            .map(ToString::to_string)
            .chain(seeded.warnings)
        {
            writeln!(out, "{line}")?;
        }
        writeln!(
            out,
            "installed {} apps; seeds: {} inserted, {} updated",
            loaded.packages.len(),
            seeded.inserted,
            seeded.updated
        )?;
    }
    writeln!(
        out,
        "registry revision {}",
        rooms.catalog.current().revision
    )?;
    rooms.db.close().await;
    Ok(())
}
