//! Who a call is made for: the identity token that auth-svc signs and every service verifies
//! (docs/reference/security.md §3; RFC 7519 JWT, RFC 8037 EdDSA).
//!
//! Invariant: the algorithm is fixed, `kid` must be in the pinned set, and `iss`, `aud`, `exp`,
//! `nbf` and `typ` are checked; nobody takes a user id in a message as proof of who is calling.

mod jwt;

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::jwt::TokenSigner;

use crate::{
    Error, Result,
    cache::{Cache, Stay},
    clock,
};

/// `iss` of every identity token.
pub const ISSUER: &str = "objectmesh-auth";
/// `aud` of every identity token: the mesh.
pub const AUDIENCE: &str = "objectmesh";
/// `typ` of every identity token, so that no other JWT passes for one.
pub const TOKEN_TYPE: &str = "objectmesh-identity+jwt";
/// Longest life of an identity token, in seconds.
pub const LIFETIME_S: i64 = 60;
/// The scope of an RPC that every scoped key opens.
pub const SCOPE_ANY: &str = "any";
/// The permission set that holds every right.
pub const ADMIN_PERMISSION_SET: &str = "admin_full_access";

/// Who a call is made for, with the rights that the token states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Id of the user, or name of the service.
    #[serde(rename = "sub")]
    pub subject: String,
    /// A person or a service.
    pub kind: Kind,
    /// Display name of the user.
    #[serde(default)]
    pub name: String,
    /// E-mail address of the user.
    #[serde(default)]
    pub email: String,
    /// The session behind the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The API key behind the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Scopes that narrow the key; `None` = not narrowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The organisation in which the user acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// Positions held.
    #[serde(default)]
    pub positions: Vec<String>,
    /// Permission sets that apply, sorted.
    #[serde(default)]
    pub permission_sets: Vec<String>,
    /// System permission keys, for example `ai:chat`.
    #[serde(default)]
    pub system_permissions: Vec<String>,
    /// Why a service acts, from the closed list of [`Purpose`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// The service that acts for the user in work of its own (RFC 8693 §4.1), beyond one call.
    #[serde(default, rename = "act", skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
}

/// A service that acts for a user: an agent, a flow, a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Name of the service.
    #[serde(rename = "sub")]
    pub service: String,
    /// Id of the run, conversation or approval.
    pub run_id: String,
    /// Why.
    pub reason: String,
}

/// A person or a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A person, by session or API key.
    User,
    /// A service of the mesh that acts for nobody.
    Service,
}

/// Why a service acts for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// auth-svc asks for a user's rights.
    ResolvePrincipal,
    /// Demo or seed data is loaded.
    Seed,
    /// auth-svc follows the changes of rights that data-svc tells.
    FollowChanges,
    /// A node follows what auth-svc revokes.
    FollowRevocations,
    /// Work for a user that outlives one token: a fresh one is asked for.
    Delegate,
    /// A service keeps a replica of the metadata.
    FollowMetadata,
    /// A flow that is declared to run as the system reads and writes records.
    RunFlow,
}

impl Purpose {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResolvePrincipal => "resolve_principal",
            Self::Seed => "seed",
            Self::FollowChanges => "follow_changes",
            Self::FollowRevocations => "follow_revocations",
            Self::Delegate => "delegate",
            Self::FollowMetadata => "follow_metadata",
            Self::RunFlow => "run_flow",
        }
    }

    /// The purpose of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == word)
    }

    const ALL: [Self; 7] = [
        Self::ResolvePrincipal,
        Self::Seed,
        Self::FollowChanges,
        Self::FollowRevocations,
        Self::Delegate,
        Self::FollowMetadata,
        Self::RunFlow,
    ];
}

impl Identity {
    /// An identity that states nothing yet: no name, no rights.
    #[must_use]
    pub fn nobody(kind: Kind) -> Self {
        Self {
            subject: String::new(),
            kind,
            name: String::new(),
            email: String::new(),
            session_id: None,
            key_id: None,
            scopes: None,
            organization_id: None,
            positions: Vec::new(),
            permission_sets: Vec::new(),
            system_permissions: Vec::new(),
            purpose: None,
            actor: None,
        }
    }

    /// The user as expressions and scripts of an app see them (docs/reference/automation.md §2); null for a
    /// service.
    #[must_use]
    pub fn shown_to_apps(&self) -> Value {
        match self.kind {
            Kind::Service => Value::Null,
            Kind::User => json!({
                "id": self.subject,
                "name": self.name,
                "email": self.email,
                "roles": self.positions,
                "positions": self.positions,
                "permissions": self.system_permissions,
                "permission_sets": self.permission_sets,
                "organization_id": self.organization_id,
                "tenantId": self.organization_id,
            }),
        }
    }

    /// Whether this is a service that acts for that purpose.
    #[must_use]
    pub fn is_service_for(&self, purpose: Purpose) -> bool {
        self.kind == Kind::Service && self.purpose == Some(purpose)
    }

    /// True for holders of `admin_full_access`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.kind == Kind::User
            && self
                .permission_sets
                .iter()
                .any(|set| set == ADMIN_PERMISSION_SET)
    }

    /// Whether the rights hold a system permission key. Administrators hold all of them, and
    /// `ai:admin` holds every `ai:*`.
    #[must_use]
    pub fn has_permission(&self, key: &str) -> bool {
        self.is_admin()
            || self
                .system_permissions
                .iter()
                .any(|held| held == key || (held == "ai:admin" && key.starts_with("ai:")))
    }

    /// Whether a scoped API key opens an RPC of that scope: the scope is held, or it is
    /// [`SCOPE_ANY`]. Identities without scopes always pass.
    #[must_use]
    pub fn in_scope(&self, scope: &str) -> bool {
        scope == SCOPE_ANY
            || self
                .scopes
                .as_ref()
                .is_none_or(|scopes| !scope.is_empty() && scopes.iter().any(|held| held == scope))
    }
}

/// What an identity token states: the identity and the registered claims.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    #[serde(flatten)]
    pub identity: Identity,
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// When it was made, seconds since 1970.
    pub iat: i64,
    /// Not valid before, seconds since 1970.
    pub nbf: i64,
    /// When it ends, seconds since 1970.
    pub exp: i64,
    /// The position in the feed of revocations that was read before session and rights were.
    #[serde(default)]
    pub rev: i64,
}

impl Claims {
    /// Claims for `identity`, from now on for [`LIFETIME_S`].
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let now = clock::unix_ms() / 1000;
        Self {
            identity,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat: now,
            nbf: now,
            exp: now + LIFETIME_S,
            rev: 0,
        }
    }
}

/// A token that was verified.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who.
    pub identity: Arc<Identity>,
    /// When it ends, milliseconds since 1970.
    pub expires_at_ms: i64,
    /// The position in the feed of revocations at which it was minted.
    pub position: i64,
}

/// Verifies identity tokens against the public keys of auth-svc; a token is checked once and
/// remembered until it ends.
pub struct Verifier {
    keys: ArcSwap<Keys>,
    seen: Cache<Verified>,
    validation: Validation,
}

#[derive(Default)]
struct Keys {
    raw: HashMap<String, Vec<u8>>,
    decoding: HashMap<String, DecodingKey>,
}

/// Why a token was not taken.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Its key is not in the set; fetch the set again.
    #[error("unknown signing key")]
    UnknownKey,
    /// It is no valid identity token.
    #[error("invalid identity token")]
    Invalid,
    /// It has ended.
    #[error("identity token has expired")]
    Expired,
}

impl From<VerifyError> for Error {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Expired => {
                Error::unauthenticated("The credential has expired").with("reason", "EXPIRED_TOKEN")
            }
            VerifyError::UnknownKey | VerifyError::Invalid => {
                Error::unauthenticated("The credential is not valid")
            }
        }
    }
}

impl Default for Verifier {
    fn default() -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 2;
        Self {
            keys: ArcSwap::default(),
            seen: Cache::new(10_000, Stay::Long),
            validation,
        }
    }
}

impl Verifier {
    /// Replaces the set of public keys (id, 32 bytes of Ed25519); when it is another one, forgets
    /// every token seen.
    ///
    /// # Errors
    /// INTERNAL when a key is none.
    pub fn set_keys(&self, keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<()> {
        jwt::install();
        let raw: HashMap<String, Vec<u8>> = keys.into_iter().collect();
        if raw == self.keys.load().raw {
            return Ok(());
        }
        let mut decoding = HashMap::new();
        for (kid, key) in &raw {
            if key.len() != 32 {
                let why = anyhow::anyhow!("the key {kid} has {} bytes", key.len());
                return Err(Error::internal(why));
            }
            decoding.insert(kid.clone(), DecodingKey::from_ed_der(key));
        }
        self.keys.store(Arc::new(Keys { raw, decoding }));
        self.seen.clear();
        Ok(())
    }

    /// Whether there is any key yet.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.load().raw.is_empty()
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// [`VerifyError`]; `UnknownKey` asks the caller to fetch the keys and try once more.
    pub fn verify(&self, token: &str) -> Result<Verified, VerifyError> {
        if let Some(seen) = self.seen.get(token) {
            if seen.expires_at_ms > clock::unix_ms() {
                return Ok((*seen).clone());
            }
            return Err(VerifyError::Expired);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| VerifyError::Invalid)?;
        if header.typ.as_deref() != Some(TOKEN_TYPE) || header.alg != Algorithm::EdDSA {
            return Err(VerifyError::Invalid);
        }
        let kid = header.kid.ok_or(VerifyError::Invalid)?;
        let keys = self.keys.load();
        let key = keys.decoding.get(&kid).ok_or(VerifyError::UnknownKey)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => VerifyError::Expired,
                _ => VerifyError::Invalid,
            })?
            .claims;
        let verified = Verified {
            identity: Arc::new(claims.identity),
            expires_at_ms: claims.exp.saturating_mul(1000),
            position: claims.rev,
        };
        self.seen.insert(token, Arc::new(verified.clone()));
        Ok(verified)
    }
}
