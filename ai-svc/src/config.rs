//! Configuration of ai-svc; `config.default.toml` holds the defaults and documents them.

use std::collections::BTreeMap;

use mesh::{config::Secret, db::DbConfig};
use serde::Deserialize;

/// The defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The providers' usual names of variables, and the settings they stand for. A name of our own wins.
const PLAIN_NAMES: [(&str, &str); 4] = [
    ("OPENAI_API_KEY", "OBJECTMESH__AI__OPENAI__API_KEY"),
    ("OPENAI_BASE_URL", "OBJECTMESH__AI__OPENAI__BASE_URL"),
    ("ANTHROPIC_API_KEY", "OBJECTMESH__AI__ANTHROPIC__API_KEY"),
    ("ANTHROPIC_BASE_URL", "OBJECTMESH__AI__ANTHROPIC__BASE_URL"),
];

/// The environment with the providers' usual names (`OPENAI_API_KEY`, each also as `…_FILE`) put as
/// settings of ours.
pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = variables.into_iter().collect();
    let mut added = Vec::new();
    for (plain, ours) in PLAIN_NAMES {
        for suffix in ["", "_FILE"] {
            let (plain, ours) = (format!("{plain}{suffix}"), format!("{ours}{suffix}"));
            let value = all.iter().find(|(name, _)| *name == plain);
            if let Some((_, value)) = value.filter(|(_, value)| !value.is_empty()) {
                added.push((ours, value.clone()));
            }
        }
    }
    // What comes later wins.
    added.append(&mut all);
    added
}

/// The sections that the process reads.
#[derive(Debug, Clone, Deserialize)]
pub struct Sections {
    /// The section of this service; sections of other services may stand beside it.
    pub ai: Config,
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
    /// The model where a request names none.
    pub model: String,
    /// Which mutations wait for a person.
    pub approval: Approval,
    /// How long a proposed mutation may be approved, in seconds.
    pub pending_action_lifetime_s: u32,
    /// How often a model may be asked for one answer while it has tools.
    pub iterations_max: u32,
    /// An OpenAI-compatible provider.
    pub openai: Endpoint,
    /// Anthropic.
    pub anthropic: Endpoint,
    /// Limits of one call of a provider.
    pub limits: Limits,
    /// Models by id.
    pub models: BTreeMap<String, Model>,
    /// The database.
    pub db: DbConfig,
}

/// Which mutations that a model proposes wait for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Every one that is not marked as harmless.
    All,
    /// Writes of records, and actions that are marked as dangerous.
    Destructive,
}

/// Where a provider is reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Our key there; empty: none.
    pub api_key: Secret,
    /// Its URL, without the path of an operation.
    pub base_url: String,
}

/// Limits of one call of a provider.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Milliseconds that it may take in all.
    pub total_ms: u64,
    /// Milliseconds between two pieces of the answer.
    pub idle_ms: u64,
}

/// A model of the list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// For people.
    pub label: String,
    /// What it is at an OpenAI-compatible provider.
    pub openai: Option<Behind>,
    /// What it is at Anthropic.
    pub anthropic: Option<Behind>,
    /// What it is offline.
    pub echo: Option<Behind>,
}

/// What stands behind a model at one provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behind {
    /// Its name there.
    pub model: String,
    /// How many tokens it takes; 0: not known.
    #[serde(default)]
    pub context_window: u32,
    /// US dollars for a million tokens of the prompt.
    pub prompt_price: Option<f64>,
    /// US dollars for a million tokens of the answer.
    pub completion_price: Option<f64>,
}

impl Config {
    /// Everything that is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, endpoint) in [("openai", &self.openai), ("anthropic", &self.anthropic)] {
            let uri = endpoint.base_url.parse::<http::Uri>();
            let scheme = uri.as_ref().ok().and_then(http::Uri::scheme_str);
            if !matches!(scheme, Some("http" | "https")) {
                problems.push(format!("ai.{name}.base_url is no http or https URL"));
            }
            if http::HeaderValue::try_from(endpoint.api_key.reveal()).is_err() {
                problems.push(format!(
                    "ai.{name}.api_key holds characters that no key has"
                ));
            }
        }
        for (name, value) in [
            ("ai.limits.total_ms", self.limits.total_ms),
            ("ai.limits.idle_ms", self.limits.idle_ms),
            ("ai.iterations_max", u64::from(self.iterations_max)),
            (
                "ai.pending_action_lifetime_s",
                u64::from(self.pending_action_lifetime_s),
            ),
        ] {
            if value == 0 {
                problems.push(format!("{name} must be at least 1"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Config {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let file: Sections = mesh::config::load(DEFAULTS, None, environment(variables)).unwrap();
        file.ai
    }

    #[test]
    fn the_usual_names_count_and_ours_win() {
        let config = load(&[]);
        assert!(config.openai.api_key.is_empty() && config.problems().is_empty());
        let config = load(&[
            ("OPENAI_API_KEY", "sk-1"),
            ("ANTHROPIC_BASE_URL", "http://x"),
        ]);
        assert_eq!(config.openai.api_key.reveal(), "sk-1");
        assert_eq!(config.anthropic.base_url, "http://x");
        let ours = ("OBJECTMESH__AI__OPENAI__API_KEY", "sk-2");
        let config = load(&[("OPENAI_API_KEY", "sk-1"), ours]);
        assert_eq!(config.openai.api_key.reveal(), "sk-2");
        assert!(!format!("{config:?}").contains("sk-"));
        let config = load(&[("OPENAI_BASE_URL", "ftp://x")]);
        assert_eq!(
            config.problems(),
            ["ai.openai.base_url is no http or https URL"]
        );
    }

    #[test]
    fn a_key_may_stand_in_a_file() {
        let path = std::env::temp_dir().join(format!("ai-svc-key-{}", std::process::id()));
        std::fs::write(&path, "sk-3\n").unwrap();
        let config = load(&[("ANTHROPIC_API_KEY_FILE", path.to_str().unwrap())]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(config.anthropic.api_key.reveal(), "sk-3");
    }
}
