//! The identity of a service that acts for nobody: a short token for a stated purpose, issued by
//! auth-svc against a proof made with the mesh secret (docs/reference/security.md §11).
//!
//! Invariant: a token is asked for once at a time for each purpose, and again before it ends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use proto::auth::v1::{IssueServiceTokenRequest, identity_service_client::IdentityServiceClient};
use sha2::Sha256;
use tokio::sync::Mutex;

use crate::{
    Ctx, Error, Link, Result, clock,
    config::Secret,
    ctx::{REQUEST_ID, set_bearer},
    identity::Purpose,
};

/// A token is renewed when less than this is left of it, in milliseconds.
const LEFT_MIN_MS: i64 = 20_000;
/// The longest auth-svc may take to issue one.
const LIMIT: Duration = Duration::from_secs(5);

/// A token of a service.
#[derive(Clone, Debug)]
pub struct ServiceToken {
    /// The JWT.
    pub token: Arc<str>,
    /// When it ends, milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// Makes tokens without asking anybody: auth-svc's own way.
pub type Mint = Box<dyn Fn(Purpose) -> Result<ServiceToken> + Send + Sync>;

/// The identity of one service. Cheap to clone; clones share the tokens.
#[derive(Clone)]
pub struct ServiceIdentity(Arc<Inner>);

struct Inner {
    name: &'static str,
    source: Source,
    // A lock for each purpose, held while one caller asks: the others wait for the same token.
    held: std::sync::Mutex<HashMap<Purpose, Arc<Mutex<Option<ServiceToken>>>>>,
}

enum Source {
    Issued { auth: Link, mesh_secret: Secret },
    Minted(Mint),
}

impl ServiceIdentity {
    /// The identity of the service of that name, proven by the mesh secret at `auth`.
    #[must_use]
    pub fn new(name: &'static str, auth: Link, mesh_secret: Secret) -> Self {
        Self::of(name, Source::Issued { auth, mesh_secret })
    }

    /// The identity of the service that signs tokens itself.
    #[must_use]
    pub fn minting(name: &'static str, mint: Mint) -> Self {
        Self::of(name, Source::Minted(mint))
    }

    fn of(name: &'static str, source: Source) -> Self {
        Self(Arc::new(Inner {
            name,
            source,
            held: std::sync::Mutex::default(),
        }))
    }

    /// Name of the service.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Whether tokens can be had at all: without a mesh secret auth-svc issues none.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        match &self.0.source {
            Source::Issued { mesh_secret, .. } => !mesh_secret.is_empty(),
            Source::Minted(_) => true,
        }
    }

    /// A token for that purpose that is good for a while.
    ///
    /// # Errors
    /// UNAUTHENTICATED when the mesh secret is not auth-svc's, SERVICE_UNAVAILABLE when auth-svc
    /// does not answer and the last token has ended.
    pub async fn token(&self, purpose: Purpose) -> Result<Arc<str>> {
        let slot = {
            let mut held = self
                .0
                .held
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            held.entry(purpose).or_default().clone()
        };
        let mut slot = slot.lock().await;
        let left_ms = |held: &ServiceToken| held.expires_at_ms - clock::unix_ms();
        if let Some(held) = &*slot
            && left_ms(held) > LEFT_MIN_MS
        {
            return Ok(held.token.clone());
        }
        let fresh = match &self.0.source {
            Source::Issued { auth, mesh_secret } => self.ask(auth, mesh_secret, purpose).await,
            Source::Minted(mint) => mint(purpose),
        };
        match (fresh, &*slot) {
            (Ok(fresh), _) => Ok(slot.insert(fresh).token.clone()),
            // What is left of the last one bridges a short absence of auth-svc.
            (Err(_), Some(held)) if left_ms(held) > 2_000 => Ok(held.token.clone()),
            (Err(error), _) => Err(error),
        }
    }

    async fn ask(
        &self,
        auth: &Link,
        mesh_secret: &Secret,
        purpose: Purpose,
    ) -> Result<ServiceToken> {
        let at_ms = clock::unix_ms();
        let mut request = tonic::Request::new(IssueServiceTokenRequest {
            service: self.0.name.to_owned(),
            proof: prove(mesh_secret.reveal(), self.0.name, purpose.as_str(), at_ms)?,
            reason: purpose.as_str().to_owned(),
            at_ms,
        });
        request.set_timeout(LIMIT);
        let answer = IdentityServiceClient::new(auth.clone())
            .issue_service_token(request)
            .await
            .map_err(|status| Error::from_status(&status))?
            .into_inner();
        Ok(ServiceToken {
            token: answer.identity_token.into(),
            expires_at_ms: answer.expires_at_ms,
        })
    }

    /// A request to another service, made for nobody, within `limit`.
    ///
    /// # Errors
    /// As [`ServiceIdentity::token`].
    pub async fn request<T>(
        &self,
        purpose: Purpose,
        limit: Duration,
        message: T,
    ) -> Result<tonic::Request<T>> {
        let token = self.token(purpose).await?;
        let mut request = Ctx::background(None, limit).request(message);
        set_bearer(&mut request, &token);
        Ok(request)
    }

    /// The same as part of a call that somebody made: with its deadline and request id.
    ///
    /// # Errors
    /// As [`ServiceIdentity::token`].
    pub async fn request_within<T>(
        &self,
        ctx: &Ctx,
        purpose: Purpose,
        message: T,
    ) -> Result<tonic::Request<T>> {
        let token = self.token(purpose).await?;
        let mut request = ctx.request(message);
        set_bearer(&mut request, &token);
        Ok(request)
    }

    /// A request that opens a stream, which has no deadline of its own.
    ///
    /// # Errors
    /// As [`ServiceIdentity::token`].
    pub async fn stream_request<T>(
        &self,
        purpose: Purpose,
        message: T,
    ) -> Result<tonic::Request<T>> {
        let token = self.token(purpose).await?;
        let mut request = tonic::Request::new(message);
        set_bearer(&mut request, &token);
        if let Ok(id) = crate::id::new().parse() {
            request.metadata_mut().insert(REQUEST_ID, id);
        }
        Ok(request)
    }
}

/// Hex HMAC-SHA256 under the mesh secret of what is claimed (`identity_service.proto`).
fn prove(mesh_secret: &str, service: &str, reason: &str, at_ms: i64) -> Result<String> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(mesh_secret.as_bytes()).map_err(Error::internal)?;
    mac.update(format!("{service}\n{reason}\n{at_ms}").as_bytes());
    let tag = mac.finalize().into_bytes();
    Ok(tag.iter().map(|byte| format!("{byte:02x}")).collect())
}
