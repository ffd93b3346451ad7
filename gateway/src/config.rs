//! What can be set; `config.default.toml` holds and documents the defaults.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;
use mesh::{connection::Deadlines, pace::CLIENT_IDLE_MAX};
use serde::{Deserialize, Deserializer};

use crate::{
    RateLimit,
    address::{Network, Networks},
    origin::{Origin, Origins},
};

/// The defaults, as commented TOML.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The section `gateway`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address the REST API is served on.
    pub listen: SocketAddr,
    /// The URL under which clients reach the gateway; must be set in production.
    #[serde(deserialize_with = "not_empty")]
    pub public_url: Option<String>,
    /// Networks (CIDR) whose `X-Forwarded-*` headers are believed.
    #[serde(deserialize_with = "list")]
    pub trusted_proxies: Vec<String>,
    /// Further origins that may call with cookies and read answers.
    #[serde(deserialize_with = "list")]
    pub trusted_origins: Vec<String>,
    /// Answers discovery without a session.
    pub public_discovery: bool,
    /// Trusts every port of localhost as an origin.
    pub dev_origins: bool,
    /// Name of the environment, shown by discovery.
    pub environment: String,
    /// Requests at the same time; more are refused with 503.
    pub max_in_flight: usize,
    /// Connections at the same time; requests on further ones are refused with 503.
    pub max_connections: usize,
    /// Connections at the same time from one address (IPv6: /64), trusted proxies excepted; more are
    /// closed.
    pub max_connections_per_address: usize,
    /// From accepting a connection to the whole head of its first request, in milliseconds.
    pub head_timeout_ms: u64,
    /// From the end of an answer to the whole head of the connection's next request, in milliseconds.
    pub idle_timeout_ms: u64,
    /// For a client to take anything of an answer that is ready for it, in milliseconds.
    pub write_timeout_ms: u64,
    /// For a client to send more of a body that is passed on as it arrives, in milliseconds.
    pub upload_idle_ms: u64,
    /// Profiles of other APIs that are served under `/compat/<profile>`.
    #[serde(deserialize_with = "list")]
    pub compat: Vec<String>,
    /// How long running requests may take to end after a shutdown was asked for, in milliseconds.
    pub drain_ms: u64,
}

/// The sections that the process reads.
#[derive(Debug, Deserialize)]
pub struct Sections {
    /// The gateway.
    pub gateway: Config,
    /// How often who may ask.
    pub rate_limit: RateLimit,
    /// Where its peers are.
    pub peers: PeerUrls,
}

/// Where the services are reached.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerUrls {
    /// auth-svc.
    pub auth: String,
    /// data-svc.
    pub data: String,
    /// flow-svc.
    pub flow: String,
    /// ai-svc.
    pub ai: String,
}

impl Default for Config {
    fn default() -> Self {
        #[derive(Deserialize)]
        struct Only {
            gateway: Config,
        }
        #[expect(
            clippy::expect_used,
            reason = "the defaults are part of this crate and tested"
        )]
        let only: Only =
            mesh::config::load(DEFAULTS, None, []).expect("config.default.toml is valid");
        only.gateway
    }
}

impl Config {
    /// Reads what needs reading, and reports every problem at once.
    pub(crate) fn check(&self) -> anyhow::Result<(Origins, Networks)> {
        let mut problems = Vec::new();
        let mut origin = |key: &str, text: &String| match Origin::parse(text) {
            Some(origin) => Some(origin),
            None => {
                problems.push(format!("gateway.{key}: `{text}` is no http(s) origin"));
                None
            }
        };
        let own = self
            .public_url
            .as_ref()
            .and_then(|text| origin("public_url", text));
        let listed = self.trusted_origins.iter();
        let trusted = listed
            .filter_map(|text| origin("trusted_origins", text))
            .collect();
        let mut networks = Vec::new();
        for text in &self.trusted_proxies {
            match Network::parse(text) {
                Some(network) => networks.push(network),
                None => problems.push(format!(
                    "gateway.trusted_proxies: `{text}` is no network like 10.0.0.0/8"
                )),
            }
        }
        if self.environment == "production" && self.public_url.is_none() {
            problems.push("gateway.public_url: must be set in production".to_owned());
        }
        for (key, value) in [
            ("max_in_flight", self.max_in_flight),
            ("max_connections", self.max_connections),
            (
                "max_connections_per_address",
                self.max_connections_per_address,
            ),
            ("head_timeout_ms", millis(self.head_timeout_ms)),
            ("idle_timeout_ms", millis(self.idle_timeout_ms)),
            ("write_timeout_ms", millis(self.write_timeout_ms)),
            ("upload_idle_ms", millis(self.upload_idle_ms)),
        ] {
            if value == 0 {
                problems.push(format!("gateway.{key}: must be more than 0"));
            }
        }
        if Duration::from_millis(self.upload_idle_ms) >= CLIENT_IDLE_MAX {
            let longest = CLIENT_IDLE_MAX.as_millis();
            problems.push(format!(
                "gateway.upload_idle_ms: must be less than the {longest} that services wait"
            ));
        }
        ensure!(problems.is_empty(), "{}", problems.join("\n"));
        let origins = Origins {
            own,
            trusted,
            localhost: self.dev_origins,
        };
        Ok((origins, Networks(networks)))
    }

    /// How long a connection may keep us waiting.
    pub(crate) fn deadlines(&self) -> Deadlines {
        Deadlines {
            head: Duration::from_millis(self.head_timeout_ms),
            idle: Duration::from_millis(self.idle_timeout_ms),
            write: Duration::from_millis(self.write_timeout_ms),
        }
    }
}

fn millis(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// TOML cannot say "none", so the empty text does.
fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// A list, or a comma list as environments have it.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        List(Vec<String>),
    }
    let parts = match Either::deserialize(deserializer)? {
        Either::List(list) => list,
        Either::Text(text) => text.split(',').map(str::to_owned).collect(),
    };
    Ok(parts
        .iter()
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)]) -> anyhow::Result<Config> {
        let environment = environment
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let sections: Sections = mesh::config::load(DEFAULTS, None, environment)?;
        Ok(sections.gateway)
    }

    #[test]
    fn the_defaults_are_complete_and_good() {
        let config = Config::default();
        assert_eq!(config.public_url, None);
        config.check().unwrap();
    }

    #[test]
    fn lists_come_as_toml_or_with_commas() {
        let config = load(&[(
            "OBJECTMESH__GATEWAY__TRUSTED_PROXIES",
            "10.0.0.0/8, fd00::/8",
        )]);
        assert_eq!(config.unwrap().trusted_proxies, ["10.0.0.0/8", "fd00::/8"]);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let config = load(&[
            ("OBJECTMESH__GATEWAY__ENVIRONMENT", "production"),
            ("OBJECTMESH__GATEWAY__TRUSTED_PROXIES", "10.0.0.0/99"),
            ("OBJECTMESH__GATEWAY__TRUSTED_ORIGINS", "example.org"),
            ("OBJECTMESH__GATEWAY__UPLOAD_IDLE_MS", "60000"),
        ]);
        let problems = config.unwrap().check().unwrap_err().to_string();
        assert_eq!(problems.lines().count(), 4, "{problems}");
        assert!(load(&[("OBJECTMESH__GATEWAY__LISTN", "x")]).is_err());
    }
}
