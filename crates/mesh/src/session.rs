//! The session store: what gateways and auth-svc share about live sessions (docs/reference/security.md §1).
//! It says whether a session token is still good, so that a sign-out holds on every gateway at
//! once. The authority is auth-svc's database: an absent entry means "ask auth-svc".
//!
//! Invariant: keys are SHA-256 of the token; no token and no decision is stored here. A session
//! that ended is marked as ended, so that a late `mark_live` cannot bring it back.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncCommands as _, ExistenceCheck, SetExpiry, SetOptions,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use sha2::{Digest as _, Sha256};

use crate::{
    Error, Result,
    cache::{Cache, Stay},
};

/// How long an ended session is remembered: longer than any identity token minted from it.
const ENDED_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long a live entry stays before auth-svc is asked again.
const LIVE_FOR_MAX: Duration = Duration::from_secs(24 * 3600);

/// SHA-256 of a credential: the only form in which stores and caches know it.
pub type CredentialHash = [u8; 32];

/// The hash of a credential.
#[must_use]
pub fn hash(credential: &str) -> CredentialHash {
    Sha256::digest(credential.as_bytes()).into()
}

/// What the store knows about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Good until it expires or ends.
    Live,
    /// Signed out or revoked.
    Ended,
    /// Not known here.
    Absent,
}

/// The session store.
#[derive(Clone)]
pub enum SessionStore {
    /// In this process (`objectmesh dev`).
    Embedded(Embedded),
    /// Shared by all processes.
    Redis(ConnectionManager),
}

/// The embedded store.
#[derive(Clone)]
pub struct Embedded {
    live: Cache<()>,
    ended: Cache<()>,
}

impl SessionStore {
    /// A store in this process.
    #[must_use]
    pub fn embedded() -> Self {
        let cache = |ttl| Cache::new(1_000_000, Stay::Lived(ttl));
        Self::Embedded(Embedded {
            live: cache(LIVE_FOR_MAX),
            ended: cache(ENDED_FOR),
        })
    }

    /// A store in Redis at `url`; reconnects by itself.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn redis(url: &str) -> anyhow::Result<Self> {
        let client = redis::Client::open(url)?;
        // A store that is away must say so at once: auth-svc's database answers instead.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(200))
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(Duration::from_millis(500)));
        // Connected when first used: a store that is away keeps no process from starting.
        Ok(Self::Redis(
            redis::aio::ConnectionManager::new_lazy_with_config(client, config)?,
        ))
    }

    /// What is known of the session.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when the store cannot be asked.
    pub async fn state(&self, session: &CredentialHash) -> Result<State> {
        match self {
            Self::Embedded(store) => Ok(if store.ended.contains(session) {
                State::Ended
            } else if store.live.contains(session) {
                State::Live
            } else {
                State::Absent
            }),
            Self::Redis(connection) => {
                let value: Option<String> = connection
                    .clone()
                    .get(key(session))
                    .await
                    .map_err(unavailable)?;
                Ok(match value.as_deref() {
                    Some("live") => State::Live,
                    Some(_) => State::Ended,
                    None => State::Absent,
                })
            }
        }
    }

    /// Notes that the session is good for `ttl`. Changes nothing when it is known already.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when the store cannot be asked.
    pub async fn mark_live(&self, session: &CredentialHash, ttl: Duration) -> Result<()> {
        let ttl = ttl.min(LIVE_FOR_MAX);
        match self {
            Self::Embedded(store) => {
                store.live.insert(session, Arc::default());
                Ok(())
            }
            Self::Redis(connection) => {
                let options = SetOptions::default()
                    .conditional_set(ExistenceCheck::NX)
                    .with_expiration(SetExpiry::EX(ttl.as_secs().max(1)));
                let () = connection
                    .clone()
                    .set_options(key(session), "live", options)
                    .await
                    .map_err(unavailable)?;
                Ok(())
            }
        }
    }

    /// Notes that the session is over.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when the store cannot be asked.
    pub async fn mark_ended(&self, session: &CredentialHash) -> Result<()> {
        match self {
            Self::Embedded(store) => {
                store.ended.insert(session, Arc::default());
                store.live.remove(session);
                Ok(())
            }
            Self::Redis(connection) => {
                let () = connection
                    .clone()
                    .set_ex(key(session), "ended", ENDED_FOR.as_secs())
                    .await
                    .map_err(unavailable)?;
                Ok(())
            }
        }
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when it does not.
    pub async fn ping(&self) -> Result<()> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(connection) => {
                let () = connection.clone().ping().await.map_err(unavailable)?;
                Ok(())
            }
        }
    }
}

fn key(session: &CredentialHash) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    format!("om:session:{}", URL_SAFE_NO_PAD.encode(session))
}

fn unavailable(error: redis::RedisError) -> Error {
    tracing::warn!(error = %error, "session store does not answer");
    Error::unavailable("The session store")
}
