//! Compiles the example app into one artifact, so that the program carries it along. An example
//! that does not load does not build.

use std::{env, error::Error, fs, path::Path};

use metadata::Severity;

fn main() -> Result<(), Box<dyn Error>> {
    let app = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../examples/support-desk");
    println!("cargo::rerun-if-changed={}", app.display());
    let loaded = metadata::load_path(&app)?;
    for diagnostic in &loaded.diagnostics {
        if diagnostic.severity == Severity::Error {
            return Err(diagnostic.to_string().into());
        }
    }
    let out = Path::new(&env::var("OUT_DIR")?).join("support-desk.json");
    fs::write(out, loaded.package.to_artifact().to_string())?;
    Ok(())
}
