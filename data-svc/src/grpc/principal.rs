//! `PrincipalService`: the rights of a user, for the service that issues identity tokens.

use mesh::{Ctx, Error, Result};
use proto::data::v1::{
    ListChangedPrincipalsRequest, ListChangedPrincipalsResponse, RemovePrincipalRequest,
    RemovePrincipalResponse, ResolvePrincipalRequest, ResolvePrincipalResponse,
    principal_service_server::PrincipalService,
};
use tonic::{Request, Response, Status};

use crate::engine::{Engine, principal};

/// Serves principals to auth-svc.
pub struct Principals {
    /// The engine.
    pub engine: Engine,
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
        let profile = principal::Profile {
            id: profile.id,
            name: profile.name,
            email: profile.email,
            email_verified: profile.email_verified,
            image: profile.image,
            disabled: profile.disabled,
        };
        let organization = &request.active_organization_id;
        let resolving =
            principal::resolve(&self.engine, &profile, request.platform_owner, organization);
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
        principal::remove(&self.engine, &request.into_inner().user_id).await?;
        Ok(Response::new(RemovePrincipalResponse {}))
    }

    async fn list_changed_principals(
        &self,
        request: Request<ListChangedPrincipalsRequest>,
    ) -> Result<Response<ListChangedPrincipalsResponse>, Status> {
        Ctx::of(&request)?.identity()?;
        let revision = self.engine.catalog.current().revision;
        // No history is kept to compare with, so that anybody's may have changed.
        let everybody = revision > request.get_ref().after_revision;
        Ok(Response::new(ListChangedPrincipalsResponse {
            revision,
            everybody,
            user_ids: Vec::new(),
        }))
    }
}
