//! Turning credentials into identity tokens.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mesh::{Ctx, Error, Result, clock, identity::Purpose};
use tokio::sync::Mutex;

use super::{App, event, revoke::STORE_LIMIT};
use crate::domain::{
    audit::{Action, Actor},
    identity::{service_identity, user_identity},
    key::{KeySet, Minted},
    proof::Claim,
    session::TokenHash,
};

/// A credential to exchange.
pub(crate) enum Credential<'c> {
    /// What came after `Bearer`: a session token, plain or signed.
    Bearer(&'c str),
    /// The value of the session cookie.
    Cookie(&'c str),
    /// An API key.
    ApiKey,
}

/// One exchange at a time for each session: callers that came while it ran did not see anything
/// older than their own call, so its answer is theirs too.
pub(super) struct Flights(moka::sync::Cache<TokenHash, Arc<Mutex<Option<Flight>>>>);

#[derive(Clone)]
struct Flight {
    began: Instant,
    minted: Minted,
}

impl Default for Flights {
    fn default() -> Self {
        let cache = moka::sync::Cache::builder().max_capacity(100_000);
        Self(cache.time_to_idle(Duration::from_secs(30)).build())
    }
}

impl App {
    /// An identity token for a credential.
    ///
    /// # Errors
    /// UNAUTHENTICATED when the credential is not good (any more); SERVICE_UNAVAILABLE when that,
    /// or the user's rights, cannot be told.
    pub(crate) async fn exchange(&self, ctx: &Ctx, credential: Credential<'_>) -> Result<Minted> {
        let token = match credential {
            Credential::Bearer(text) => self.secrets.open_bearer(text),
            Credential::Cookie(value) => self.secrets.open_cookie(value),
            Credential::ApiKey => {
                return Err(Error::unauthenticated("The API key is not valid")
                    .with("reason", "INVALID_API_KEY"));
            }
        };
        let token_hash = mesh::session::hash(token.ok_or_else(not_valid)?);
        let asked = Instant::now();
        let slot = self.flights.0.get_with(token_hash, Arc::default);
        let mut last = slot.lock().await;
        if let Some(flight) = &*last
            && flight.began >= asked
        {
            return Ok(flight.minted.clone());
        }
        let began = Instant::now();
        let minted = self.mint_for(ctx, &token_hash).await?;
        *last = Some(Flight {
            began,
            minted: minted.clone(),
        });
        Ok(minted)
    }

    async fn mint_for(&self, ctx: &Ctx, token_hash: &TokenHash) -> Result<Minted> {
        let Some((mut session, user)) = self.store.session_by_token(token_hash).await? else {
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
        let owner = self.store.is_owner(&user.id).await?;
        let organization = session.active_organization_id.as_deref();
        let rights = self
            .principals
            .resolve(ctx, &self.keyring, &user, owner, organization)
            .await?;
        self.prolong(ctx, &mut session).await?;
        let minted = self.keyring.mint(user_identity(&user, &session, rights))?;
        // Only spares the gateways a question: without it they ask here.
        let remaining = session.remaining(now);
        let marking = self.sessions.mark_live(token_hash, remaining);
        if !matches!(tokio::time::timeout(STORE_LIMIT, marking).await, Ok(Ok(()))) {
            tracing::warn!("a session was not marked as live");
        }
        Ok(minted)
    }

    /// An identity token for a service that acts for nobody.
    ///
    /// # Errors
    /// UNAUTHENTICATED when the proof does not hold or the reason is not on the list.
    pub(crate) async fn issue_service_token(
        &self,
        ctx: &Ctx,
        claim: Claim<'_>,
        proof: &str,
    ) -> Result<Minted> {
        let holds = claim.holds(self.mesh_secret.reveal(), proof, clock::unix_ms());
        let purpose = Purpose::parse(claim.reason).filter(|_| holds);
        let purpose = purpose.ok_or_else(|| Error::unauthenticated("The proof is not valid"))?;
        let actor = Actor::Service(claim.service.to_owned());
        self.store
            .note(event(ctx, Action::ServiceTokenIssued, actor, None))
            .await?;
        self.keyring.mint(service_identity(claim.service, purpose))
    }

    /// The keys that verify tokens in use, as the database has them now: another replica may have
    /// made the newest.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn signing_keys(&self) -> Result<Arc<KeySet>> {
        self.keyring.refresh().await
    }
}

fn not_valid() -> Error {
    Error::unauthenticated("The session is not valid or has ended")
}
