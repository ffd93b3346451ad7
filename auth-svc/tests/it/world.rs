//! The world of one test: a database of its own, auth-svc over it, a fake data-svc.

use auth_svc::{Config, DEFAULTS, Peers, Sections};
use mesh::{
    Error, Link, Node,
    config::Secret,
    db::{Db, Row, Statement, Value},
    identity::{Identity, Verifier},
    process::Runtime,
    session::{SessionStore, State},
};
use proto::auth::v1::{
    self as pb, auth_service_client::AuthServiceClient, exchange_credential_request::Credential,
    identity_service_client::IdentityServiceClient,
    user_admin_service_client::UserAdminServiceClient,
};
use tempfile::TempDir;
use tonic::{Request, Response, Status, metadata::MetadataValue};

use crate::fake_data::FakeData;

pub(crate) const SECRET: &str = "an auth secret that is long enough for tests";
pub(crate) const MESH_SECRET: &str = "a mesh secret that is long enough for tests";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A test's world.
pub(crate) struct World {
    pub config: Config,
    pub data: FakeData,
    pub replica: Replica,
    pub dir: TempDir,
    schema: Option<Db>,
}

/// One auth-svc. Replicas share the database and, when cloned from one another, nothing else.
pub(crate) struct Replica {
    pub auth: Link,
    pub node: Node,
    pub sessions: SessionStore,
    _data: Node,
}

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Someone {
    pub id: String,
    pub token: String,
    pub cookie: String,
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("auth.db").display());
        Self::over(dir, &url, None).await
    }

    /// `None` without `TEST_POSTGRES_URL`.
    pub(crate) async fn postgres() -> Option<Self> {
        let url = std::env::var("TEST_POSTGRES_URL").ok()?;
        let schema = format!("auth_{}", mesh::id::new().to_lowercase());
        Some(Self::over(tempfile::tempdir().unwrap(), &url, Some(&schema)).await)
    }

    async fn over(dir: TempDir, url: &str, schema: Option<&str>) -> Self {
        let variables = [
            ("SECRET", SECRET),
            ("HASHING__QUEUE_MAX", "1000"),
            ("DB__URL", url),
        ];
        let mut variables: Vec<_> = variables
            .map(|(name, value)| (format!("OBJECTMESH__AUTH__{name}"), value.to_owned()))
            .into();
        if let Some(schema) = schema {
            variables.push(("OBJECTMESH__AUTH__DB__SCHEMA".to_owned(), schema.to_owned()));
        }
        let config = mesh::config::load::<Sections>(DEFAULTS, None, variables)
            .unwrap()
            .auth;
        let data = FakeData::default();
        let replica = Replica::start(config.clone(), &data, MESH_SECRET).await;
        let schema = match schema {
            Some(_) => Some(Db::open(&config.db).await.unwrap()),
            None => None,
        };
        Self {
            config,
            data,
            replica,
            dir,
            schema,
        }
    }

    /// Starts auth-svc again over the same database, with an empty session store.
    pub(crate) async fn restart(&mut self) {
        self.restart_with(|_| {}).await;
    }

    /// The same, with other settings.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.replica = Replica::start(self.config.clone(), &self.data, MESH_SECRET).await;
    }

    /// The same, with another mesh secret.
    pub(crate) async fn restart_with_secret(&mut self, mesh_secret: &str) {
        self.replica = Replica::start(self.config.clone(), &self.data, mesh_secret).await;
    }

    /// Another auth-svc over the same database.
    pub(crate) async fn second_replica(&self) -> Replica {
        Replica::start(self.config.clone(), &self.data, MESH_SECRET).await
    }

    /// The database, past auth-svc.
    pub(crate) async fn db(&self) -> Db {
        match &self.schema {
            Some(db) => db.clone(),
            None => Db::open(&self.config.db).await.unwrap(),
        }
    }

    /// Changes rows past auth-svc.
    pub(crate) async fn sql(&self, sql: &'static str, args: Vec<Value>) {
        let statement = Statement::with(sql, args);
        let changed = self.db().await.execute(statement).await.unwrap();
        assert!(changed > 0, "{sql} changed nothing");
    }

    /// A number from the database.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let one = |row: &Row<'_>| row.req_int(0);
        self.db()
            .await
            .query_one(Statement::new(sql), one)
            .await
            .unwrap()
    }

    /// Audit entries of an action.
    pub(crate) async fn audited(&self, action: &str) -> i64 {
        let sql = "SELECT count(*) FROM om_audit_log WHERE action = $1";
        let one = |row: &Row<'_>| row.req_int(0);
        self.db()
            .await
            .query_one(Statement::new(sql).bind(action), one)
            .await
            .unwrap()
    }

    pub(crate) fn auth(&self) -> AuthServiceClient<Link> {
        AuthServiceClient::new(self.replica.auth.clone())
    }

    pub(crate) fn admin(&self) -> UserAdminServiceClient<Link> {
        UserAdminServiceClient::new(self.replica.auth.clone())
    }

    pub(crate) fn identity(&self) -> IdentityServiceClient<Link> {
        IdentityServiceClient::new(self.replica.auth.clone())
    }

    pub(crate) async fn try_sign_up(&self, email: &str) -> Result<Someone, Error> {
        let request = pb::SignUpEmailRequest {
            name: "Ada".to_owned(),
            email: email.to_owned(),
            password: PASSWORD.to_owned(),
            ..Default::default()
        };
        let answer = self.auth().sign_up_email(request).await.map_err(error)?;
        let cookie = set_cookie(&answer).unwrap();
        let answer = answer.into_inner();
        Ok(Someone {
            id: answer.user.unwrap().id,
            token: answer.token.unwrap(),
            cookie,
        })
    }

    pub(crate) async fn sign_up(&self, email: &str) -> Someone {
        self.try_sign_up(email).await.unwrap()
    }

    pub(crate) async fn try_sign_in(&self, email: &str, password: &str) -> Result<Someone, Error> {
        let request = pb::SignInEmailRequest {
            email: email.to_owned(),
            password: password.to_owned(),
            ..Default::default()
        };
        let answer = self.auth().sign_in_email(request).await.map_err(error)?;
        let cookie = set_cookie(&answer).unwrap();
        let answer = answer.into_inner();
        Ok(Someone {
            id: answer.user.unwrap().id,
            token: answer.token,
            cookie,
        })
    }

    pub(crate) async fn sign_in(&self, email: &str) -> Someone {
        self.try_sign_in(email, PASSWORD).await.unwrap()
    }

    /// The identity token for a session token, plain or signed.
    pub(crate) async fn exchange(&self, token: &str) -> Result<String, Error> {
        self.exchange_any(Credential::Bearer(token.to_owned()))
            .await
    }

    pub(crate) async fn exchange_any(&self, credential: Credential) -> Result<String, Error> {
        let request = pb::ExchangeCredentialRequest {
            credential: Some(credential),
        };
        let answer = self
            .identity()
            .exchange_credential(request)
            .await
            .map_err(error)?;
        Ok(answer.into_inner().identity_token)
    }

    /// What an identity token states, verified as every service does.
    pub(crate) async fn verify(&self, token: &str) -> Identity {
        let keys = self
            .identity()
            .list_signing_keys(pb::ListSigningKeysRequest {})
            .await
            .unwrap();
        let keys = keys.into_inner().keys.into_iter();
        let verifier = Verifier::default();
        verifier
            .set_keys(keys.map(|key| (key.kid, key.public_key.to_vec())))
            .unwrap();
        Identity::clone(&verifier.verify(token).unwrap().identity)
    }

    /// What the session store knows of a token.
    pub(crate) async fn state(&self, token: &str) -> State {
        self.replica
            .sessions
            .state(&mesh::session::hash(token))
            .await
            .unwrap()
    }

    /// Asserts that a session has ended everywhere.
    pub(crate) async fn assert_ended(&self, token: &str) {
        let refused = self.exchange(token).await.unwrap_err();
        assert_eq!(refused.message(), "The session is not valid or has ended");
        assert_eq!(self.state(token).await, State::Ended);
    }
}

impl Replica {
    async fn start(config: Config, data: &FakeData, mesh_secret: &str) -> Self {
        let (auth, data_link) = (Link::unbound(), Link::unbound());
        let runtime = Runtime::alone(Secret::new(mesh_secret));
        let sessions = runtime.sessions.clone();
        let peers = Peers {
            auth: auth.clone(),
            data: data_link.clone(),
        };
        let node = auth_svc::build(config, peers, runtime).await.unwrap();
        auth.bind(node.local());
        let data = data.node(auth.clone()).await;
        data_link.bind(data.local());
        Self {
            auth,
            node,
            sessions,
            _data: data,
        }
    }
}

/// A request with a bearer token.
pub(crate) fn with_bearer<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    mesh::ctx::set_bearer(&mut request, token);
    request
}

/// The error in a status.
pub(crate) fn error(status: Status) -> Error {
    Error::from_status(&status)
}

/// The error code and `details.reason` of a failed call.
pub(crate) fn refused<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
) -> (&'static str, String) {
    words(&error(answer.unwrap_err()))
}

pub(crate) fn words(error: &Error) -> (&'static str, String) {
    let reason = error.detail("reason").and_then(|reason| reason.as_str());
    (
        error.reason().as_wire(),
        reason.unwrap_or_default().to_owned(),
    )
}

/// The one cookie that an answer sets.
pub(crate) fn set_cookie<T>(answer: &Response<T>) -> Option<String> {
    let mut cookies = answer.metadata().get_all("http-set-cookie").iter();
    let cookie = cookies.next()?.to_str().unwrap().to_owned();
    assert!(cookies.next().is_none());
    Some(cookie)
}

/// The decoded value of a `Set-Cookie`.
pub(crate) fn cookie_value(set_cookie: &str) -> String {
    let (_, rest) = set_cookie.split_once('=').unwrap();
    let value = rest.split(';').next().unwrap();
    percent_encoding::percent_decode_str(value)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

/// A request with a `cookie` header.
pub(crate) fn with_cookie<T>(message: T, set_cookie: &str) -> Request<T> {
    let mut request = Request::new(message);
    let pair = set_cookie.split(';').next().unwrap();
    let value = MetadataValue::try_from(pair).unwrap();
    request.metadata_mut().insert("cookie", value);
    request
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text)
}
