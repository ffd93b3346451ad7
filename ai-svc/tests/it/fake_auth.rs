//! auth-svc as far as ai-svc knows it: signs what it is asked for, for users with every right of the
//! AI surface.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use mesh::identity::{Actor, Claims, Identity, Kind, Purpose, TokenSigner};
use proto::auth::v1::{
    ExchangeCredentialRequest, ExchangeCredentialResponse, IssueDelegatedTokenRequest,
    IssueDelegatedTokenResponse, IssueServiceTokenRequest, IssueServiceTokenResponse,
    ListSigningKeysRequest, ListSigningKeysResponse, SigningKey as PublicKey,
    identity_service_server::IdentityService,
};
use tonic::{Request, Response, Status};

const SEED: [u8; 32] = [7; 32];
const KID: &str = "test";
/// The fake.
#[derive(Clone)]
pub(crate) struct FakeAuth(Arc<TokenSigner>);

impl Default for FakeAuth {
    fn default() -> Self {
        Self(Arc::new(TokenSigner::new(KID, &SEED)))
    }
}

/// Somebody who may use all of the AI surface.
pub(crate) fn user(id: &str) -> Identity {
    let permissions = ["ai:chat", "ai:read", "ai:approve"];
    Identity {
        subject: id.to_owned(),
        system_permissions: permissions.map(str::to_owned).to_vec(),
        ..Identity::nobody(Kind::User)
    }
}

impl FakeAuth {
    /// A token of that identity, and when it ends.
    pub(crate) fn token(&self, identity: Identity) -> (String, i64) {
        let claims = Claims::new(identity);
        let token = self.0.sign(&claims).unwrap();
        (token, claims.exp * 1000)
    }
}

#[tonic::async_trait]
impl IdentityService for FakeAuth {
    async fn exchange_credential(
        &self,
        _request: Request<ExchangeCredentialRequest>,
    ) -> Result<Response<ExchangeCredentialResponse>, Status> {
        Err(Status::unimplemented("users come with identity tokens"))
    }

    async fn issue_service_token(
        &self,
        request: Request<IssueServiceTokenRequest>,
    ) -> Result<Response<IssueServiceTokenResponse>, Status> {
        let asked = request.into_inner();
        let (identity_token, expires_at_ms) = self.token(Identity {
            subject: asked.service,
            purpose: Purpose::parse(&asked.reason),
            ..Identity::nobody(Kind::Service)
        });
        Ok(Response::new(IssueServiceTokenResponse {
            identity_token,
            expires_at_ms,
        }))
    }

    async fn issue_delegated_token(
        &self,
        request: Request<IssueDelegatedTokenRequest>,
    ) -> Result<Response<IssueDelegatedTokenResponse>, Status> {
        let asked = request.into_inner();
        let (identity_token, expires_at_ms) = self.token(Identity {
            actor: Some(Actor {
                service: "ai-svc".to_owned(),
                run_id: asked.run_id,
                reason: asked.reason,
            }),
            ..user(&asked.user_id)
        });
        Ok(Response::new(IssueDelegatedTokenResponse {
            identity_token,
            expires_at_ms,
        }))
    }

    async fn list_signing_keys(
        &self,
        _request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        let public = SigningKey::from_bytes(&SEED).verifying_key().to_bytes();
        Ok(Response::new(ListSigningKeysResponse {
            keys: vec![PublicKey {
                kid: KID.to_owned(),
                public_key: public.to_vec().into(),
            }],
        }))
    }
}
