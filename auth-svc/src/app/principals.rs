//! Asking data-svc what a user may do, and telling it who there is.

use std::time::Duration;

use mesh::{
    Ctx, Error, Link, Result, error::Reason, identity::Purpose, service_identity::ServiceIdentity,
};
use proto::data::v1::{
    RemovePrincipalRequest, ResolvePrincipalRequest, UserProfile,
    principal_service_client::PrincipalServiceClient,
};

use crate::domain::{identity::Rights, user::User};

/// The longest data-svc may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The way to data-svc, with our own identity.
pub(super) struct Principals {
    data: Link,
    own: ServiceIdentity,
}

impl Principals {
    pub(super) fn new(data: Link, own: ServiceIdentity) -> Self {
        Self { data, own }
    }

    /// The rights of a user; data-svc keeps the profile.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when data-svc does not tell: an error while deciding is never an answer
    /// about the user.
    pub(super) async fn resolve(
        &self,
        ctx: &Ctx,
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
        let request = self.request(ctx, message).await?;
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
    pub(super) async fn remove(&self, ctx: &Ctx, user_id: &str) -> Result<()> {
        let message = RemovePrincipalRequest {
            user_id: user_id.to_owned(),
        };
        let request = self.request(ctx, message).await?;
        PrincipalServiceClient::new(self.data.clone())
            .remove_principal(request)
            .await
            .map_err(|status| unresolved(&status))?;
        Ok(())
    }

    async fn request<T>(&self, ctx: &Ctx, message: T) -> Result<tonic::Request<T>> {
        let purpose = Purpose::ResolvePrincipal;
        let mut request = self.own.request_within(ctx, purpose, message).await?;
        request.set_timeout(ctx.remaining().min(LIMIT));
        Ok(request)
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
