//! What a mesh of several processes promises its clients while processes are restarted, killed and
//! frozen, while rights are taken away, and while the databases behind it come and go.

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
