//! Installing packages and publishing revisions. The database holds what is installed; every
//! replica serves that, never its own disk (architecture.md §6).

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use futures::FutureExt as _;
use mesh::{clock, db::Db};
use metadata::{Diagnostic, Package};

use super::Registry;
use crate::store::{ddl, package};

/// Users, organisations, assignments and the audit log, declared like any app.
const PLATFORM: &str = include_str!("platform.json");

/// The registry in force, and the way to a new revision.
pub struct Catalog {
    db: Db,
    current: ArcSwap<Registry>,
}

impl Catalog {
    /// Loads what the database holds. Object tables are brought up to it.
    ///
    /// # Errors
    /// Those of the database, or an artifact that cannot be read any more.
    pub async fn open(db: Db) -> anyhow::Result<Self> {
        let (registry, _) = load(&db).await?;
        ddl::migrate(&db, &registry).await?;
        Ok(Self {
            db,
            current: ArcSwap::from_pointee(registry),
        })
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Registry> {
        self.current.load_full()
    }

    /// Installs packages, brings the tables up to them and publishes the next revision. Packages
    /// that are installed already, unchanged, change nothing.
    ///
    /// # Errors
    /// Those of the database; a change that would lose data.
    pub async fn install(&self, packages: &[Package]) -> anyhow::Result<Installation> {
        for package in packages {
            anyhow::ensure!(
                package.id != metadata::naming::PLATFORM_PACKAGE_ID,
                "the package id {} is the platform's own; choose another in the manifest",
                package.id
            );
        }
        let installed = package::all(&self.db).await?;
        let mut changed = Vec::new();
        for package in packages {
            let artifact = package.to_artifact().to_string();
            if !installed
                .iter()
                .any(|old| old.id == package.id && old.artifact == artifact)
            {
                changed.push(package::Installed {
                    id: package.id.clone(),
                    version: package.version.clone(),
                    artifact,
                });
            }
        }
        let (revision, _) = package::head(&self.db).await?;
        if changed.is_empty() && revision > 0 {
            return Ok(Installation::default());
        }
        // Tables first, then the revision: nobody may see an object without its table.
        let mut all = installed;
        for new in &changed {
            match all.iter_mut().find(|old| old.id == new.id) {
                Some(old) => *old = new.clone(),
                None => all.push(new.clone()),
            }
        }
        let now = clock::now();
        let (registry, diagnostics) = Registry::build(read(&all)?, revision + 1, now);
        ddl::migrate(&self.db, &registry).await?;
        let changed_ids: Vec<String> = changed.iter().map(|package| package.id.clone()).collect();
        let changed = Arc::new(changed);
        let published = self
            .db
            .write(move |tx| {
                let changed = Arc::clone(&changed);
                async move {
                    for package in &*changed {
                        package::put(tx, package, now).await?;
                    }
                    package::advance(tx, revision, now).await
                }
                .boxed()
            })
            .await?;
        anyhow::ensure!(
            published,
            "another process changed the metadata at the same time; try again"
        );
        self.current.store(Arc::new(registry));
        let is_new = |package: &&Package| changed_ids.contains(&package.id);
        Ok(Installation {
            diagnostics,
            seeds: packages
                .iter()
                .filter(is_new)
                .flat_map(|package| package.seeds.clone())
                .collect(),
        })
    }
}

/// What an installation changed.
#[derive(Debug, Default)]
pub struct Installation {
    /// What is wrong with the packages together.
    pub diagnostics: Vec<Diagnostic>,
    /// The seeds of packages that are new or changed, to be loaded now.
    pub seeds: Vec<metadata::Seed>,
}

async fn load(db: &Db) -> anyhow::Result<(Registry, Vec<Diagnostic>)> {
    let installed = package::all(db).await?;
    let (revision, published_at) = package::head(db).await?;
    let at = published_at.unwrap_or_else(clock::now);
    Ok(Registry::build(read(&installed)?, revision, at))
}

/// The platform's package, then those installed.
fn read(installed: &[package::Installed]) -> anyhow::Result<Vec<Package>> {
    let platform = serde_json::from_str(PLATFORM).context("the platform's own metadata")?;
    let mut packages = vec![metadata::load_value(platform, None).package];
    for package in installed {
        let artifact = serde_json::from_str(&package.artifact)
            .with_context(|| format!("installed package {}", package.id))?;
        packages.push(metadata::load_value(artifact, None).package);
    }
    Ok(packages)
}

/// Names of the platform's own objects, to which apps may refer.
///
/// # Errors
/// Never in a built program: the platform's metadata is part of it, and tested.
pub fn platform_objects() -> anyhow::Result<BTreeSet<String>> {
    let packages = read(&[])?;
    let objects = packages.iter().flat_map(|package| &package.objects);
    Ok(objects.map(|object| object.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_own_metadata_is_sound() {
        let loaded = metadata::load_value(serde_json::from_str(PLATFORM).unwrap(), None);
        assert_eq!(loaded.diagnostics, []);
        let objects = platform_objects().unwrap();
        assert_eq!(metadata::validate(&loaded.package, &objects), []);
        assert!(objects.contains("sys_user"));
    }
}
