//! Configuration of ai-svc; `config.default.toml` holds the defaults and documents them.

use mesh::{config::Secret, db::DbConfig};
use serde::Deserialize;

/// The defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
pub struct File {
    /// The section of this service; sections of other services may stand beside it.
    pub ai: Config,
    /// Where the peers are.
    pub peers: PeerUris,
}

/// Section `peers`.
#[derive(Debug, Clone, Deserialize)]
pub struct PeerUris {
    /// auth-svc, for identity tokens.
    pub auth: String,
    /// data-svc, for records and metadata.
    pub data: String,
    /// flow-svc, for actions and flows.
    pub flow: String,
}

/// Section `ai`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where `serve` listens for gRPC.
    pub listen: String,
    /// Whether gRPC server reflection is open.
    pub reflection: bool,
    /// The database.
    pub db: DbConfig,
    /// The mesh secret; from the section `mesh`, so not read here.
    #[serde(skip)]
    pub mesh_secret: Secret,
}
