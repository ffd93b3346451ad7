//! auth-svc as far as ai-svc knows it: signs what it is asked for, for users with every right of the
//! AI surface.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mesh::identity::{Actor, Claims, Identity, Kind, Purpose, TOKEN_TYPE};
use proto::auth::v1::{
    ExchangeCredentialRequest, ExchangeCredentialResponse, IssueDelegatedTokenRequest,
    IssueDelegatedTokenResponse, IssueServiceTokenRequest, IssueServiceTokenResponse,
    ListSigningKeysRequest, ListSigningKeysResponse, SigningKey as PublicKey,
    identity_service_server::IdentityService,
};
use tonic::{Request, Response, Status};

const SEED: [u8; 32] = [7; 32];
const KID: &str = "test";
/// What stands before the seed in a PKCS #8 document of Ed25519 (RFC 8410 §7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The fake.
#[derive(Clone)]
pub(crate) struct FakeAuth(Arc<EncodingKey>);

impl Default for FakeAuth {
    fn default() -> Self {
        let der = [PKCS8_PREFIX.as_slice(), &SEED].concat();
        Self(Arc::new(EncodingKey::from_ed_der(&der)))
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
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(KID.to_owned());
        let claims = Claims::new(identity);
        let token = jsonwebtoken::encode(&header, &claims, &self.0).unwrap();
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
