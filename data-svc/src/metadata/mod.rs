//! The metadata in force: packages and their publication, and what callers may see of it.
//!
//! `catalog` installs packages and publishes revisions, `introspection` and `references` answer `/meta`,
//! `watch` streams the registry to the services that keep a replica.

pub mod catalog;
pub mod grpc;
pub mod introspection;
pub mod references;
pub mod store;
pub mod watch;
