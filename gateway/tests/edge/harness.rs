//! A gateway on a free port, and short ways to talk to it.

use gateway::{Config, Limits, Peers, RateLimit};
use mesh::{config::Secret, process::Runtime, session::SessionStore, tasks::Tasks};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use transcoding::Table;

use crate::fakes;

/// A running gateway.
pub(crate) struct Edge {
    pub(crate) address: String,
    pub(crate) sessions: SessionStore,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) ended: Option<oneshot::Receiver<anyhow::Result<()>>>,
    client: reqwest::Client,
    tasks: Tasks,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is a failure with the one envelope, and gives `error`.
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let body = self.json();
        let error = body["error"].clone();
        assert_eq!(error["code"], code, "{self:?}");
        assert!(error["message"].is_string(), "{self:?}");
        assert!(error["details"].is_object(), "{self:?}");
        assert_eq!(error.as_object().unwrap().len(), 3, "{self:?}");
        assert!(!self.header("x-request-id").is_empty(), "{self:?}");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert_eq!(self.header("content-type"), "application/json");
        error
    }
}

pub(crate) async fn start() -> Edge {
    start_with(Config::default(), fakes::peers().await).await
}

pub(crate) async fn start_with(config: Config, peers: Peers) -> Edge {
    let unlimited = Limits::in_memory(&RateLimit::default()).unwrap();
    start_limited(config, peers, unlimited).await
}

pub(crate) async fn start_limited(config: Config, peers: Peers, limits: Limits) -> Edge {
    start_over(None, config, peers, limits).await
}

/// A gateway over that table of routes, or the product's.
pub(crate) async fn start_over(
    table: Option<Table>,
    config: Config,
    peers: Peers,
    limits: Limits,
) -> Edge {
    let runtime = Runtime::alone(Secret::default());
    let (sessions, tasks) = (runtime.sessions.clone(), runtime.tasks.clone());
    let table = table.unwrap_or_else(|| Table::from_descriptors().unwrap());
    let gateway = gateway::build_over(table, config, peers, limits, runtime).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let serving = gateway.serve(listener, async {
        let _ = stopped.await;
    });
    tasks.spawn(async move {
        let _ = end.send(serving.await);
    });
    Edge {
        address,
        sessions,
        stop: Some(stop),
        ended: Some(ended),
        client: reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap(),
        tasks,
    }
}

impl Edge {
    /// A request as Ann, with her bearer token.
    pub(crate) fn ask(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.anonymous(method, path).bearer_auth(fakes::TOKEN)
    }

    pub(crate) fn anonymous(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method, url)
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        send(self.ask(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Got {
        send(
            self.ask(Method::POST, path)
                .header("content-type", "application/json")
                .body(body.to_owned()),
        )
        .await
    }

    /// Sends bytes as they are and reads until the gateway closes.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Got {
    let response = request.send().await.unwrap();
    Got {
        status: response.status(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}
