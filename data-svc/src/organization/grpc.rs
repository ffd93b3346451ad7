//! `PrincipalService`: the rights of a user, for the service that issues identity tokens.

use std::sync::Arc;

use mesh::{Ctx, Error};
use proto::data::v1::{
    ListChangedPrincipalsRequest, ListChangedPrincipalsResponse, RemovePrincipalRequest,
    RemovePrincipalResponse, ResolvePrincipalRequest, ResolvePrincipalResponse,
    principal_service_server::PrincipalService,
};
use tonic::{Request, Response, Status};

use super::{Profile, changed_principals, remove, resolve};
use crate::{kernel::Kernel, metadata::catalog::Catalog};

/// Serves principals to auth-svc.
pub struct Principals {
    /// The pipeline to records.
    pub kernel: Kernel,
    /// The metadata in force and what its revisions changed.
    pub catalog: Arc<Catalog>,
    /// The permission set of users who hold no other, where the operator names one; empty for none.
    pub fallback: Option<Arc<str>>,
}

#[tonic::async_trait]
impl PrincipalService for Principals {
    async fn resolve_principal(
        &self,
        request: Request<ResolvePrincipalRequest>,
    ) -> Result<Response<ResolvePrincipalResponse>, Status> {
        Ctx::of(&request)?.identity()?;
        let request = request.into_inner();
        let profile = request
            .profile
            .filter(|profile| !profile.id.is_empty())
            .ok_or_else(|| {
                Error::validation("INVALID_REQUEST", "The profile must name the user")
            })?;
        let profile = Profile {
            id: profile.id,
            name: profile.name,
            email: profile.email,
            email_verified: profile.email_verified,
            image: profile.image,
            disabled: profile.disabled,
        };
        let organization = &request.active_organization_id;
        let (fallback, is_owner) = (self.fallback.as_deref(), request.platform_owner);
        let resolving = resolve(&self.kernel, fallback, &profile, is_owner, organization);
        let rights = Box::pin(resolving).await?;
        Ok(Response::new(ResolvePrincipalResponse {
            organization_id: rights.organization_id,
            positions: rights.positions,
            permission_sets: rights.permission_sets,
            system_permissions: rights.system_permissions,
        }))
    }

    async fn remove_principal(
        &self,
        request: Request<RemovePrincipalRequest>,
    ) -> Result<Response<RemovePrincipalResponse>, Status> {
        Ctx::of(&request)?.identity()?;
        remove(&self.kernel, &request.into_inner().user_id).await?;
        Ok(Response::new(RemovePrincipalResponse {}))
    }

    async fn list_changed_principals(
        &self,
        request: Request<ListChangedPrincipalsRequest>,
    ) -> Result<Response<ListChangedPrincipalsResponse>, Status> {
        Ctx::of(&request)?.identity()?;
        let (fallback, message) = (self.fallback.as_deref(), request.into_inner());
        let changed = changed_principals(&self.kernel, &self.catalog, fallback, message);
        Ok(Response::new(changed.await?))
    }
}
