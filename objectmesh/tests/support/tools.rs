//! Tools of other languages that tests use, each installed once for this build folder.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::process::{child::run, servers::lock};

/// A Python with the packages that `wanted` lists, in the form of a `requirements.txt`.
pub fn python(name: &str, wanted: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{name}"));
    let python = folder.join("bin/python");
    let _one_at_a_time = lock(&format!("python-{name}"));
    let installed = folder.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return python;
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder));
    let list = folder.join("wanted.txt");
    std::fs::write(&list, wanted).expect("a file");
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary",
            ":all:",
            "-r",
        ])
        .arg(list)
        .stderr(Stdio::inherit()));
    // Last, so that an installation that broke off is done again.
    std::fs::write(installed, wanted).expect("a file");
    python
}

/// A folder in which Node finds the packages that `manifest`, a `package.json`, lists.
pub fn node_packages(name: &str, manifest: &str) -> PathBuf {
    install_node(name, manifest, None)
}

/// The same, in exactly the versions of `locked`, the `package-lock.json` that belongs to it.
pub fn locked_node_packages(name: &str, manifest: &str, locked: &str) -> PathBuf {
    install_node(name, manifest, Some(locked))
}

fn install_node(name: &str, manifest: &str, locked: Option<&str>) -> PathBuf {
    let wanted = format!("{manifest}{}", locked.unwrap_or_default());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("node-{name}"));
    let _one_at_a_time = lock(&format!("node-{name}"));
    let installed = folder.join("installed.json");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return folder;
    }
    // What an installation that broke off left behind is in nobody's way.
    let _gone = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("package.json"), manifest).expect("a file");
    if let Some(locked) = locked {
        std::fs::write(folder.join("package-lock.json"), locked).expect("a file");
    }
    let install = if locked.is_some() { "ci" } else { "install" };
    run(Command::new("npm")
        .args([
            install,
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--silent",
        ])
        .current_dir(&folder)
        .stderr(Stdio::inherit()));
    std::fs::write(installed, wanted).expect("a file");
    folder
}
