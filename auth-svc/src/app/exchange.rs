//! Turning credentials into identity tokens.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mesh::{
    Ctx, Error, Result,
    audit::Actor,
    cache::{Cache, Stay},
    clock,
    identity::Purpose,
};
use tokio::sync::Mutex;

use super::{App, entry, revoke::STORE_LIMIT, sessions};
use crate::{
    domain::{
        api_key::{self, KeyHash},
        audit::Action,
        identity::{key_identity, session_identity},
        key::{KeySet, Minted},
        proof::Claim,
        session::TokenHash,
    },
    store,
};

/// A credential to exchange.
pub(crate) enum Credential<'c> {
    /// What came after `Bearer`: a session token, plain or signed.
    Bearer(&'c str),
    /// The value of the session cookie.
    Cookie(&'c str),
    /// An API key.
    ApiKey(&'c str),
}

/// One exchange at a time for each session or key: callers that came while it ran did not see anything
/// older than their own call, so its answer is theirs too.
pub(super) struct Flights(Cache<Mutex<Option<Flight>>>);

#[derive(Clone)]
struct Flight {
    began: Instant,
    minted: Minted,
}

impl Default for Flights {
    fn default() -> Self {
        Self(Cache::new(100_000, Stay::Idle(Duration::from_secs(30))))
    }
}

/// An identity token for a credential.
///
/// # Errors
/// UNAUTHENTICATED when the credential is not good (any more); SERVICE_UNAVAILABLE when that,
/// or the user's rights, cannot be told.
pub(crate) async fn exchange(app: &App, ctx: &Ctx, credential: Credential<'_>) -> Result<Minted> {
    let token = match credential {
        Credential::Bearer(text) => app.secrets.open_bearer(text),
        Credential::Cookie(value) => app.secrets.open_cookie(value),
        Credential::ApiKey(text) => {
            let hash = api_key::hash(text).ok_or_else(api_key::not_valid)?;
            return in_flight(app, hash, mint_for_key(app, ctx, hash)).await;
        }
    };
    let hash = mesh::session::hash(token.ok_or_else(not_valid)?);
    in_flight(app, hash, mint_for_session(app, ctx, hash)).await
}

/// Mints, or takes over what was minted meanwhile.
async fn in_flight(
    app: &App,
    credential: TokenHash,
    mint: impl Future<Output = Result<Minted>>,
) -> Result<Minted> {
    let asked = Instant::now();
    let slot = app.flights.0.get_or_insert(credential, Arc::default);
    let mut last = slot.lock().await;
    if let Some(flight) = &*last
        && flight.began >= asked
    {
        return Ok(flight.minted.clone());
    }
    let began = Instant::now();
    let minted = mint.await?;
    *last = Some(Flight {
        began,
        minted: minted.clone(),
    });
    Ok(minted)
}

async fn mint_for_session(app: &App, ctx: &Ctx, token_hash: TokenHash) -> Result<Minted> {
    let found = store::sessions::session_by_token(&app.store, &token_hash).await?;
    let Some((mut session, user, position)) = found else {
        return Err(not_valid());
    };
    // Read again here: the call may have waited for another one.
    let now = clock::now();
    if !session.is_live(now) {
        return Err(not_valid().with("reason", "EXPIRED_TOKEN"));
    }
    if user.ban_at(now).is_some() {
        return Err(not_valid());
    }
    let owner = store::users::is_owner(&app.store, &user.id).await?;
    let organization = session.active_organization_id.as_deref();
    let rights = app
        .principals
        .resolve(ctx, &user, owner, organization)
        .await?;
    sessions::prolong(app, ctx, &mut session).await?;
    let end = session.end();
    let identity = session_identity(&user, &session, rights);
    let minted = app.keyring.mint(identity, position, Some(end))?;
    // Only spares the gateways a question: without it they ask here.
    let remaining = session.remaining(now);
    let marking = app.sessions.mark_live(&token_hash, remaining);
    if !matches!(tokio::time::timeout(STORE_LIMIT, marking).await, Ok(Ok(()))) {
        tracing::warn!("a session was not marked as live");
    }
    Ok(minted)
}

async fn mint_for_key(app: &App, ctx: &Ctx, hash: KeyHash) -> Result<Minted> {
    let found = store::api_keys::key_by_hash(&app.store, &hash).await?;
    let (key, user, position) = found.ok_or_else(api_key::not_valid)?;
    let now = clock::now();
    if !key.is_live(now) || user.ban_at(now).is_some() {
        return Err(api_key::not_valid());
    }
    let owner = store::users::is_owner(&app.store, &user.id).await?;
    let rights = app.principals.resolve(ctx, &user, owner, None).await?;
    if key.notes_use(now) {
        store::api_keys::key_used(&app.store, &key.id, now).await?;
    }
    let identity = key_identity(&user, &key, rights);
    app.keyring.mint(identity, position, key.expires_at)
}

/// An identity token for a service that acts for nobody.
///
/// # Errors
/// UNAUTHENTICATED when the proof does not hold or the reason is not on the list.
pub(crate) async fn issue_service_token(
    app: &App,
    ctx: &Ctx,
    claim: Claim<'_>,
    proof: &str,
) -> Result<Minted> {
    let holds = claim.holds(app.mesh_secret.reveal(), proof, clock::unix_ms());
    let purpose = Purpose::parse(claim.reason).filter(|_| holds);
    let purpose = purpose.ok_or_else(|| Error::unauthenticated("The proof is not valid"))?;
    let detail = purpose.as_str().to_owned();
    note_once_an_hour(
        app,
        ctx,
        Action::ServiceTokenIssued,
        claim.service,
        None,
        detail,
    )
    .await?;
    app.keyring.mint_for_service(claim.service, purpose)
}

/// Notes what a service renews every minute, by every node, once an hour from each replica of ours:
/// the log tells that it went on, and is not flooded.
pub(super) async fn note_once_an_hour(
    app: &App,
    ctx: &Ctx,
    action: Action,
    service: &str,
    subject: Option<&str>,
    detail: String,
) -> Result<()> {
    let subject_text = subject.unwrap_or_default();
    let key = format!("{}\n{service}\n{subject_text}\n{detail}", action.as_str());
    if app.noted.contains(&key) {
        return Ok(());
    }
    let actor = Actor::Service(service.to_owned());
    let mut noted = entry(ctx, action, actor, subject);
    noted.detail = Some(detail);
    store::audit::note(&app.store, noted).await?;
    app.noted.insert(key, Arc::default());
    Ok(())
}

/// The keys that verify tokens in use, as the database has them now: another replica may have
/// made the newest.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn signing_keys(app: &App) -> Result<Arc<KeySet>> {
    app.keyring.refresh().await
}

fn not_valid() -> Error {
    Error::unauthenticated("The session is not valid or has ended")
}
