//! Installing packages and publishing revisions. The database holds what is installed; every
//! replica serves that, never its own disk (docs/adr/0011-typed-seams.md).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use futures::FutureExt as _;
use mesh::{
    BoxFuture, clock,
    db::{Db, DbError},
    revision::Served,
    watched::Watched,
};
use metadata::{Diagnostic, Package, Seed};
use sha2::{Digest as _, Sha256};

use super::store;
use crate::kernel::{compile, model::registry::Registry, tables};

/// Users, organisations, assignments and the audit log, declared like any app.
const PLATFORM: &str = include_str!("platform.json");

/// How often the head is looked at for revisions that other processes published.
const LOOK: Duration = Duration::from_millis(250);
/// How often an installation is tried when others change the metadata at the same time.
const ATTEMPTS: u32 = 20;

/// The registry in force, and the way to a new revision.
pub struct Catalog {
    db: Db,
    current: Arc<ArcSwap<Registry>>,
    served: Arc<Served>,
}

impl Catalog {
    /// Loads what the database holds. Object tables are brought up to it.
    ///
    /// # Errors
    /// Those of the database, or an artifact that cannot be read any more.
    pub async fn open(db: Db) -> anyhow::Result<Self> {
        let installed = store::installation(&db).await?;
        let registry = build(&installed)?;
        tables::migrate(&db, &registry).await?;
        tables::fill_summaries(&db, &registry).await?;
        let served = Arc::new(Served::default());
        served.publish(registry.revision);
        Ok(Self {
            db,
            current: Arc::new(ArcSwap::from_pointee(registry)),
            served,
        })
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Registry> {
        self.current.load_full()
    }

    /// Where the snapshot in force is, for those who work on it.
    #[must_use]
    pub fn in_force(&self) -> Arc<ArcSwap<Registry>> {
        Arc::clone(&self.current)
    }

    /// The number of the revision in force, and the way to wait for a newer one.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served)
    }

    /// Follows what other processes publish, for ever. A revision that cannot be read is told once
    /// and left aside: the last good one stays in force.
    pub async fn follow(&self, mut watched: Watched) {
        let mut refused = 0;
        loop {
            match self.refresh(refused).await {
                Ok(()) => watched.succeeded(),
                Err(error) => match error {
                    Refused::Unreadable(revision, error) => {
                        refused = revision;
                        tracing::error!(
                            registry.revision = revision,
                            error = format!("{error:#}"),
                            "the metadata's newest revision cannot be read; the last one stays"
                        );
                    }
                    Refused::Db(error) => watched.failed(&error),
                },
            }
            // Asked for or not, the next look comes.
            let _asked = tokio::time::timeout(LOOK, self.served.wanted()).await;
        }
    }

    /// Serves the newest revision, unless it is the one that was refused before.
    async fn refresh(&self, refused: u64) -> Result<(), Refused> {
        let head = store::head(&self.db).await?;
        if head <= self.served.current() || head == refused {
            return Ok(());
        }
        let installed = store::installation(&self.db).await?;
        if installed.revision > self.served.current() {
            let revision = installed.revision;
            let registry = build(&installed);
            self.publish(registry.map_err(|error| Refused::Unreadable(revision, error))?);
        }
        Ok(())
    }

    fn publish(&self, registry: Registry) {
        let (revision, registry) = (registry.revision, Arc::new(registry));
        // Another task may have published a newer one meanwhile.
        self.current
            .rcu(|current| match current.revision < revision {
                true => Arc::clone(&registry),
                false => Arc::clone(current),
            });
        self.served.publish(revision);
    }

    /// Installs packages, brings the tables up to them and publishes the next revision. Packages
    /// that are installed already, unchanged, change nothing. When others install at the same
    /// time, one after the other gets its turn.
    ///
    /// # Errors
    /// Those of the database; a change that would lose data.
    pub fn install<'a>(
        &'a self,
        packages: &'a [Package],
    ) -> BoxFuture<'a, anyhow::Result<Installation>> {
        Box::pin(self.install_in_turn(packages))
    }

    async fn install_in_turn(&self, packages: &[Package]) -> anyhow::Result<Installation> {
        for package in packages {
            anyhow::ensure!(
                package.id != metadata::naming::PLATFORM_PACKAGE_ID,
                "the package id {} is the platform's own; choose another in the manifest",
                package.id
            );
        }
        let wanted: Vec<store::Installed> = packages
            .iter()
            .map(|package| store::Installed {
                id: package.id.clone(),
                version: package.version.clone(),
                artifact: package.to_artifact().to_string(),
            })
            .collect();
        for attempt in 1..=ATTEMPTS {
            if let Some(diagnostics) = self.try_install(&wanted).await? {
                return Ok(Installation {
                    diagnostics,
                    seeds: self.seeds(packages, &wanted).await?,
                });
            }
            let most = 20 * u64::from(attempt);
            let pause = Duration::from_millis(rand::random_range(1..=most));
            tokio::time::sleep(pause).await;
        }
        anyhow::bail!("other processes keep changing the metadata; try again")
    }

    /// Installs on the head as it is now; `None` when another process moved it meanwhile.
    async fn try_install(
        &self,
        wanted: &[store::Installed],
    ) -> anyhow::Result<Option<Vec<Diagnostic>>> {
        let mut installed = store::installation(&self.db).await?;
        let is_new = |new: &&store::Installed| {
            let same = |old: &store::Installed| old.id == new.id && old.artifact == new.artifact;
            !installed.packages.iter().any(same)
        };
        let changed: Vec<store::Installed> = wanted.iter().filter(is_new).cloned().collect();
        let head = installed.revision;
        if changed.is_empty() && head > 0 {
            if head > self.served.current() {
                self.publish(build(&installed)?);
            }
            return Ok(Some(Vec::new()));
        }
        for new in &changed {
            match installed.packages.iter_mut().find(|old| old.id == new.id) {
                Some(old) => *old = new.clone(),
                None => installed.packages.push(new.clone()),
            }
        }
        let now = clock::now();
        let before = match self.current() {
            current if current.revision == head => current,
            _ => Arc::new(build(&store::installation(&self.db).await?)?),
        };
        let (registry, diagnostics) = compile::registry(read(&installed.packages)?, head + 1, now);
        let changed_sets = restated(&before, &registry);
        // Tables first, then the revision: nobody may see an object without its table.
        tables::migrate(&self.db, &registry).await?;
        let changed = Arc::new((changed, changed_sets));
        let moved = self
            .db
            .write::<_, DbError, _>(move |tx| {
                let changed = Arc::clone(&changed);
                async move {
                    // The head first: whoever moves it keeps the others out until the commit.
                    if !store::advance(tx, head, now).await? {
                        return Ok(false);
                    }
                    let (packages, changed_sets) = &*changed;
                    for package in packages {
                        store::put(tx, package, now).await?;
                    }
                    store::record(tx, head + 1, changed_sets, now).await?;
                    Ok(true)
                }
                .boxed()
            })
            .await?;
        if moved {
            self.publish(registry);
            // By now every write here keeps them.
            tables::fill_summaries(&self.db, &self.current()).await?;
        }
        Ok(moved.then_some(diagnostics))
    }

    /// The permission sets whose holders' identity tokens state something else since a revision, up to
    /// another; [`FALLBACK`] among them where users without assignments fall back to another set.
    /// `None` where the history does not reach back.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn changed_sets(
        &self,
        after: u64,
        until: u64,
    ) -> Result<Option<BTreeSet<String>>, DbError> {
        let recorded = store::recorded(&self.db, after, until).await?;
        let is_whole = recorded.len() as u64 == until.saturating_sub(after);
        Ok(is_whole.then(|| recorded.into_iter().flatten().collect()))
    }

    /// The seeds of these packages that were not loaded to their end yet, by whomever.
    async fn seeds(
        &self,
        packages: &[Package],
        installed: &[store::Installed],
    ) -> anyhow::Result<Vec<PackageSeeds>> {
        let mut seeds = Vec::new();
        for (package, installed) in packages.iter().zip(installed) {
            let hash = Sha256::digest(installed.artifact.as_bytes());
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            let mark = format!("seeds {} {hash}", package.id);
            if !package.seeds.is_empty() && !store::is_loaded(&self.db, &mark).await? {
                seeds.push(PackageSeeds {
                    mark,
                    seeds: package.seeds.clone(),
                });
            }
        }
        Ok(seeds)
    }
}

/// Stands among permission sets for the one that users without assignments fall back to.
pub const FALLBACK: &str = "";

/// The permission sets of which identity tokens state something else after than before: those that came
/// or went, or whose system permissions are others.
fn restated(before: &Registry, after: &Registry) -> BTreeSet<String> {
    let stated = |registry: &Registry, name: &str| {
        let set = registry.permission_set(name)?;
        Some(
            set.system_permissions
                .iter()
                .cloned()
                .collect::<BTreeSet<_>>(),
        )
    };
    let names = before.permission_sets().chain(after.permission_sets());
    let mut changed: BTreeSet<String> = names
        .filter(|name| stated(before, name) != stated(after, name))
        .map(str::to_owned)
        .collect();
    if before.fallback_permission_set() != after.fallback_permission_set() {
        changed.insert(FALLBACK.to_owned());
    }
    changed
}

/// Why a revision is not served.
enum Refused {
    /// Which one cannot be read, and why.
    Unreadable(u64, anyhow::Error),
    Db(DbError),
}

impl From<DbError> for Refused {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

/// What an installation changed.
#[derive(Debug, Default)]
pub struct Installation {
    /// What is wrong with the packages together.
    pub diagnostics: Vec<Diagnostic>,
    /// The seeds of packages that are new or changed, to be loaded now.
    pub seeds: Vec<PackageSeeds>,
}

/// The seeds of a package.
#[derive(Debug)]
pub struct PackageSeeds {
    /// What is noted in the database once they are loaded.
    pub mark: String,
    /// The seeds.
    pub seeds: Vec<Seed>,
}

fn build(installed: &store::Installation) -> anyhow::Result<Registry> {
    let at = installed.published_at.unwrap_or_else(clock::now);
    let packages = read(&installed.packages)?;
    Ok(compile::registry(packages, installed.revision, at).0)
}

/// The platform's package, then those installed.
fn read(installed: &[store::Installed]) -> anyhow::Result<Vec<Package>> {
    let platform = serde_json::from_str(PLATFORM).context("the platform's own metadata")?;
    let mut packages = vec![metadata::load_value(platform, None).package];
    for package in installed {
        let artifact = serde_json::from_str(&package.artifact)
            .with_context(|| format!("installed package {}", package.id))?;
        packages.push(metadata::load_value(artifact, None).package);
    }
    Ok(packages)
}

/// The registry of packages that are not installed anywhere: the platform's own and these.
///
/// # Errors
/// Never in a built program: the platform's metadata is part of it, and tested.
pub fn registry(packages: Vec<Package>) -> anyhow::Result<Registry> {
    let mut all = read(&[])?;
    all.extend(packages);
    Ok(compile::registry(all, 1, clock::now()).0)
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
