//! What makes a process a node of the mesh: serving, calling, identity, errors, configuration,
//! database. Knows no business noun (no record, flow or agent).
//!
//! Invariant: a call is the same in one process and over a socket; only [`link::Link`] differs.

pub(crate) mod admin;
pub mod audit;
pub mod cache;
pub mod call;
pub mod concurrency;
pub mod config;
pub mod connection;
pub mod ctx;
pub mod delegation;
pub mod echo;
pub mod error;
pub mod guard;
pub mod identity;
pub mod link;

pub mod node;
pub mod openapi;
pub mod pace;
mod preface;
pub mod process;
pub mod ready;
pub mod resolver;
pub mod revision;
pub mod revocation;
pub mod service_identity;
pub mod session;
pub mod tasks;
pub mod telemetry;

pub use ctx::Ctx;
pub use db::{self, BoxFuture, clock, id, watched};
pub use error::{Error, FieldViolation, Result};
pub use link::Link;
pub use node::Node;
