//! Where the apps to serve come from: paths, or the example that the program carries along.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use metadata::{Diagnostic, Package, Severity};

/// The example app, compiled by this crate's build.
const EXAMPLE: &str = include_str!(concat!(env!("OUT_DIR"), "/support-desk.json"));

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
        let loaded = metadata::load_value(artifact, None);
        apps.packages.push(loaded.package);
        apps.diagnostics.extend(loaded.diagnostics);
        return Ok(apps);
    }
    for path in paths {
        let loaded = read(path)?;
        apps.packages.push(loaded.package);
        apps.diagnostics.extend(loaded.diagnostics);
    }
    Ok(apps)
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
