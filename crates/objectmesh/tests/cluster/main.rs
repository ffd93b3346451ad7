//! What a mesh of several processes promises its clients while processes are restarted, killed and
//! frozen, while rights are taken away, and while the databases behind it come and go.

#[path = "../process/mod.rs"]
mod process;

#[path = "../ai/provider.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "a test uses a part of it")]
mod provider;

mod client;
mod gateway_start;
mod keys;
mod migrations;
mod postgres;
mod replicas;
mod revocation;
mod rolling;
mod streams;

use std::path::{Path, PathBuf};

/// The folder of the app that the tests use.
fn app() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/app")
}
