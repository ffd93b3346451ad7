//! Asking data-svc what a user may do, and telling it who there is.

use std::{sync::Mutex, time::Duration};

use mesh::{Ctx, Error, Link, Result, clock, error::Reason, identity::Purpose};
use proto::data::v1::{
    RemovePrincipalRequest, ResolvePrincipalRequest, UserProfile,
    principal_service_client::PrincipalServiceClient,
};

use super::keyring::Keyring;
use crate::domain::{
    identity::{Rights, service_identity},
    key::Minted,
    user::User,
};

/// The longest data-svc may take.
const LIMIT: Duration = Duration::from_secs(5);
/// A token of ours is used again while it is good for longer than this, in milliseconds.
const TOKEN_LEFT_MIN_MS: i64 = 30_000;

/// The way to data-svc, with our own identity.
pub(super) struct Principals {
    data: Link,
    // A lock, not a task: it is held to copy a string, never across an await.
    token: Mutex<Option<Minted>>,
}

impl Principals {
    pub(super) fn new(data: Link) -> Self {
        Self {
            data,
            token: Mutex::default(),
        }
    }

    /// The rights of a user; data-svc keeps the profile.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when data-svc does not tell: an error while deciding is never an answer
    /// about the user.
    pub(super) async fn resolve(
        &self,
        ctx: &Ctx,
        keyring: &Keyring,
        user: &User,
        platform_owner: bool,
        active_organization_id: Option<&str>,
    ) -> Result<Rights> {
        let message = ResolvePrincipalRequest {
            profile: Some(UserProfile {
                id: user.id.clone(),
                name: user.name.clone(),
                email: user.email.clone(),
                email_verified: user.email_verified,
                image: user.image.clone().unwrap_or_default(),
                disabled: user.ban_at(ctx.now).is_some(),
            }),
            platform_owner,
            active_organization_id: active_organization_id.unwrap_or_default().to_owned(),
        };
        let request = self.request(ctx, keyring, message)?;
        let answer = PrincipalServiceClient::new(self.data.clone())
            .resolve_principal(request)
            .await
            .map_err(|status| unresolved(&status))?
            .into_inner();
        Ok(Rights {
            organization_id: Some(answer.organization_id).filter(|id| !id.is_empty()),
            positions: answer.positions,
            permission_sets: answer.permission_sets,
            system_permissions: answer.system_permissions,
        })
    }

    /// Takes a user out of lookups.
    ///
    /// # Errors
    /// As [`Principals::resolve`].
    pub(super) async fn remove(&self, ctx: &Ctx, keyring: &Keyring, user_id: &str) -> Result<()> {
        let message = RemovePrincipalRequest {
            user_id: user_id.to_owned(),
        };
        let request = self.request(ctx, keyring, message)?;
        PrincipalServiceClient::new(self.data.clone())
            .remove_principal(request)
            .await
            .map_err(|status| unresolved(&status))?;
        Ok(())
    }

    fn request<T>(&self, ctx: &Ctx, keyring: &Keyring, message: T) -> Result<tonic::Request<T>> {
        let mut request = Ctx {
            caller: None,
            ..ctx.clone()
        }
        .request(message);
        request.set_timeout(ctx.remaining().min(LIMIT));
        mesh::ctx::set_bearer(&mut request, &self.own_token(keyring)?);
        Ok(request)
    }

    /// Our own token: made once in half a minute, so that data-svc verifies it once.
    fn own_token(&self, keyring: &Keyring) -> Result<String> {
        let mut held = self
            .token
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(minted) = &*held
            && minted.expires_at_ms > clock::unix_ms() + TOKEN_LEFT_MIN_MS
        {
            return Ok(minted.token.clone());
        }
        let minted = keyring.mint(service_identity("auth-svc", Purpose::ResolvePrincipal))?;
        let token = minted.token.clone();
        *held = Some(minted);
        Ok(token)
    }
}

fn unresolved(status: &tonic::Status) -> Error {
    let error = Error::from_status(status);
    tracing::warn!(error = %error, "data-svc does not resolve a user");
    match error.reason() {
        Reason::Timeout => error,
        _ => Error::unavailable("The service that knows the user's rights"),
    }
}
