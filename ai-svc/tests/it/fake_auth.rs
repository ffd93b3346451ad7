//! auth-svc as far as ai-svc knows it: signs what it is asked for, for users with every right of the
//! AI surface, ends sessions, and remembers for what work it issued tokens.

use std::sync::{Arc, Mutex, MutexGuard};

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
    ListSigningKeysRequest, ListSigningKeysResponse, Revocation, RevocationKind,
    SigningKey as PublicKey, WatchRevocationsRequest, WatchRevocationsResponse,
    identity_service_server::{IdentityService, IdentityServiceServer},
    revocation_service_server::{RevocationService, RevocationServiceServer},
};
use tokio::sync::watch;
use tonic::{Request, Response, Status, service::Routes};
use tower::Layer as _;

const SEED: [u8; 32] = [7; 32];
const KID: &str = "test";
/// How often the feed of revocations says that it lives; its readers give up a silent one.
const FEED_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// The fake. Clones share their state.
#[derive(Clone)]
pub(crate) struct FakeAuth {
    signer: Arc<TokenSigner>,
    state: Arc<Mutex<State>>,
    /// Sessions that have ended, in order.
    ended: watch::Sender<Vec<String>>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Tokens that were asked for work of users.
    pub delegated: Vec<IssueDelegatedTokenRequest>,
    /// When set, no work of users may go on: `details.reason` of the refusal.
    pub refused: Option<&'static str>,
}

impl Default for FakeAuth {
    fn default() -> Self {
        Self {
            signer: Arc::new(TokenSigner::new(KID, &SEED)),
            state: Arc::default(),
            ended: watch::Sender::default(),
        }
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
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Ends a session: everybody is told, and no work goes on for whom it made wait.
    pub(crate) fn end_session(&self, id: &str) {
        self.state().refused = Some("SESSION_ENDED");
        self.ended.send_modify(|ended| ended.push(id.to_owned()));
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

    /// A token of that identity, and when it ends.
    pub(crate) fn token(&self, identity: Identity) -> (String, i64) {
        let claims = Claims::new(identity);
        let token = self.signer.sign(&claims).unwrap();
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
        {
            let mut state = self.state();
            state.delegated.push(asked.clone());
            if let Some(reason) = state.refused {
                let refused = Error::denied("The work has to end");
                return Err(refused.with("reason", reason).into());
            }
        }
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

#[tonic::async_trait]
impl RevocationService for FakeAuth {
    type WatchRevocationsStream = BoxStream<'static, Result<WatchRevocationsResponse, Status>>;

    async fn watch_revocations(
        &self,
        _request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let ended = self.ended.subscribe();
        let told = futures::stream::unfold((ended, true), async |(mut ended, is_first)| {
            if !is_first {
                // Whether something ended or not, the feed says that it lives.
                let _in_time = tokio::time::timeout(FEED_EVERY, ended.changed()).await;
            }
            let sessions = ended.borrow_and_update().clone();
            let revocations = sessions.into_iter().zip(1..);
            let revocations = revocations.map(|(subject, position)| Revocation {
                position,
                kind: RevocationKind::Session.into(),
                subject,
            });
            let revocations: Vec<_> = revocations.collect();
            let told = WatchRevocationsResponse {
                position: revocations.last().map_or(0, |last| last.position),
                revocations,
            };
            Some((Ok(told), (ended, false)))
        });
        Ok(Response::new(told.boxed()))
    }
}
