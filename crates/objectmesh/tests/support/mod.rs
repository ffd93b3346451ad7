//! A mesh of its own for each test, driven from outside: over HTTP and gRPC. Every test runs on
//! SQLite, and on PostgreSQL + Redis where `TEST_POSTGRES_URL` and `TEST_REDIS_URL` name them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file uses another part of it"
)]

use std::{
    collections::HashMap,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use mesh::{Link, ctx::set_bearer};
use objectmesh::{
    apps,
    compose::{Mesh, Options},
};
use proto::data::v1::record_service_client::RecordServiceClient;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Which databases a mesh stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// SQLite files and the embedded session store.
    Sqlite,
    /// PostgreSQL and Redis.
    Postgres,
}

/// Runs an async test on both grounds: `both!(name, |mesh| async move { … });`
#[macro_export]
macro_rules! both {
    ($name:ident, $body:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let mesh = $crate::support::TestMesh::start($crate::support::Ground::Sqlite).await;
                let mesh = mesh.expect("SQLite is always there");
                ($body)(mesh).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                match $crate::support::TestMesh::start($crate::support::Ground::Postgres).await {
                    Some(mesh) => ($body)(mesh).await,
                    None => eprintln!("skipped: TEST_POSTGRES_URL or TEST_REDIS_URL is not set"),
                }
            }
        }
    };
}

/// A running mesh with an administrator, and with the test app or another one installed.
pub struct TestMesh {
    /// The mesh.
    pub mesh: Mesh,
    /// The administrator's session token.
    pub admin: String,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

/// An answer of the REST API.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// Its body; null when it has none.
    pub body: Value,
}

impl Answer {
    /// Asserts the status and gives the body.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        self.body
    }

    /// Asserts status and code of an error envelope and gives its details.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        let error = self.body["error"].as_object().expect("an error envelope");
        let mut keys: Vec<_> = error.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["code", "details", "message"], "{:#}", self.body);
        assert_eq!(error["code"], code, "{:#}", self.body);
        assert!(error["details"].is_object(), "{:#}", self.body);
        assert!(self.headers.contains_key("x-request-id"), "no X-Request-Id");
        error["details"].clone()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl TestMesh {
    /// Starts a mesh with the test app; `None` when the ground is not there.
    pub async fn start(ground: Ground) -> Option<Self> {
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/app");
        Self::start_with(ground, &app, &[]).await
    }

    /// Starts a mesh with an app and overrides of the configuration.
    pub async fn start_with(
        ground: Ground,
        app: &Path,
        environment: &[(&str, &str)],
    ) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (database_url, redis_url) = match ground {
            Ground::Sqlite => (None, None),
            Ground::Postgres => (
                Some(fresh_database()?),
                Some(std::env::var("TEST_REDIS_URL").ok()?),
            ),
        };
        let options = Options {
            data_dir: folder.path().to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            database_url,
            redis_url,
            environment: environment
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let mesh = Mesh::start(&options).await.expect("the mesh starts");
        let loaded = apps::load(&[app.to_owned()]).expect("the app loads");
        let installation = mesh
            .engine
            .catalog
            .install(&loaded.packages)
            .await
            .expect("the app installs");
        data_svc::engine::seed::load(&mesh.engine, &installation.seeds)
            .await
            .expect("the seeds load");
        let mut mesh = Self {
            mesh,
            admin: String::new(),
            http: reqwest::Client::new(),
            _folder: folder,
        };
        mesh.admin = mesh.sign_up("Ada Admin", "admin@example.com").await;
        Some(mesh)
    }

    /// Signs a user up; gives the session token.
    pub async fn sign_up(&self, name: &str, email: &str) -> String {
        let body = json!({"name": name, "email": email, "password": "correct horse"});
        let answer = self.post("", "/auth/sign-up/email", body).await.ok(200);
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// A user with that permission set: id and session token.
    pub async fn user(&self, name: &str, permission_set: &str) -> (String, String) {
        let email = format!("{name}@example.com");
        let body = json!({"name": name, "email": email, "password": "correct horse"});
        let created = self
            .post(&self.admin, "/auth/admin/create-user", body)
            .await
            .ok(200);
        let id = created["user"]["id"].as_str().expect("an id").to_owned();
        let body = json!({"user_id": id, "permission_set": permission_set});
        self.post(&self.admin, "/data/sys_user_permission_set", body)
            .await
            .ok(201);
        let body = json!({"email": email, "password": "correct horse"});
        let session = self.post("", "/auth/sign-in", body).await.ok(200);
        (id, session["token"].as_str().expect("a token").to_owned())
    }

    /// URL of a path below `/api/v1`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.mesh.base_url())
    }

    /// GET.
    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(token, Method::GET, path, None, &[]).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.call(token, Method::POST, path, Some(body.to_string()), &[])
            .await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, token: &str, path: &str, body: Value) -> Answer {
        self.call(token, Method::PATCH, path, Some(body.to_string()), &[])
            .await
    }

    /// DELETE.
    pub async fn delete(&self, token: &str, path: &str) -> Answer {
        self.call(token, Method::DELETE, path, None, &[]).await
    }

    /// Any call; a body is sent as JSON unless `headers` say otherwise.
    pub async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            self.url(path)
        };
        let mut request = self.http.request(method, url);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(body) = body {
            if !headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            {
                request = request.header("content-type", "application/json");
            }
            request = request.body(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a body");
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
        };
        Answer {
            status,
            headers,
            body,
        }
    }

    /// A generated gRPC client of data-svc over its socket; the gateway is nowhere in the path.
    pub fn records(&self) -> RecordServiceClient<Link> {
        let link = Link::connect(&format!("http://{}", self.mesh.data)).expect("an address");
        RecordServiceClient::new(link)
    }
}

/// A gRPC request with a credential.
pub fn with_token<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    set_bearer(&mut request, token);
    request
}

/// Percent-encodes a query value.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// A database of its own on the test server; `None` when there is no server.
pub fn fresh_database() -> Option<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("TEST_POSTGRES_URL").ok()?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!(
        "om_test_{}_{number}_{}",
        std::process::id(),
        mesh::id::new().to_lowercase()
    );
    let (base, _) = server
        .rsplit_once('/')
        .expect("a database in TEST_POSTGRES_URL");
    let created = std::process::Command::new("psql")
        .args([&server, "-qc", &format!("CREATE DATABASE {name}")])
        .output()
        .expect("psql is there, since PostgreSQL is");
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stderr)
    );
    Some(format!("{base}/{name}"))
}

/// Fields of a record as a map.
pub fn fields(record: &Value) -> HashMap<String, Value> {
    record
        .as_object()
        .expect("a record")
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
