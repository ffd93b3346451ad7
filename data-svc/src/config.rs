//! Configuration of data-svc; `config.default.toml` holds the defaults and documents them.

use std::time::Duration;

use mesh::db::DbConfig;
use serde::Deserialize;

/// The defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The sections that the process reads.
#[derive(Debug, Clone, Deserialize)]
pub struct Sections {
    /// The section of this service; sections of other services may stand beside it.
    pub data: Config,
    /// Where the peers are.
    pub peers: PeerUrls,
}

/// Section `peers`.
#[derive(Debug, Clone, Deserialize)]
pub struct PeerUrls {
    /// auth-svc.
    pub auth: String,
}

/// Section `data`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where `serve` listens for gRPC.
    pub listen: String,
    /// Whether gRPC server reflection is open.
    pub reflection: bool,
    /// How long changes are kept for those who follow them, in days.
    pub changes_kept_days: u32,
    /// Permission set of users who hold no other; empty for none. Absent: the app's default set,
    /// else `member_default`.
    pub fallback_permission_set: Option<String>,
    /// The database.
    pub db: DbSection,
    /// The sandbox for scripts.
    pub scripts: ScriptSection,
}

/// Section `data.scripts`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptSection {
    /// The program that is started as a worker; empty for this program.
    pub program: String,
    /// How many scripts run at once.
    pub workers: usize,
}

/// Section `data.db`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DbSection {
    /// `sqlite:<path>` or `postgres://…`.
    pub url: String,
    /// PostgreSQL schema.
    pub schema: String,
    /// SQLite connections that read.
    pub readers: u32,
    /// PostgreSQL connections.
    pub max_connections: u32,
    /// Longest a statement may run, in milliseconds.
    pub statement_timeout_ms: u64,
}

impl DbSection {
    /// As the database layer takes it.
    #[must_use]
    pub fn to_db_config(&self) -> DbConfig {
        DbConfig {
            service: crate::NAME,
            url: self.url.clone(),
            schema: Some(self.schema.clone()),
            readers: self.readers,
            max_connections: self.max_connections,
            statement_timeout: Duration::from_millis(self.statement_timeout_ms),
        }
    }
}
