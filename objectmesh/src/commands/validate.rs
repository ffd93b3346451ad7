//! `objectmesh validate PATH`: what is wrong with an app, where, and how to mend it.

use std::{io::Write, path::PathBuf};

use clap::Args;
use metadata::Severity;

use crate::apps;

/// Checks an app without serving it.
#[derive(Args, Debug)]
pub struct Validate {
    /// Metadata directory or compiled artifact.
    pub path: PathBuf,
    /// Prints also what is worth knowing but no problem.
    #[arg(long)]
    pub verbose: bool,
}

/// Prints the diagnostics. True when there is no error.
///
/// # Errors
/// When there is nothing to read at the path.
pub fn run(validate: &Validate, out: &mut impl Write) -> anyhow::Result<bool> {
    let loaded = apps::read(&validate.path)?;
    let mut diagnostics = loaded.diagnostics;
    diagnostics.extend(apps::diagnose(&loaded.package)?);
    diagnostics.sort_by_key(|diagnostic| diagnostic.severity as u8);
    for diagnostic in &diagnostics {
        if validate.verbose || diagnostic.severity != Severity::Info {
            writeln!(out, "{diagnostic}")?;
        }
    }
    let (errors, warnings) = apps::count(&diagnostics);
    let package = &loaded.package;
    writeln!(
        out,
        "{} {}: {} objects, {} items; {errors} errors, {warnings} warnings",
        package.id,
        package.version,
        package.objects.len(),
        package.items.len(),
    )?;
    Ok(errors == 0)
}
