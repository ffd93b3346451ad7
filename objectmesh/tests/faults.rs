//! Services that are slow, silent, resetting or dead: every client is answered in time, with the
//! envelope, and all is well again without a restart. And a session store that comes and goes.

use std::time::{Duration, Instant};

use crate::support::{
    app,
    process::{
        cluster::{Cluster, Plan, Service},
        eventually,
        proxy::Mode,
        servers::{self, Database, Redis},
    },
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The deadline of an ordinary call, and what the answer may take beyond it.
const ANSWERED: Duration = Duration::from_millis(10_250);
const RECOVERY: Duration = Duration::from_secs(15);
/// The load: a call is due every so often, whatever became of those before.
const EVERY: Duration = Duration::from_millis(100);
const CALLS: u32 = 20;

/// One client of a gateway.
#[derive(Clone)]
struct Caller {
    http: Client,
    base: String,
}

impl Caller {
    fn new(cluster: &Cluster) -> Self {
        Self {
            http: Client::new(),
            base: format!("{}/api/v1", cluster.urls(Service::Gateway)[0]),
        }
    }

    async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    async fn sign_up(&self, email: &str) -> String {
        let body = json!({"name": "Ada", "email": email, "password": "correct horse"});
        let (status, answer) = self
            .call("", Method::POST, "/auth/sign-up/email", Some(body))
            .await;
        assert_eq!(status, 200, "{answer}");
        answer["token"].as_str().expect("a token").to_owned()
    }

    async fn status(&self, token: &str, path: &str) -> u16 {
        self.call(token, Method::GET, path, None).await.0
    }
}

/// Calls at a fixed rate; each is timed from the moment it was due. Gives how many were refused.
async fn load(caller: &Caller, token: &str, label: &str) -> u32 {
    let mut calls = JoinSet::new();
    let began = tokio::time::Instant::now();
    for number in 0..CALLS {
        let due = began + EVERY * number;
        let (caller, token, label) = (caller.clone(), token.to_owned(), label.to_owned());
        calls.spawn(async move {
            tokio::time::sleep_until(due).await;
            let (status, body) = match number % 3 {
                0 => {
                    let body = json!({"subject": format!("{label} {number}")});
                    caller.call(&token, Method::POST, "/data/ticket", Some(body)).await
                }
                1 => caller.call(&token, Method::GET, "/data/ticket?limit=5", None).await,
                // A credential that no cache knows: auth-svc is asked.
                _ => {
                    let body = json!({"email": "nobody@example.com", "password": format!("wrong {number}")});
                    caller.call("", Method::POST, "/auth/sign-in", Some(body)).await
                }
            };
            let took = due.elapsed();
            assert!(took < ANSWERED, "{label}: call {number} took {took:?}: {status} {body}");
            match status {
                200 | 201 | 401 | 429 => 0,
                503 | 504 => {
                    let error = body["error"].as_object().expect("an envelope");
                    let code = if status == 503 { "SERVICE_UNAVAILABLE" } else { "TIMEOUT" };
                    assert_eq!(error["code"], code, "{label}: {body}");
                    assert!(error["details"].is_object(), "{label}: {body}");
                    // A change that may have been made says so; 503 says that it was not.
                    let unknown = error["details"]["outcome"] == "unknown";
                    assert_eq!(unknown, status == 504 && number % 3 != 1, "{label}: {body}");
                    1
                }
                _ => panic!("{label}: call {number} answered {status} {body}"),
            }
        });
    }
    calls.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f09_every_client_is_answered_in_time_whatever_the_services_do() {
    f09(&[Mode::Reset, Mode::Cut(40), Mode::Silent]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes most of a minute: deploy/test-long.sh runs it"]
async fn f09_in_every_mode() {
    f09(&[
        Mode::Reset,
        Mode::Refuse,
        Mode::Cut(0),
        Mode::Cut(40),
        Mode::Silent,
        Mode::Delay(Duration::from_secs(12)),
        Mode::Throttle(60),
    ])
    .await;
}

async fn f09(modes: &[Mode]) {
    let shared = servers::shared();
    let database = Database::with_app(&shared.postgres, &app());
    let plan = Plan {
        replicas: 1,
        database: database.url.clone(),
        redis: shared.redis.clone(),
        environment: Vec::new(),
        proxied: true,
    };
    let cluster = Cluster::start(plan).await;
    let caller = Caller::new(&cluster);
    let token = caller.sign_up("ada@example.com").await;
    assert_eq!(load(&caller, &token, "all well").await, 0);
    for &mode in modes {
        let set = |mode| {
            for (_, proxy) in &cluster.proxies {
                proxy.set(mode);
            }
        };
        set(mode);
        let refused = load(&caller, &token, &format!("{mode:?}")).await;
        eprintln!("{mode:?}: {refused} of {CALLS} refused");
        assert!(refused > 0, "{mode:?} was not felt");
        set(Mode::Pass);
        let healed = Instant::now();
        eventually("all is well again", RECOVERY, async || {
            caller.status(&token, "/data/ticket").await == 200
        })
        .await;
        eprintln!("{mode:?}: well again after {:?}", healed.elapsed());
    }
    // No process was restarted, and what was acknowledged is there once.
    assert_eq!(load(&caller, &token, "well again").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f07_redis_lost_signs_nobody_out_and_lets_nobody_in() {
    let shared = servers::shared();
    let mut redis = Redis::start();
    let database = Database::with_app(&shared.postgres, &app());
    let plan = Plan {
        replicas: 1,
        database: database.url.clone(),
        redis: redis.url(),
        environment: Vec::new(),
        proxied: false,
    };
    let mut cluster = Cluster::start(plan).await;
    let caller = Caller::new(&cluster);
    let good = caller.sign_up("ada@example.com").await;
    let ended = caller.sign_up("ended@example.com").await;
    let (status, _) = caller
        .call(&ended, Method::POST, "/auth/sign-out", Some(json!({})))
        .await;
    assert_eq!(status, 200);
    let check = async |what: &str| {
        assert_eq!(
            caller.status(&good, "/data/sys_user").await,
            200,
            "signed out: {what}"
        );
        assert_eq!(
            caller.status(&ended, "/data/sys_user").await,
            401,
            "let in: {what}"
        );
        assert_eq!(
            caller.status("", "/data/sys_user").await,
            401,
            "let in: {what}"
        );
    };
    check("all well").await;
    redis.flush();
    check("flushed").await;
    redis.process().signal("STOP");
    check("frozen").await;
    redis.process().signal("CONT");
    check("going on").await;
    redis.stop();
    check("stopped").await;
    // Nor does it take a cache that is warm: the gateway knows nothing after its restart.
    let stopped = cluster.node(Service::Gateway, 0).stop(RECOVERY).await;
    assert!(stopped.success(), "{stopped}");
    redis.start_again();
    cluster.node(Service::Gateway, 0).start();
    cluster.node(Service::Gateway, 0).ready().await;
    check("restarted empty").await;
}
