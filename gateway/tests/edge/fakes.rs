//! Small services that echo what reached them, behind real nodes and guards.

use std::{sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use mesh::{
    Ctx, Error, Link, Node,
    error::Reason,
    guard::Guard,
    identity::{Claims, Identity, Kind, TokenSigner},
    openapi::Contract,
    resolver::{Resolver, Tier},
    tasks::Tasks,
};
use proto::{
    auth::v1::{
        auth_service_server::AuthService, auth_service_server::AuthServiceServer,
        exchange_credential_request::Credential, identity_service_server::IdentityService,
        identity_service_server::IdentityServiceServer,
        user_admin_service_server::UserAdminService,
        user_admin_service_server::UserAdminServiceServer, *,
    },
    data::v1::{
        metadata_service_server::MetadataService, metadata_service_server::MetadataServiceServer,
        record_service_server::RecordService, record_service_server::RecordServiceServer, *,
    },
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tonic::{Request, Response, Status, service::Routes};

const SEED: [u8; 32] = [7; 32];

/// A good session token, as bearer and (with a signature) as cookie.
pub(crate) const TOKEN: &str = "session-token-of-ann";
/// The cookie of that session.
pub(crate) const COOKIE: &str = "better-auth.session_token=session-token-of-ann.signature";
/// A good API key that may only read data.
pub(crate) const KEY: &str = "osk_reads_only";

/// The services of a test mesh, in this process.
pub(crate) async fn peers() -> gateway::Peers {
    let auth = Link::unbound();
    let data = Link::unbound();
    let routes = Routes::new(IdentityServiceServer::new(Fake))
        .add_service(AuthServiceServer::new(Fake))
        .add_service(UserAdminServiceServer::new(Fake));
    auth.bind(node("auth-svc", routes, &auth).await.local());
    let routes =
        Routes::new(RecordServiceServer::new(Fake)).add_service(MetadataServiceServer::new(Fake));
    data.bind(node("data-svc", routes, &auth).await.local());
    let (flow, ai) = (Link::unbound(), Link::unbound());
    let nothing = Routes::default;
    flow.bind(node("flow-svc", nothing(), &auth).await.local());
    ai.bind(node("ai-svc", nothing(), &auth).await.local());
    gateway::Peers {
        auth,
        data,
        flow,
        ai,
    }
}

/// A data-svc on a socket, for what only happens between processes.
pub(crate) async fn data_node(auth: &Link) -> Node {
    node(
        "data-svc",
        Routes::new(RecordServiceServer::new(Fake)),
        auth,
    )
    .await
}

async fn node(name: &'static str, routes: Routes, auth: &Link) -> Node {
    let resolver = Resolver::new(Tier::Service, auth.clone(), None);
    let guard = Guard::new(name, resolver, false).unwrap();
    let package = name.replace("-svc", ".");
    let contract = Contract::of(&format!("objectmesh.{package}")).unwrap();
    Node::new(name, routes, guard, Tasks::default(), Arc::new(contract))
        .await
        .unwrap()
}

/// A request to the object `gated` has arrived.
pub(crate) static ARRIVED: Notify = Notify::const_new();
/// It may go on.
pub(crate) static GO: Notify = Notify::const_new();

struct Fake;

/// Characters of the one record of the object `big`.
const BIG: usize = 2 * 1024 * 1024;

/// What reached the service beside the message.
fn context<T>(request: &Request<T>) -> Value {
    let ctx = Ctx::of(request).unwrap();
    json!({
        "subject": ctx.caller.as_ref().map(|caller| caller.identity.subject.clone()),
        "requestId": &*ctx.request_id,
        "json": ctx.records_as_json,
        "address": ctx.client_address,
        "userAgent": ctx.user_agent,
        "secondsLeft": ctx.remaining().as_secs(),
        "cookie": request.metadata().get("cookie").is_some(),
        "forwarded": request.metadata().get("x-forwarded-for").is_some(),
    })
}

fn record(id: &str, version: i64, fields: &Value) -> Record {
    Record {
        id: id.to_owned(),
        version,
        body: Some(record::Body::Json(fields.to_string().into())),
    }
}

#[tonic::async_trait]
impl RecordService for Fake {
    async fn list_records(
        &self,
        request: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        let context = context(&request);
        let asked = request.into_inner();
        let filters: Vec<Value> = asked
            .filters
            .iter()
            .map(|filter| json!([filter.name, filter.value]))
            .collect();
        let echo = json!({
            "object": asked.object, "where": asked.r#where, "orderBy": asked.order_by,
            "limit": asked.limit, "count": asked.count, "filters": filters, "context": context,
        });
        match asked.object.as_str() {
            "gated" => {
                ARRIVED.notify_one();
                GO.notified().await;
            }
            "hang" => std::future::pending().await,
            "big" => {
                let items = vec![record("r1", 1, &json!({"text": "x".repeat(BIG)}))];
                return Ok(Response::new(ListRecordsResponse {
                    items,
                    ..ListRecordsResponse::default()
                }));
            }
            "panic" => panic!("on purpose"),
            "broken" => return Err(Error::internal(anyhow::anyhow!("SELECT secret")).into()),
            "foreign" => return Err(Status::cancelled("h2 protocol error")),
            "busy" => {
                let error = Error::new(Reason::RateLimited, "Too many").with("retryAfter", 7);
                return Err(error.into());
            }
            "readonly" => {
                let error = Error::new(Reason::MethodNotAllowed, "Not in apiMethods")
                    .with("allowed", vec!["get"]);
                return Err(error.into());
            }
            _ => {}
        }
        Ok(Response::new(ListRecordsResponse {
            items: vec![
                record("r1", 1, &echo),
                Record {
                    id: "r2".to_owned(),
                    version: 2,
                    body: Some(record::Body::Json(
                        r#"{"big":12345678901234567890.5}"#.into(),
                    )),
                },
            ],
            total: (asked.count != Some(false)).then_some(9_007_199_254_740_993),
            next_cursor: None,
        }))
    }

    async fn query_records(
        &self,
        request: Request<QueryRecordsRequest>,
    ) -> Result<Response<QueryRecordsResponse>, Status> {
        let asked = request.into_inner();
        Ok(Response::new(QueryRecordsResponse {
            items: Vec::new(),
            total: None,
            next_cursor: Some(String::from_utf8_lossy(&asked.query).into_owned()),
        }))
    }

    async fn get_record(
        &self,
        request: Request<GetRecordRequest>,
    ) -> Result<Response<GetRecordResponse>, Status> {
        let asked = request.into_inner();
        if asked.id == "absent" {
            let error = Error::not_found("RECORD_NOT_FOUND", "No such record")
                .with("object", asked.object)
                .with("id", asked.id);
            return Err(error.into());
        }
        let version = if asked.id == "unversioned" { 0 } else { 7 };
        let fields = json!({"id": asked.id, "object": asked.object});
        Ok(Response::new(GetRecordResponse {
            record: Some(record(&asked.id, version, &fields)),
        }))
    }

    async fn create_record(
        &self,
        request: Request<CreateRecordRequest>,
    ) -> Result<Response<CreateRecordResponse>, Status> {
        let asked = request.into_inner();
        match asked.object.as_str() {
            "gated" => {
                ARRIVED.notify_one();
                GO.notified().await;
            }
            "hang" => std::future::pending().await,
            _ => {}
        }
        let body = String::from_utf8_lossy(&asked.record).into_owned();
        let fields = json!({"got": body, "key": asked.idempotency_key});
        Ok(Response::new(CreateRecordResponse {
            record: Some(record("a b/c", 1, &fields)),
        }))
    }

    async fn update_record(
        &self,
        request: Request<UpdateRecordRequest>,
    ) -> Result<Response<UpdateRecordResponse>, Status> {
        let asked = request.into_inner();
        if asked.if_match == "\"1\"" {
            let error = Error::new(Reason::ConcurrentUpdate, "Record was modified")
                .with("currentVersion", 8);
            return Err(error.into());
        }
        let fields = json!({"ifMatch": asked.if_match, "id": asked.id});
        Ok(Response::new(UpdateRecordResponse {
            record: Some(record(&asked.id, 8, &fields)),
        }))
    }

    async fn delete_record(
        &self,
        request: Request<DeleteRecordRequest>,
    ) -> Result<Response<DeleteRecordResponse>, Status> {
        let asked = request.into_inner();
        Ok(Response::new(DeleteRecordResponse {
            object: asked.object,
            id: asked.id,
            success: true,
        }))
    }
}

#[tonic::async_trait]
impl MetadataService for Fake {
    async fn list_metadata_names(
        &self,
        _request: Request<ListMetadataNamesRequest>,
    ) -> Result<Response<ListMetadataNamesResponse>, Status> {
        Ok(Response::new(ListMetadataNamesResponse::default()))
    }

    async fn list_metadata_types(
        &self,
        _request: Request<ListMetadataTypesRequest>,
    ) -> Result<Response<ListMetadataTypesResponse>, Status> {
        Ok(Response::new(ListMetadataTypesResponse {
            types: vec!["object".to_owned()],
            entries: vec![MetadataType {
                r#type: "object".to_owned(),
                ..MetadataType::default()
            }],
        }))
    }

    async fn list_metadata_items(
        &self,
        _request: Request<ListMetadataItemsRequest>,
    ) -> Result<Response<ListMetadataItemsResponse>, Status> {
        Ok(Response::new(ListMetadataItemsResponse::default()))
    }

    async fn get_metadata_item(
        &self,
        request: Request<GetMetadataItemRequest>,
    ) -> Result<Response<GetMetadataItemResponse>, Status> {
        let asked = request.into_inner();
        let fresh = asked.if_none_match == "\"abc\"";
        Ok(Response::new(GetMetadataItemResponse {
            r#type: asked.r#type,
            name: asked.name,
            item: r#"{"label":"Lead"}"#.into(),
            bare: (asked.bare == Some(true)).then(|| r#"{"label":"Lead"}"#.into()),
            etag: "abc".to_owned(),
            last_modified: "Tue, 24 Nov 2026 12:00:00 GMT".to_owned(),
            http_status: if fresh { 304 } else { 0 },
        }))
    }

    async fn list_metadata_references(
        &self,
        _request: Request<ListMetadataReferencesRequest>,
    ) -> Result<Response<ListMetadataReferencesResponse>, Status> {
        no()
    }
}

fn user() -> User {
    User {
        id: "u1".to_owned(),
        name: "Ann".to_owned(),
        email: "ann@example.org".to_owned(),
        created_at: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 120_000_000,
        }),
        ..User::default()
    }
}

fn no<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl AuthService for Fake {
    async fn sign_in_email(
        &self,
        request: Request<SignInEmailRequest>,
    ) -> Result<Response<SignInEmailResponse>, Status> {
        let asked = request.into_inner();
        if asked.password != "correct horse" {
            let message = "Invalid email or password";
            return Err(Error::new(Reason::InvalidEmailOrPassword, message).into());
        }
        let mut response = Response::new(SignInEmailResponse {
            redirect: asked.callback_url.is_some(),
            token: TOKEN.to_owned(),
            user: Some(user()),
            url: asked.callback_url,
            set_auth_token: TOKEN.to_owned(),
        });
        for cookie in ["a=1; HttpOnly", "b=2; HttpOnly"] {
            let metadata = response.metadata_mut();
            metadata.append("http-set-cookie", cookie.parse().unwrap());
        }
        Ok(response)
    }

    async fn sign_out(
        &self,
        request: Request<SignOutRequest>,
    ) -> Result<Response<SignOutResponse>, Status> {
        Ok(Response::new(SignOutResponse {
            success: Ctx::of(&request)?.caller.is_some(),
        }))
    }

    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        let signed_in = Ctx::of(&request)?.caller.is_some();
        Ok(Response::new(GetSessionResponse {
            current: signed_in.then(|| CurrentSession {
                session: Some(Session::default()),
                user: Some(user()),
            }),
        }))
    }

    async fn list_sessions(
        &self,
        _request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        // A route that may not set cookies, and tries.
        let mut response = Response::new(ListSessionsResponse::default());
        let metadata = response.metadata_mut();
        metadata.append("http-set-cookie", "evil=1".parse().unwrap());
        Ok(response)
    }

    async fn update_user(
        &self,
        _request: Request<UpdateUserRequest>,
    ) -> Result<Response<UpdateUserResponse>, Status> {
        Ok(Response::new(UpdateUserResponse { status: true }))
    }

    async fn get_auth_status(
        &self,
        _request: Request<GetAuthStatusRequest>,
    ) -> Result<Response<GetAuthStatusResponse>, Status> {
        Ok(Response::new(GetAuthStatusResponse { ok: true }))
    }

    async fn sign_up_email(
        &self,
        _: Request<SignUpEmailRequest>,
    ) -> Result<Response<SignUpEmailResponse>, Status> {
        no()
    }
    async fn revoke_session(
        &self,
        _: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        no()
    }
    async fn revoke_sessions(
        &self,
        _: Request<RevokeSessionsRequest>,
    ) -> Result<Response<RevokeSessionsResponse>, Status> {
        no()
    }
    async fn revoke_other_sessions(
        &self,
        _: Request<RevokeOtherSessionsRequest>,
    ) -> Result<Response<RevokeOtherSessionsResponse>, Status> {
        no()
    }
    async fn change_password(
        &self,
        _: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        no()
    }
    async fn get_bootstrap_status(
        &self,
        _: Request<GetBootstrapStatusRequest>,
    ) -> Result<Response<GetBootstrapStatusResponse>, Status> {
        no()
    }
    async fn get_auth_config(
        &self,
        _: Request<GetAuthConfigRequest>,
    ) -> Result<Response<GetAuthConfigResponse>, Status> {
        no()
    }
}

#[tonic::async_trait]
impl UserAdminService for Fake {
    async fn create_user(
        &self,
        _: Request<CreateUserRequest>,
    ) -> Result<Response<CreateUserResponse>, Status> {
        no()
    }
    async fn list_users(
        &self,
        _: Request<ListUsersRequest>,
    ) -> Result<Response<ListUsersResponse>, Status> {
        no()
    }
    async fn set_user_password(
        &self,
        _: Request<SetUserPasswordRequest>,
    ) -> Result<Response<SetUserPasswordResponse>, Status> {
        no()
    }
    async fn ban_user(
        &self,
        _: Request<BanUserRequest>,
    ) -> Result<Response<BanUserResponse>, Status> {
        no()
    }
    async fn unban_user(
        &self,
        _: Request<UnbanUserRequest>,
    ) -> Result<Response<UnbanUserResponse>, Status> {
        no()
    }
    async fn remove_user(
        &self,
        _: Request<RemoveUserRequest>,
    ) -> Result<Response<RemoveUserResponse>, Status> {
        no()
    }
}

#[tonic::async_trait]
impl IdentityService for Fake {
    async fn exchange_credential(
        &self,
        request: Request<ExchangeCredentialRequest>,
    ) -> Result<Response<ExchangeCredentialResponse>, Status> {
        let identity = match request.into_inner().credential {
            Some(Credential::Bearer(token)) if token == TOKEN => ann(),
            Some(Credential::Cookie(value)) if value == format!("{TOKEN}.signature") => ann(),
            Some(Credential::ApiKey(key)) if key == KEY => Identity {
                session_id: None,
                key_id: Some("k-ann".to_owned()),
                scopes: Some(vec!["data:read".to_owned()]),
                ..ann()
            },
            _ => return Err(Error::unauthenticated("The credential is not valid").into()),
        };
        let identity_token = identity_token(identity);
        Ok(Response::new(ExchangeCredentialResponse {
            identity_token,
            expires_at_ms: mesh::clock::unix_ms() + 60_000,
        }))
    }

    async fn issue_service_token(
        &self,
        _: Request<IssueServiceTokenRequest>,
    ) -> Result<Response<IssueServiceTokenResponse>, Status> {
        no()
    }

    async fn issue_delegated_token(
        &self,
        _: Request<IssueDelegatedTokenRequest>,
    ) -> Result<Response<IssueDelegatedTokenResponse>, Status> {
        no()
    }

    async fn list_signing_keys(
        &self,
        _request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        let public_key = SigningKey::from_bytes(&SEED).verifying_key();
        Ok(Response::new(ListSigningKeysResponse {
            keys: vec![proto::auth::v1::SigningKey {
                kid: "k1".to_owned(),
                public_key: public_key.to_bytes().to_vec().into(),
            }],
        }))
    }
}

/// Ann, signed in.
pub(crate) fn ann() -> Identity {
    Identity {
        subject: "ann".to_owned(),
        kind: Kind::User,
        name: "Ann".to_owned(),
        email: "ann@example.org".to_owned(),
        session_id: Some("s1".to_owned()),
        permission_sets: vec!["member_default".to_owned()],
        ..Identity::nobody(Kind::User)
    }
}

/// An identity token as auth-svc signs it.
pub(crate) fn identity_token(identity: Identity) -> String {
    TokenSigner::new("k1", &SEED)
        .sign(&Claims::new(identity))
        .unwrap()
}

/// Longer than anything in a test takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);
