//! `IdentityService`.

use std::sync::Arc;

use mesh::{Ctx, Error};
use proto::auth::v1::{
    ExchangeCredentialRequest, ExchangeCredentialResponse, IssueDelegatedTokenRequest,
    IssueDelegatedTokenResponse, IssueServiceTokenRequest, IssueServiceTokenResponse,
    ListSigningKeysRequest, ListSigningKeysResponse, SigningKey,
    exchange_credential_request::Credential as Wire, identity_service_server::IdentityService,
};
use tonic::{Request, Response, Status};

use crate::{
    app::{self, App, Credential, Work},
    domain::proof::Claim,
};

/// Serves `IdentityService`.
pub(crate) struct IdentityRpc(pub Arc<App>);

#[tonic::async_trait]
impl IdentityService for IdentityRpc {
    async fn exchange_credential(
        &self,
        request: Request<ExchangeCredentialRequest>,
    ) -> Result<Response<ExchangeCredentialResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let credential = match &request.get_ref().credential {
            Some(Wire::Bearer(text)) => Credential::Bearer(text),
            Some(Wire::Cookie(value)) => Credential::Cookie(value),
            Some(Wire::ApiKey(text)) => Credential::ApiKey(text),
            None => return Err(Error::unauthenticated("Authentication required").into()),
        };
        let minted = app::exchange::exchange(&self.0, &ctx, credential).await?;
        Ok(Response::new(ExchangeCredentialResponse {
            identity_token: minted.token,
            expires_at_ms: minted.expires_at_ms,
        }))
    }

    async fn issue_service_token(
        &self,
        request: Request<IssueServiceTokenRequest>,
    ) -> Result<Response<IssueServiceTokenResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.get_ref();
        let claim = Claim {
            service: &asked.service,
            reason: &asked.reason,
            at_ms: asked.at_ms,
        };
        let minted = app::exchange::issue_service_token(&self.0, &ctx, claim, &asked.proof).await?;
        Ok(Response::new(IssueServiceTokenResponse {
            identity_token: minted.token,
            expires_at_ms: minted.expires_at_ms,
        }))
    }

    async fn issue_delegated_token(
        &self,
        request: Request<IssueDelegatedTokenRequest>,
    ) -> Result<Response<IssueDelegatedTokenResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.get_ref();
        let work = Work {
            user_id: &asked.user_id,
            session_id: given(&asked.session_id),
            key_id: given(&asked.key_id),
            while_waiting: asked.while_waiting,
            organization_id: given(&asked.organization_id),
            scopes: asked.scopes.clone().map(|scopes| scopes.names),
            run_id: &asked.run_id,
            reason: &asked.reason,
        };
        let minted = app::delegate::issue_delegated_token(&self.0, &ctx, work).await?;
        Ok(Response::new(IssueDelegatedTokenResponse {
            identity_token: minted.token,
            expires_at_ms: minted.expires_at_ms,
        }))
    }

    async fn list_signing_keys(
        &self,
        _request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        let keys = app::exchange::signing_keys(&self.0).await?;
        let keys = keys.iter().map(|key| SigningKey {
            kid: key.kid.clone(),
            public_key: key.public.to_vec().into(),
        });
        Ok(Response::new(ListSigningKeysResponse {
            keys: keys.collect(),
        }))
    }
}

/// A text that is not empty.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
