//! auth-svc as far as flow-svc knows it: signs what it is asked for, and remembers for whom it was asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use futures::{StreamExt as _, stream::BoxStream};
use mesh::{
    Error, Link,
    guard::Guard,
    identity::{Actor, Claims, Identity, Kind, Purpose, TokenSigner},
    resolver::{Resolver, Tier},
};
use proto::auth::v1::{
    ExchangeCredentialRequest, ExchangeCredentialResponse, IssueDelegatedTokenRequest,
    IssueDelegatedTokenResponse, IssueServiceTokenRequest, IssueServiceTokenResponse,
    ListSigningKeysRequest, ListSigningKeysResponse, SigningKey as PublicKey,
    WatchRevocationsRequest, WatchRevocationsResponse,
    identity_service_server::{IdentityService, IdentityServiceServer},
    revocation_service_server::{RevocationService, RevocationServiceServer},
};
use tonic::{Request, Response, Status, service::Routes};
use tower::Layer as _;

const SEED: [u8; 32] = [7; 32];
const KID: &str = "test";
/// How often the feed of revocations says that there are none; its readers give up a silent one.
const FEED_EVERY: Duration = Duration::from_secs(1);

/// The fake. Clones share their state.
#[derive(Clone)]
pub(crate) struct FakeAuth {
    signer: Arc<TokenSigner>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Tokens that were asked for work of users.
    pub delegated: Vec<IssueDelegatedTokenRequest>,
    /// Users whose work has to end, and why: `details.reason` of the refusal.
    pub ended: HashMap<String, &'static str>,
    /// Whether delegated tokens cannot be had now.
    pub away: bool,
}

impl Default for FakeAuth {
    fn default() -> Self {
        Self {
            signer: Arc::new(TokenSigner::new(KID, &SEED)),
            state: Arc::default(),
        }
    }
}

/// Somebody of that id; `root` is an administrator, and `nell` may announce.
pub(crate) fn user(id: &str) -> Identity {
    let permissions: &[&str] = if id == "nell" { &["announce"] } else { &[] };
    let sets: &[&str] = match id {
        "root" => &[mesh::identity::ADMIN_PERMISSION_SET],
        _ => &[],
    };
    let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect();
    Identity {
        subject: id.to_owned(),
        email: format!("{id}@example.com"),
        organization_id: Some("org1".to_owned()),
        system_permissions: owned(permissions),
        permission_sets: owned(sets),
        ..Identity::nobody(Kind::User)
    }
}

impl FakeAuth {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A token of that identity, and when it ends.
    pub(crate) fn token(&self, identity: Identity) -> (String, i64) {
        let claims = Claims::new(identity);
        let token = self.signer.sign(&claims).unwrap();
        (token, claims.exp * 1000)
    }

    /// Binds it behind its guard, which verifies callers by its own keys.
    pub(crate) fn bind(&self, link: &Link) {
        let resolver = Resolver::new(Tier::Service, link.clone(), None);
        let guard = Guard::new("auth-svc", resolver, false).unwrap();
        let routes = Routes::default()
            .add_service(IdentityServiceServer::new(self.clone()))
            .add_service(RevocationServiceServer::new(self.clone()));
        link.bind(guard.layer(routes.prepare()));
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
        {
            let mut state = self.state();
            state.delegated.push(asked.clone());
            if state.away {
                return Err(Error::unavailable("auth-svc").into());
            }
            if let Some(reason) = state.ended.get(&asked.user_id) {
                return Err(Error::denied("The work has to end")
                    .with("reason", *reason)
                    .into());
            }
        }
        let (identity_token, expires_at_ms) = self.token(Identity {
            actor: Some(Actor {
                service: "flow-svc".to_owned(),
                run_id: asked.run_id,
                reason: asked.reason,
            }),
            scopes: asked.scopes.map(|scopes| scopes.names),
            organization_id: Some(asked.organization_id).filter(|id| !id.is_empty()),
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

#[tonic::async_trait]
impl RevocationService for FakeAuth {
    type WatchRevocationsStream = BoxStream<'static, Result<WatchRevocationsResponse, Status>>;

    async fn watch_revocations(
        &self,
        _request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let told = futures::stream::unfold(true, async |is_first| {
            if !is_first {
                tokio::time::sleep(FEED_EVERY).await;
            }
            Some((Ok(WatchRevocationsResponse::default()), false))
        });
        Ok(Response::new(told.boxed()))
    }
}
