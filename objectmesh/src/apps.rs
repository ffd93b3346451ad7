//! Where the apps to serve come from: paths, or the example that the program carries along.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use metadata::{Diagnostic, Loaded, Package, Severity};

/// The example app, compiled: what a test makes of `examples/support-desk` (a build that did would
/// compile the loader twice).
const EXAMPLE: &str = include_str!("support-desk.json");

/// Packages to install, and what is to be said about them.
pub struct Apps {
    /// The packages.
    pub packages: Vec<Package>,
    /// What was noticed while they were read.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether they are the example app.
    pub is_example: bool,
}

/// Loads the apps at these paths, or the example app when there are none.
///
/// # Errors
/// When a path cannot be read, or an app has errors.
pub fn load(paths: &[PathBuf]) -> anyhow::Result<Apps> {
    let mut apps = Apps {
        packages: Vec::new(),
        diagnostics: Vec::new(),
        is_example: paths.is_empty(),
    };
    if paths.is_empty() {
        let artifact = serde_json::from_str(EXAMPLE).context("the example app")?;
        apps.add(metadata::load_value(artifact, None))?;
        return Ok(apps);
    }
    for path in paths {
        apps.add(read(path)?)?;
    }
    Ok(apps)
}

impl Apps {
    fn add(&mut self, loaded: Loaded) -> anyhow::Result<()> {
        self.diagnostics.extend(loaded.diagnostics);
        self.diagnostics.extend(diagnose(&loaded.package)?);
        self.packages.push(loaded.package);
        Ok(())
    }
}

/// What is wrong with a package beyond what loading it tells: references that lead nowhere, and
/// everything that this runtime does not carry out.
///
/// # Errors
/// Never in a built program.
pub fn diagnose(package: &Package) -> anyhow::Result<Vec<Diagnostic>> {
    let mut found = metadata::validate(package, &data_svc::metadata::catalog::platform_objects()?);
    found.extend(data_svc::kernel::compile::coverage::check(package));
    let (_, merged) = metadata::merge_packages(vec![package.clone()]);
    found.extend(merged);
    Ok(found)
}

/// Reads a metadata directory or a compiled artifact.
///
/// # Errors
/// When there is nothing to read.
pub fn read(path: &Path) -> anyhow::Result<metadata::Loaded> {
    if !path.exists() {
        bail!("{}: no such file or directory", path.display());
    }
    Ok(metadata::load_path(path)?)
}

/// Errors and warnings among the diagnostics.
#[must_use]
pub fn count(diagnostics: &[Diagnostic]) -> (usize, usize) {
    let of = |severity| {
        diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    };
    (of(Severity::Error), of(Severity::Warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `OBJECTMESH_UPDATE_EXAMPLE=1` the test writes the file instead.
    #[test]
    fn the_example_that_is_carried_along_is_the_one_of_its_directory() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let loaded = read(&here.join("../examples/support-desk")).unwrap();
        let errors = count(&loaded.diagnostics).0;
        assert_eq!(errors, 0, "{:?}", loaded.diagnostics);
        let artifact = serde_json::to_string_pretty(&loaded.package.to_artifact()).unwrap() + "\n";
        if std::env::var_os("OBJECTMESH_UPDATE_EXAMPLE").is_some() {
            std::fs::write(here.join("src/support-desk.json"), artifact).unwrap();
            return;
        }
        assert!(
            artifact == EXAMPLE,
            "objectmesh/src/support-desk.json is old: \
             OBJECTMESH_UPDATE_EXAMPLE=1 cargo test -p objectmesh --lib example"
        );
    }
}
