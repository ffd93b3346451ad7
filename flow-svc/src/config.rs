//! Configuration of flow-svc; `config.default.toml` holds the defaults and documents them.

use mesh::db::DbConfig;
use serde::Deserialize;

/// The defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The sections that the process reads.
#[derive(Debug, Clone, Deserialize)]
pub struct Sections {
    /// The section of this service; sections of other services may stand beside it.
    pub flow: Config,
    /// Where the peers are.
    pub peers: PeerUrls,
}

/// Section `peers`.
#[derive(Debug, Clone, Deserialize)]
pub struct PeerUrls {
    /// auth-svc, for identity tokens.
    pub auth: String,
    /// data-svc, for records and metadata.
    pub data: String,
}

/// Section `flow`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where `serve` listens for gRPC.
    pub listen: String,
    /// Whether gRPC server reflection is open.
    pub reflection: bool,
    /// The database.
    pub db: DbConfig,
    /// The sandbox for scripts.
    pub scripts: ScriptSection,
}

/// Section `flow.scripts`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptSection {
    /// The program that is started as a worker; empty for this program.
    pub program: String,
    /// How many scripts run at once.
    pub workers: usize,
}
