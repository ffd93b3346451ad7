//! A client of several gateways, as a load balancer in front of them would send its requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use proto::{
    auth::v1::{
        ExchangeCredentialRequest, exchange_credential_request::Credential,
        identity_service_client::IdentityServiceClient,
    },
    data::v1::{ListRecordsRequest, record_service_client::RecordServiceClient},
};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::transport::Endpoint;

use crate::process::cluster::{Cluster, Service};

/// How often a load balancer asks a gateway whether it is ready.
const ASKED_EVERY: Duration = Duration::from_millis(50);
/// How long a client waits until some gateway is ready.
const PATIENCE: Duration = Duration::from_secs(10);
/// The password of everybody.
const PASSWORD: &str = "correct horse";

/// A client; clones are the same.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    gateways: Arc<[Gateway]>,
    turn: Arc<AtomicUsize>,
}

struct Gateway {
    url: String,
    ready: AtomicBool,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: Method,
    path: String,
    body: Option<Value>,
    headers: Vec<(&'static str, String)>,
}

impl Request {
    fn new(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        Self {
            method,
            path: path.into(),
            body,
            headers: Vec::new(),
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, None)
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::POST, path, Some(body))
    }

    pub(crate) fn patch(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::PATCH, path, Some(body))
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, None)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// With a session token.
    pub(crate) fn by(self, token: &str) -> Self {
        self.with("authorization", format!("Bearer {token}"))
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// The session cookie that it sets, as a client sends it back.
    pub(crate) cookie: Option<String>,
}

impl Answer {
    /// Asserts the status and gives the body.
    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// Asserts that it is an error envelope with this status and code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{:#}", self.body);
        assert_eq!(self.body["error"]["code"], code, "{:#}", self.body);
        assert!(self.body["error"]["details"].is_object(), "{:#}", self.body);
    }

    /// Whether the mesh could not answer just now; asserts that it says so with the envelope.
    #[track_caller]
    pub(crate) fn is_away(&self) -> bool {
        match self.status {
            503 => self.refused(503, "SERVICE_UNAVAILABLE"),
            504 => self.refused(504, "TIMEOUT"),
            _ => return false,
        }
        true
    }
}

impl Client {
    /// A client of all gateways of that mesh.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let gateways = cluster.urls(Service::Gateway).into_iter();
        Self {
            http: reqwest::Client::new(),
            gateways: gateways
                .map(|url| Gateway {
                    url,
                    ready: AtomicBool::new(true),
                })
                .collect(),
            turn: Arc::default(),
        }
    }

    /// Asks the gateways again and again whether they are ready, for ever: those that are not get
    /// no more requests.
    pub(crate) async fn keep_watch(&self) {
        loop {
            for gateway in &*self.gateways {
                let asked = self.http.get(format!("{}/ready", gateway.url)).send();
                let ready = asked.await.is_ok_and(|answer| answer.status() == 200);
                gateway.ready.store(ready, Ordering::SeqCst);
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    /// Sends a request to the gateway whose turn it is, of those that are ready.
    ///
    /// # Errors
    /// When the connection breaks off. Where none could be had, the next gateway is asked.
    pub(crate) async fn send(&self, request: &Request) -> reqwest::Result<Answer> {
        let began = tokio::time::Instant::now();
        loop {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let number = turn % self.gateways.len();
            if self.gateways[number].ready.load(Ordering::SeqCst) {
                match self.send_to(number, request).await {
                    Err(error) if error.is_connect() && began.elapsed() < PATIENCE => {}
                    answered => return answered,
                }
            }
            assert!(began.elapsed() < PATIENCE, "no gateway is ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends a request to one gateway.
    ///
    /// # Errors
    /// When there is no connection, or it breaks off.
    pub(crate) async fn send_to(
        &self,
        number: usize,
        request: &Request,
    ) -> reqwest::Result<Answer> {
        let url = format!("{}/api/v1{}", self.gateways[number].url, request.path);
        let mut sent = self.http.request(request.method.clone(), url);
        for (name, value) in &request.headers {
            sent = sent.header(*name, value);
        }
        if let Some(body) = &request.body {
            sent = sent.json(body);
        }
        let answer = sent.send().await?;
        let status = answer.status().as_u16();
        let cookie = answer.headers().get("set-cookie");
        let cookie = cookie.and_then(|value| value.to_str().ok()?.split(';').next());
        let cookie = cookie.map(str::to_owned);
        let text = answer.bytes().await?;
        Ok(Answer {
            status,
            body: serde_json::from_slice(&text).unwrap_or(Value::Null),
            cookie,
        })
    }

    /// Sends a request that must be answered.
    pub(crate) async fn ask(&self, request: Request) -> Answer {
        self.send(&request).await.expect("an answer")
    }

    /// What a gateway's `/ready` says.
    pub(crate) async fn readiness(&self, number: usize) -> Answer {
        let url = format!("{}/ready", self.gateways[number].url);
        let answer = self.http.get(url).send().await.expect("an answer");
        Answer {
            status: answer.status().as_u16(),
            body: answer.json().await.expect("JSON"),
            cookie: None,
        }
    }

    /// Signs a user up; gives the session token. The first one is the administrator.
    pub(crate) async fn sign_up(&self, name: &str) -> String {
        let email = format!("{name}@example.com");
        let body = json!({"name": name, "email": email, "password": PASSWORD});
        let answer = self.ask(Request::post("/auth/sign-up/email", body)).await;
        let answer = answer.ok(200);
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// Signs in.
    pub(crate) async fn sign_in(&self, name: &str) -> Answer {
        let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD});
        self.ask(Request::post("/auth/sign-in", body)).await
    }

    /// All records of an object, of those fields.
    pub(crate) async fn all(&self, token: &str, object: &str, fields: &str) -> Vec<Value> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/data/{object}?limit=200&select={fields}&cursor={cursor}");
            let page = self.ask(Request::get(path).by(token)).await.ok(200);
            found.extend(page["items"].as_array().expect("items").iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return found,
            }
        }
    }
}

/// Exchanges a session token for an identity token at an auth-svc, without a gateway.
pub(crate) async fn identity_token(auth: &str, session: &str) -> String {
    let channel = Endpoint::from_shared(auth.to_owned()).expect("an address");
    let channel = channel.connect().await.expect("a connection");
    let request = ExchangeCredentialRequest {
        credential: Some(Credential::Bearer(session.to_owned())),
    };
    let mut client = IdentityServiceClient::new(channel);
    let answer = client.exchange_credential(request).await;
    answer.expect("a token").into_inner().identity_token
}

/// Lists an object's records at a data-svc, without a gateway, with a credential in that header.
pub(crate) async fn list_directly(
    data: &str,
    object: &str,
    header: &'static str,
    credential: &str,
) -> Result<(), tonic::Status> {
    let channel = Endpoint::from_shared(data.to_owned()).expect("an address");
    let channel = channel.connect().await.expect("a connection");
    let mut request = tonic::Request::new(ListRecordsRequest {
        object: object.to_owned(),
        ..ListRecordsRequest::default()
    });
    let value = credential.parse().expect("a header's value");
    request.metadata_mut().insert(header, value);
    let mut records = RecordServiceClient::new(channel);
    records.list_records(request).await.map(drop)
}
