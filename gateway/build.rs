//! Unpacks the files of Swagger UI that `/docs` serves from the crate that carries them, as they
//! are and compressed.

use std::{env, fs, io::Cursor, io::Read as _, io::Write as _, path::PathBuf};

use anyhow::Context as _;
use flate2::{Compression, write::GzEncoder};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// What a page needs of it.
const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for file in FILES {
        let wanted = format!("/dist/{file}");
        let mut bytes = Vec::new();
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index)?;
            if entry.name()?.ends_with(&wanted) {
                entry.read_to_end(&mut bytes)?;
            }
        }
        anyhow::ensure!(!bytes.is_empty(), "the archive has no dist/{file}");
        // A map that is not there would be asked for by every browser's tools.
        let text = String::from_utf8(bytes).with_context(|| format!("{file} is no text"))?;
        let kept = text
            .lines()
            .filter(|line| !line.contains("# sourceMappingURL="));
        let bytes = kept.collect::<Vec<_>>().join("\n").into_bytes();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&bytes)?;
        fs::write(out.join(format!("{file}.gz")), gzip.finish()?)?;
        fs::write(out.join(file), bytes)?;
    }
    Ok(())
}
