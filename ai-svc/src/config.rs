//! Configuration of ai-svc; `config.default.toml` holds the defaults and documents them.

use mesh::config::Secret;
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
    /// auth-svc.
    pub auth: String,
}

/// Section `ai`. The database of the service is named here once it keeps something.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Where `serve` listens for gRPC.
    pub listen: String,
    /// Whether gRPC server reflection is open.
    pub reflection: bool,
    /// The mesh secret; from the section `mesh`, so not read here.
    #[serde(skip)]
    pub mesh_secret: Secret,
}
