//! Settings of auth-svc; `config.default.toml` holds the defaults and documents them.

use mesh::{config::Secret, db::DbConfig};
use serde::Deserialize;
use time::Duration;

use crate::domain::{input, session::Lifetimes, throttle::Throttle, token};

/// The defaults, as TOML with the one section `auth`.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The sections that the process reads.
#[derive(Debug, Deserialize)]
pub struct Sections {
    /// The section of this service; sections of other services may stand beside it.
    pub auth: Config,
    /// Where the peers are.
    pub peers: PeerUrls,
    /// What browsers see.
    #[serde(default)]
    pub gateway: GatewaySection,
}

/// Section `peers`.
#[derive(Debug, Deserialize)]
pub struct PeerUrls {
    /// data-svc.
    pub data: String,
    /// auth-svc itself, for foreign credentials at its own gRPC port; empty: it asks itself.
    #[serde(default)]
    pub auth: String,
}

/// Section `gateway`, as far as auth-svc looks at it.
#[derive(Debug, Default, Deserialize)]
pub struct GatewaySection {
    /// The public URL; fills `auth.public_url` where that is unset.
    pub public_url: Option<String>,
}

/// Least length of a secret, in characters.
const SECRET_LEN_MIN: usize = 32;

/// The section `auth`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where `serve` listens for gRPC.
    pub listen: String,
    /// The database.
    pub db: DbConfig,
    /// Whether to migrate the database at start.
    pub migrate: bool,
    /// Signs cookies and derives signing keys; comma list, the first signs.
    pub secret: Secret,
    /// Where browsers reach the gateway.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Further origins to which `callbackURL` may lead.
    pub trusted_origins: Vec<String>,
    /// Whether gRPC server reflection answers.
    pub reflection: bool,
    /// Sign-in with e-mail and password.
    pub email_and_password: EmailAndPassword,
    /// Lifetimes of sessions.
    pub session: SessionConfig,
    /// Waits after wrong passwords.
    pub throttle: ThrottleConfig,
    /// The pool that hashes passwords.
    pub hashing: HashingConfig,
    /// Keys that sign identity tokens.
    pub signing: SigningConfig,
}

/// Sign-in with e-mail and password.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailAndPassword {
    /// Whether it is on.
    pub enabled: bool,
    /// Whether nobody may sign up by themselves.
    pub disable_sign_up: bool,
    /// Least length of a new password, in characters.
    pub min_password_length: usize,
}

/// Lifetimes of sessions, in seconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionConfig {
    /// Without use.
    pub expires_in_s: u32,
    /// Between two prolongations.
    pub update_age_s: u32,
    /// In any case.
    pub absolute_s: u32,
    /// When not to be remembered.
    pub unremembered_s: u32,
}

/// Waits after wrong passwords.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThrottleConfig {
    /// Misses before the first wait.
    pub misses: u32,
    /// The first wait, in seconds.
    pub delay_s: u32,
    /// The longest wait, in seconds.
    pub delay_max_s: u32,
    /// Misses older than this many seconds do not count.
    pub forget_after_s: u32,
}

/// The pool that hashes passwords.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashingConfig {
    /// Hashes at the same time; 0 = one for each processor.
    pub threads: usize,
    /// Callers that may wait.
    pub queue_max: usize,
}

/// Keys that sign identity tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningConfig {
    /// Age in seconds at which the newest key id is succeeded.
    pub rotate_after_s: u32,
}

impl Config {
    /// Everything that is wrong with the settings, one line each; empty = nothing.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |fine: bool, problem: &str| {
            if !fine {
                problems.push(problem.to_owned());
            }
        };
        let long = |secret: &str| secret.chars().count() >= SECRET_LEN_MIN;
        let mut secrets = token::split(self.secret.reveal()).peekable();
        check(
            secrets.peek().is_some(),
            "auth.secret must be set (OBJECTMESH__AUTH__SECRET)",
        );
        check(
            secrets.all(long),
            "auth.secret: each secret must have at least 32 characters",
        );
        if let Some(url) = &self.public_url {
            check(
                input::origin(url).is_some(),
                "auth.public_url must be an http or https address",
            );
        }
        for origin in &self.trusted_origins {
            check(
                input::origin(origin).is_some(),
                &format!("auth.trusted_origins: {origin} is no http or https address"),
            );
        }
        check(
            (input::PASSWORD_LEN_MIN..=input::PASSWORD_LEN_MAX)
                .contains(&self.email_and_password.min_password_length),
            "auth.email_and_password.min_password_length must lie between 8 and 128",
        );
        let session = &self.session;
        check(
            session.expires_in_s > 0 && session.unremembered_s > 0,
            "auth.session.expires_in_s and unremembered_s must be more than 0",
        );
        check(
            session.absolute_s >= session.expires_in_s,
            "auth.session.absolute_s must be at least expires_in_s",
        );
        check(
            session.update_age_s <= session.expires_in_s,
            "auth.session.update_age_s must be at most expires_in_s",
        );
        check(
            self.throttle.misses > 0 && self.throttle.delay_s > 0,
            "auth.throttle.misses and delay_s must be more than 0",
        );
        check(
            self.throttle.delay_max_s >= self.throttle.delay_s,
            "auth.throttle.delay_max_s must be at least delay_s",
        );
        check(
            self.signing.rotate_after_s >= 3600,
            "auth.signing.rotate_after_s must be at least 3600",
        );
        problems
    }

    /// Whether browsers reach us over HTTPS.
    #[must_use]
    pub(crate) fn is_https(&self) -> bool {
        self.public_url
            .as_deref()
            .and_then(input::origin)
            .is_some_and(|origin| origin.starts_with("https:"))
    }

    /// The origins to which `callbackURL` may lead.
    #[must_use]
    pub(crate) fn callback_origins(&self) -> Vec<String> {
        let all = self.public_url.iter().chain(&self.trusted_origins);
        all.filter_map(|address| input::origin(address)).collect()
    }

    /// The lifetimes of sessions.
    #[must_use]
    pub(crate) fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            idle: seconds(self.session.expires_in_s),
            update_age: seconds(self.session.update_age_s),
            absolute: seconds(self.session.absolute_s),
            unremembered: seconds(self.session.unremembered_s),
        }
    }

    /// The limits on wrong passwords.
    #[must_use]
    pub(crate) fn throttle(&self) -> Throttle {
        Throttle {
            misses: self.throttle.misses.into(),
            delay: seconds(self.throttle.delay_s),
            delay_max: seconds(self.throttle.delay_max_s),
            forget_after: seconds(self.throttle.forget_after_s),
        }
    }
}

fn seconds(number: u32) -> Duration {
    Duration::seconds(number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(environment: &[(&str, &str)]) -> anyhow::Result<Config> {
        let environment = environment
            .iter()
            .map(|(name, value)| (format!("OBJECTMESH__AUTH__{name}"), (*value).to_owned()));
        mesh::config::load::<Sections>(DEFAULTS, None, environment).map(|sections| sections.auth)
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn the_defaults_are_fine_once_there_is_a_secret() {
        assert_eq!(config(&[("SECRET", SECRET)]).unwrap().problems(), [""; 0]);
        let two = format!("{SECRET}, {SECRET}");
        assert_eq!(config(&[("SECRET", &two)]).unwrap().problems(), [""; 0]);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let environment = [
            ("SECRET", &*format!("{SECRET},short")),
            ("PUBLIC_URL", "ftp://x"),
            ("EMAIL_AND_PASSWORD__MIN_PASSWORD_LENGTH", "7"),
            ("SESSION__ABSOLUTE_S", "1"),
            ("THROTTLE__MISSES", "0"),
        ];
        assert_eq!(config(&environment).unwrap().problems().len(), 5);
        assert_eq!(config(&[]).unwrap().problems().len(), 1);
    }

    #[test]
    fn unknown_keys_are_refused_and_secrets_stay_hidden() {
        assert!(config(&[("SESSION__EXPIRES", "1")]).is_err());
        let shown = format!("{:?}", config(&[("SECRET", SECRET)]).unwrap());
        assert!(!shown.contains(SECRET));
    }
}
