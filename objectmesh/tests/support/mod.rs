//! A mesh of its own for each test, driven from outside: over HTTP and gRPC. Every test runs in four
//! sizes and has to see the same answers in each.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file uses another part of it"
)]

pub(crate) use crate::process;
pub mod tools;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use mesh::{Link, ctx::set_bearer};
use objectmesh::{
    apps,
    compose::{Mesh, Options},
};
use process::{
    cluster::{Cluster, Service, owned},
    servers::{self, Database},
};
use proto::data::v1::record_service_client::RecordServiceClient;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// How a mesh runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One process, on SQLite and the embedded session store.
    Sqlite,
    /// One process, on PostgreSQL and Redis.
    Postgres,
    /// A process for each service, joined by TCP, on PostgreSQL and Redis.
    Processes,
    /// Two processes for each service; clients take turns between them.
    Replicas,
}

/// Runs an async test in all sizes: `sizes!(name, |mesh| async move { … });`
#[macro_export]
macro_rules! sizes {
    ($name:ident, $body:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_process_sqlite() {
                ($body)(TestMesh::start($crate::support::Size::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_process_postgres() {
                ($body)(TestMesh::start($crate::support::Size::Postgres).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn many_processes() {
                ($body)(TestMesh::start($crate::support::Size::Processes).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn two_replicas() {
                ($body)(TestMesh::start($crate::support::Size::Replicas).await).await;
            }
        }
    };
}

/// Runs an async test in one process on each database: for what happens within one service, and so cannot
/// differ where the services are processes of their own.
#[macro_export]
macro_rules! databases {
    ($name:ident, $body:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_process_sqlite() {
                ($body)(TestMesh::start($crate::support::Size::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_process_postgres() {
                ($body)(TestMesh::start($crate::support::Size::Postgres).await).await;
            }
        }
    };
}

/// Runs an async test in one process on SQLite: for what a service's own tests tell in each branch, and clients
/// see from outside as well.
#[macro_export]
macro_rules! one_process {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            ($body)(TestMesh::start($crate::support::Size::Sqlite).await).await;
        }
    };
}

/// Where a mesh is reached: the URLs of all replicas.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Of the gateways.
    pub rest: Vec<String>,
    /// Of auth-svc's gRPC.
    pub auth: Vec<String>,
    /// Of data-svc's gRPC.
    pub data: Vec<String>,
    /// Of flow-svc's gRPC.
    pub flow: Vec<String>,
    /// Of ai-svc's gRPC.
    pub ai: Vec<String>,
}

/// A running mesh with the test app and an administrator.
pub struct TestMesh {
    /// Where it is reached.
    pub at: Addresses,
    /// The administrator's session token.
    pub admin: String,
    http: reqwest::Client,
    /// Calls so far: clients take turns between the replicas.
    turn: AtomicUsize,
    _running: Running,
}

/// What runs; it ends with this value.
enum Running {
    One {
        _mesh: Box<Mesh>,
        _database: Option<Database>,
        _folder: tempfile::TempDir,
    },
    Many {
        _cluster: Cluster,
    },
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
    /// Starts a mesh.
    pub async fn start(size: Size) -> Self {
        Self::start_with(size, &[]).await
    }

    /// Starts a mesh with overrides of the configuration.
    pub async fn start_with(size: Size, environment: &[(&str, &str)]) -> Self {
        let (at, running) = match size {
            Size::Sqlite | Size::Postgres => one_process(size, environment).await,
            Size::Processes => processes(1, environment).await,
            Size::Replicas => processes(2, environment).await,
        };
        let mut mesh = Self {
            at,
            admin: String::new(),
            http: reqwest::Client::new(),
            turn: AtomicUsize::new(0),
            _running: running,
        };
        mesh.admin = mesh.sign_up("Ada Admin", "admin@example.com").await;
        mesh
    }

    /// The next of several replicas.
    fn next<'a>(&self, urls: &'a [String]) -> &'a str {
        &urls[self.turn.fetch_add(1, Ordering::Relaxed) % urls.len()]
    }

    /// The origin that browsers see.
    pub fn origin(&self) -> &str {
        &self.at.rest[0]
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

    /// URL of a path below `/api/v1`, at the gateway whose turn it is.
    pub fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.next(&self.at.rest))
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

    /// A generated gRPC client of a data-svc over its socket; the gateway is nowhere in the path.
    pub fn records(&self) -> RecordServiceClient<Link> {
        let link = Link::connect(self.next(&self.at.data)).expect("an address");
        RecordServiceClient::new(link)
    }
}

/// The folder of the app that the tests use.
pub fn app() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/app")
}

async fn one_process(size: Size, environment: &[(&str, &str)]) -> (Addresses, Running) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shared = (size == Size::Postgres).then(servers::shared);
    // Migrating from nothing is what the tests of migrations do.
    let database = shared.map(|shared| Database::with_app(&shared.postgres, &app()));
    // This process is a test, which is no worker for scripts.
    let workers = [
        ("OBJECTMESH__DATA__SCRIPTS__PROGRAM", process::PROGRAM),
        ("OBJECTMESH__FLOW__SCRIPTS__PROGRAM", process::PROGRAM),
    ];
    let environment: Vec<_> = environment.iter().copied().chain(workers).collect();
    let options = Options {
        data_dir: folder.path().to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        database_url: database.as_ref().map(|database| database.url.clone()),
        redis_url: shared.map(|shared| shared.redis.clone()),
        environment: owned(&environment),
    };
    let mesh = Mesh::start(&options).await.expect("the mesh starts");
    let loaded = apps::load(&[app()]).expect("the app loads");
    let installation = mesh.rooms.catalog.install(&loaded.packages).await;
    let installation = installation.expect("the app installs");
    let seeded = data_svc::seeds::load(&mesh.rooms, &installation.seeds).await;
    seeded.expect("the seeds load");
    let url = |address| vec![format!("http://{address}")];
    let at = Addresses {
        rest: url(mesh.rest),
        auth: url(mesh.auth),
        data: url(mesh.data),
        flow: url(mesh.flow),
        ai: url(mesh.ai),
    };
    let running = Running::One {
        _mesh: Box::new(mesh),
        _database: database,
        _folder: folder,
    };
    (at, running)
}

async fn processes(replicas: usize, environment: &[(&str, &str)]) -> (Addresses, Running) {
    let cluster = Cluster::shared(&app(), replicas, environment).await;
    let at = Addresses {
        rest: cluster.urls(Service::Gateway),
        auth: cluster.urls(Service::Auth),
        data: cluster.urls(Service::Data),
        flow: cluster.urls(Service::Flow),
        ai: cluster.urls(Service::Ai),
    };
    (at, Running::Many { _cluster: cluster })
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

/// Fields of a record as a map.
pub fn fields(record: &Value) -> HashMap<String, Value> {
    record
        .as_object()
        .expect("a record")
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
