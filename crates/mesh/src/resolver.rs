//! The one place that turns a credential into an identity, for the gateway and for every service
//! (docs/reference/security.md §3).
//!
//! Invariant: no credential, no identity; a bad credential never falls back to another one or to
//! anonymous. With `Authorization` present the cookie is not looked at.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use proto::auth::v1::{
    ExchangeCredentialRequest, ListSigningKeysRequest,
    exchange_credential_request::Credential as Wire,
    identity_service_client::IdentityServiceClient,
};

use crate::{
    Error, Link, Result,
    cache::{Cache, Stay},
    clock,
    ctx::Caller,
    error::Reason,
    identity::{Verified, Verifier, VerifyError},
    revocation::Revocations,
    service_identity::ServiceIdentity,
    session::{self, CredentialHash, SessionStore, State},
    tasks::Tasks,
};

/// Name of the session cookie over plain HTTP; over HTTPS it has [`SECURE_PREFIX`] before it.
pub const SESSION_COOKIE: &str = "better-auth.session_token";
/// Prefix of the cookie's name when the public URL is HTTPS (RFC 6265bis §4.1.3.1).
pub const SECURE_PREFIX: &str = "__Secure-";
/// How every API key starts.
pub const API_KEY_PREFIX: &str = "osk_";

/// How often the signing keys are fetched, so that a new one is known before it signs.
const KEYS_EVERY: Duration = Duration::from_secs(45);
/// Fetches that tokens with unknown key ids can cause at once; one more each second. Whoever makes
/// key ids up causes no more than that.
const KEY_FETCHES: f64 = 5.0;
/// While the session store is away, the feed of revocations vouches for sessions if it was heard
/// within that time; together with the feed's own delay less than five seconds.
const FEED_FRESH: Duration = Duration::from_secs(3);
/// How long the shared session store is not asked again about a session that it called live, while the
/// feed of revocations, which tells the same, is heard.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A credential as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer <token>`: an identity token (between services), or a session token.
    Bearer(String),
    /// The value of the session cookie, percent-decoded.
    Cookie(String),
    /// `x-api-key`, `Authorization: ApiKey …`, or a bearer that starts with `osk_`.
    ApiKey(String),
}

impl Credential {
    /// Reads the credential of a request.
    ///
    /// # Errors
    /// UNAUTHENTICATED for an `Authorization` header that is not understood.
    pub fn of(headers: &http::HeaderMap) -> Result<Option<Self>> {
        if let Some(value) = headers.get(http::header::AUTHORIZATION) {
            let value = value.to_str().map_err(|_| malformed())?.trim();
            let (scheme, token) = value.split_once(' ').ok_or_else(malformed)?;
            let token = token.trim();
            if token.is_empty() {
                return Err(malformed());
            }
            return if scheme.eq_ignore_ascii_case("bearer") {
                Ok(Some(if token.starts_with(API_KEY_PREFIX) {
                    Self::ApiKey(token.to_owned())
                } else {
                    Self::Bearer(percent_decode(token))
                }))
            } else if scheme.eq_ignore_ascii_case("apikey") {
                Ok(Some(Self::ApiKey(token.to_owned())))
            } else {
                Err(malformed())
            };
        }
        if let Some(value) = headers.get("x-api-key") {
            let value = value.to_str().map_err(|_| malformed())?;
            return Ok(Some(Self::ApiKey(value.to_owned())));
        }
        Ok(cookie(headers).map(Self::Cookie))
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Bearer(text) | Self::Cookie(text) | Self::ApiKey(text) => text,
        }
    }

    /// Whether this is an identity token by its form.
    #[must_use]
    pub fn looks_like_identity_token(&self) -> bool {
        matches!(self, Self::Bearer(token) if token.starts_with("eyJ") && token.matches('.').count() == 2)
    }
}

/// The session cookie's value, if the request has one. The secure name wins.
fn cookie(headers: &http::HeaderMap) -> Option<String> {
    let mut plain = None;
    for header in headers.get_all(http::header::COOKIE) {
        for pair in header.to_str().ok()?.split(';') {
            let Some((name, value)) = pair.trim().split_once('=') else {
                continue;
            };
            if name.strip_prefix(SECURE_PREFIX) == Some(SESSION_COOKIE) {
                return Some(percent_decode(value));
            }
            if name == SESSION_COOKIE {
                plain.get_or_insert_with(|| percent_decode(value));
            }
        }
    }
    plain
}

fn percent_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

fn malformed() -> Error {
    Error::unauthenticated("The Authorization header is not understood; send `Bearer <token>`")
}

/// Who may hand in identity tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// A service: identity tokens are taken.
    Service,
    /// The REST edge: identity tokens are never taken from a client.
    Edge,
}

/// Turns credentials into identities.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    tier: Tier,
    auth: Link,
    verifier: Verifier,
    // A lock, so that one fetch answers everybody who waits for it.
    key_fetches: tokio::sync::Mutex<KeyFetches>,
    revocations: Revocations,
    sessions: Option<SessionStore>,
    exchanged: Cache<Exchanged>,
    exchanged_for: Duration,
}

struct Exchanged {
    caller: Caller,
    verified: Verified,
    /// The session token behind the credential, when it is one.
    session: Option<CredentialHash>,
    at: Instant,
    /// Milliseconds from `at` to when the session was last known to be live.
    live_after_ms: AtomicU64,
}

impl Exchanged {
    fn is_live_for_now(&self) -> bool {
        let known = Duration::from_millis(self.live_after_ms.load(Ordering::Relaxed));
        self.at.elapsed() < known + ASK_EVERY
    }

    fn note_live(&self) {
        let after = u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.live_after_ms.store(after, Ordering::Relaxed);
    }
}

impl Resolver {
    /// A resolver that exchanges credentials at auth-svc. With a session store (the gateway) every
    /// use of a session is checked there and the token is kept while it lives; without one
    /// (services) an exchanged credential is kept 5 seconds.
    #[must_use]
    pub fn new(tier: Tier, auth: Link, sessions: Option<SessionStore>) -> Self {
        let exchanged_for = if sessions.is_some() {
            Duration::from_secs(55)
        } else {
            Duration::from_secs(5)
        };
        Self {
            inner: Arc::new(Inner {
                tier,
                auth,
                verifier: Verifier::default(),
                key_fetches: tokio::sync::Mutex::default(),
                revocations: Revocations::default(),
                sessions,
                exchanged: Cache::new(100_000, Stay::Lived(exchanged_for)),
                exchanged_for,
            }),
        }
    }

    /// Follows, until the node stops, what auth-svc revokes, and keeps the signing keys at hand.
    /// `service` is the node's own identity. Until this is heard, and while it is cut, an identity
    /// token is good until it ends.
    pub fn follow(&self, tasks: &Tasks, service: ServiceIdentity) {
        if !service.is_usable() {
            tracing::warn!(
                service.name = service.name(),
                "without a mesh secret revocations are not followed: they take up to a minute"
            );
            return;
        }
        let (resolver, stop) = (self.clone(), tasks.stop_token());
        tasks.spawn(async move {
            let inner = &resolver.inner;
            let keys = async {
                loop {
                    tokio::time::sleep(KEYS_EVERY).await;
                    if let Err(error) = resolver.fetch_keys().await {
                        tracing::warn!(error = %error, "the signing keys cannot be fetched; trying again");
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = inner.revocations.follow(&inner.auth, &service) => {}
                () = keys => {}
            }
        });
    }

    /// Whether revocations are being heard: what takes effect on this node takes effect at once.
    #[must_use]
    pub fn hears_revocations(&self) -> bool {
        self.inner.revocations.is_fresh(FEED_FRESH)
    }

    /// Resolves a credential.
    ///
    /// # Errors
    /// UNAUTHENTICATED when it is not (or no longer) good, SERVICE_UNAVAILABLE when that cannot be
    /// told. For an identity token `reason` is [`REVOKED_TOKEN`](crate::revocation::REVOKED_TOKEN)
    /// or `EXPIRED_TOKEN` where another one for the same caller may do.
    pub async fn resolve(&self, credential: &Credential) -> Result<Caller> {
        if credential.looks_like_identity_token() {
            if self.inner.tier == Tier::Edge {
                return Err(Error::unauthenticated("The credential is not valid"));
            }
            let token = credential.as_str();
            let verified = self.verify(token).await?;
            self.inner.revocations.check(&verified)?;
            return Ok(Caller {
                identity: verified.identity,
                token: token.into(),
            });
        }
        let key = session::hash(credential.as_str());
        if let Some(known) = self.inner.exchanged.get(key) {
            if known.at.elapsed() < self.inner.exchanged_for
                && known.verified.expires_at_ms > clock::unix_ms() + 2_000
                && self.inner.revocations.check(&known.verified).is_ok()
                && self.still_live(&known).await?
            {
                return Ok(known.caller.clone());
            }
            self.inner.exchanged.remove(key);
        }
        self.exchange(credential, key).await
    }

    /// Whether the session behind a cached token may still be used without asking auth-svc.
    async fn still_live(&self, known: &Exchanged) -> Result<bool> {
        let (Some(store), Some(session)) = (&self.inner.sessions, &known.session) else {
            return Ok(true);
        };
        let shared = matches!(store, SessionStore::Redis(_));
        if shared && known.is_live_for_now() && self.inner.revocations.is_fresh(FEED_FRESH) {
            return Ok(true);
        }
        match store.state(session).await {
            Ok(State::Live) => {
                known.note_live();
                Ok(true)
            }
            Ok(State::Ended) => Err(ended()),
            // Not known, or lost: the database is the authority.
            Ok(State::Absent) => Ok(false),
            // The store is away. What ended was told by the feed, unless that is cut as well.
            Err(_) => Ok(self.inner.revocations.is_fresh(FEED_FRESH)),
        }
    }

    async fn exchange(&self, credential: &Credential, key: CredentialHash) -> Result<Caller> {
        let wire = match credential {
            Credential::Bearer(token) => Wire::Bearer(token.clone()),
            Credential::Cookie(value) => Wire::Cookie(value.clone()),
            Credential::ApiKey(value) => Wire::ApiKey(value.clone()),
        };
        let mut request = tonic::Request::new(ExchangeCredentialRequest {
            credential: Some(wire),
        });
        request.set_timeout(Duration::from_secs(5));
        let mut client = IdentityServiceClient::new(self.inner.auth.clone());
        let answer = client
            .exchange_credential(request)
            .await
            .map_err(|status| Error::from_status(&status))?
            .into_inner();
        let verified = self.verify(&answer.identity_token).await?;
        let caller = Caller {
            identity: verified.identity.clone(),
            token: answer.identity_token.into(),
        };
        let session = match credential {
            // The signed form is `<token>.<signature>`; the store knows the token.
            Credential::Bearer(text) | Credential::Cookie(text) => {
                Some(session::hash(text.split('.').next().unwrap_or(text)))
            }
            Credential::ApiKey(_) => None,
        };
        self.inner.exchanged.insert(
            key,
            Arc::new(Exchanged {
                caller: caller.clone(),
                verified,
                session,
                at: Instant::now(),
                live_after_ms: AtomicU64::new(0),
            }),
        );
        Ok(caller)
    }

    async fn verify(&self, token: &str) -> Result<Verified> {
        match self.inner.verifier.verify(token) {
            Err(VerifyError::UnknownKey) => self.verify_with_fresh_keys(token).await,
            other => Ok(other?),
        }
    }

    async fn verify_with_fresh_keys(&self, token: &str) -> Result<Verified> {
        let asked = Instant::now();
        let mut fetches = self.inner.key_fetches.lock().await;
        // Those who waited find that somebody has fetched the key for them, or has failed to.
        match self.inner.verifier.verify(token) {
            Err(VerifyError::UnknownKey) => {}
            other => return Ok(other?),
        }
        if fetches.failed.is_some_and(|failed| failed >= asked) {
            return Err(Error::unavailable(
                "The service that knows the signing keys",
            ));
        }
        if fetches.take() || !self.inner.verifier.has_keys() {
            let fetched = self.fetch_keys().await;
            fetches.failed = fetched.is_err().then(Instant::now);
            fetched?;
        }
        Ok(self.inner.verifier.verify(token)?)
    }

    async fn fetch_keys(&self) -> Result<()> {
        let mut request = tonic::Request::new(ListSigningKeysRequest {});
        request.set_timeout(Duration::from_secs(5));
        let mut client = IdentityServiceClient::new(self.inner.auth.clone());
        let keys = client
            .list_signing_keys(request)
            .await
            .map_err(|status| Error::from_status(&status))?
            .into_inner()
            .keys;
        self.inner.verifier.set_keys(
            keys.into_iter()
                .map(|key| (key.kid, key.public_key.to_vec())),
        )
    }

    /// Forgets what was exchanged for a credential, for example after a sign-out.
    pub fn forget(&self, credential: &Credential) {
        self.inner
            .exchanged
            .remove(session::hash(credential.as_str()));
    }
}

/// What is left of the fetches of signing keys.
struct KeyFetches {
    left: f64,
    counted: Instant,
    failed: Option<Instant>,
}

impl Default for KeyFetches {
    fn default() -> Self {
        Self {
            left: KEY_FETCHES,
            counted: Instant::now(),
            failed: None,
        }
    }
}

impl KeyFetches {
    fn take(&mut self) -> bool {
        let since = self.counted.elapsed().as_secs_f64();
        self.counted = Instant::now();
        self.left = (self.left + since).min(KEY_FETCHES);
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

fn ended() -> Error {
    Error::new(Reason::Unauthenticated, "The session has ended").with("reason", "EXPIRED_TOKEN")
}
