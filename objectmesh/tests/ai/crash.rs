//! kill -9 of ai-svc while an approved mutation is carried out: it is done once, and the row says so.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use mesh::Link;
use proto::{
    ai::v1::{
        ApprovePendingActionRequest, GetPendingActionRequest,
        pending_action_service_client::PendingActionServiceClient,
    },
    auth::v1::{
        ExchangeCredentialRequest, exchange_credential_request::Credential,
        identity_service_client::IdentityServiceClient,
    },
};
use serde_json::{Value, json};

use super::provider::{Fake, Step, text};
use crate::support::{
    app,
    process::{
        cluster::{Cluster, Plan, Service, owned},
        eventually,
        servers::{self, Database, sql},
    },
    with_token,
};

/// Longer than a claim lasts and a sweep takes.
const RECOVERY: Duration = Duration::from_secs(40);

/// A client of the first gateway.
struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    fn of(cluster: &Cluster) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: cluster.urls(Service::Gateway)[0].clone(),
        }
    }

    fn request(&self, method: reqwest::Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/api/v1{path}", self.url);
        self.http.request(method, url).bearer_auth(token)
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        let sent = self
            .request(reqwest::Method::POST, path, token)
            .json(&body)
            .send()
            .await;
        let answer = sent.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn get(&self, path: &str, token: &str) -> Value {
        let sent = self.request(reqwest::Method::GET, path, token).send().await;
        sent.expect("an answer").json().await.expect("JSON")
    }
}

/// A mesh with an administrator, and a proposal of theirs: client, token, path of the row.
async fn proposed(cluster: &Cluster, subject: &str) -> (Client, String, String) {
    let (client, token) = administrator(cluster).await;
    let input = json!({"objectName": "ticket", "data": {"subject": subject}});
    let row = propose(&client, &token, "create_record", &input).await;
    (client, token, row)
}

/// A client, and the session token of an administrator.
async fn administrator(cluster: &Cluster) -> (Client, String) {
    let client = Client::of(cluster);
    let body = json!({"name": "Ada", "email": "ada@example.com", "password": "correct horse"});
    let (status, answer) = client.post("/auth/sign-up/email", "", body).await;
    assert_eq!(status, 200, "{answer:#}");
    (client, answer["token"].as_str().unwrap().to_owned())
}

/// Proposes by way of the echo; gives the path of the row.
async fn propose(client: &Client, token: &str, tool: &str, input: &Value) -> String {
    let body = json!({"messages": [{"role": "user", "content": format!("call {tool} {input}")}]});
    let (status, answer) = client.post("/ai/chat", token, body).await;
    assert_eq!(status, 200, "{answer:#}");
    let id = answer["pendingActions"][0]["id"].as_str();
    format!("/ai/pending-actions/{}", id.expect("a proposal"))
}

/// The row says that it was done, and there is one record.
async fn done_once(client: &Client, token: &str, row: &str) {
    eventually("the row says that it was done", RECOVERY, async || {
        client.get(row, token).await["status"] == "executed"
    })
    .await;
    let shown = client.get(row, token).await;
    let tickets = client.get("/data/ticket", token).await;
    assert_eq!(tickets["total"], 1, "{tickets:#}");
    assert_eq!(
        shown["result"]["id"], tickets["items"][0]["id"],
        "{shown:#}"
    );
}

async fn cluster(replicas: usize, settings: &[(&str, &str)]) -> (Cluster, Database) {
    let shared = servers::shared();
    let database = Database::with_app(&shared.postgres, &app());
    let plan = Plan {
        replicas,
        database: database.url.clone(),
        redis: shared.redis.clone(),
        environment: owned(settings),
        proxied: false,
    };
    (Cluster::start(plan).await, database)
}

async fn until(database: &Database, query: &str, expected: &str) {
    eventually(query, Duration::from_secs(8), async || {
        sql(&database.url, query).trim() == expected
    })
    .await;
}

const STATUS: &str = "SELECT status FROM ai.ai_pending_actions";

/// Keeps a table from being written, until it goes.
struct Locked(Child);

impl Locked {
    fn table(database: &Database, table: &str) -> Self {
        let mut psql = Command::new("psql")
            .args(["-X", "-q", &database.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("psql runs");
        let stdin = psql.stdin.as_mut().expect("a pipe");
        let lock = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE;\n");
        stdin.write_all(lock.as_bytes()).expect("psql listens");
        stdin.flush().expect("psql listens");
        Self(psql)
    }

    async fn held(self, database: &Database, table: &str) -> Self {
        let (schema, name) = table.split_once('.').expect("a schema");
        let query = format!(
            "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE l.mode = 'ShareLock' AND l.granted AND c.relname = '{name}' AND n.nspname = '{schema}' \
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        );
        until(database, &query, "1").await;
        self
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Its standard input ends, and with it the transaction.
        drop(self.0.stdin.take());
        let _status = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_claim_and_execution() {
    let (mut cluster, database) = cluster(1, &[]).await;
    let (client, token, row) = proposed(&cluster, "Claimed").await;
    // Both calls of the model left their traces, and what was done its events.
    let traced = "SELECT count(*) FROM ai.ai_traces WHERE status = 'ok' AND total_tokens > 0";
    until(&database, traced, "2").await;
    let noted = "SELECT string_agg(action, ',' ORDER BY action) FROM ai.om_audit_log";
    let events = "ai.chat.message,ai.pending_action.queued,ai.tool.call";
    until(&database, noted, events).await;
    // Carrying it out begins with a token of auth-svc, which is frozen: the claim is made, and nothing
    // is done.
    client.get(&row, &token).await;
    cluster.node(Service::Auth, 0).process().signal("STOP");
    let approve = client.request(reqwest::Method::POST, &format!("{row}/approve"), &token);
    let approving = approve.json(&json!({})).send();
    let killing = async {
        until(&database, STATUS, "approved").await;
        cluster.node(Service::Ai, 0).kill();
        cluster.node(Service::Auth, 0).process().signal("CONT");
    };
    let (answer, ()) = tokio::join!(approving, killing);
    let status = answer.expect("an answer").status().as_u16();
    assert!(matches!(status, 503 | 504), "{status}");
    let tickets = client.get("/data/ticket", &token).await;
    assert_eq!(tickets["total"], 0, "{tickets:#}");
    cluster.node(Service::Ai, 0).start();
    cluster.ready().await;
    done_once(&client, &token, &row).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_execution_and_its_note() {
    let (mut cluster, database) = cluster(1, &[]).await;
    let (client, token, row) = proposed(&cluster, "Done").await;
    // The record waits until the row is claimed; then the row waits until the record is there.
    let tickets = Locked::table(&database, "data.ticket");
    let tickets = tickets.held(&database, "data.ticket").await;
    let approve = client.request(reqwest::Method::POST, &format!("{row}/approve"), &token);
    let approving = approve.json(&json!({})).send();
    let killing = async {
        until(&database, STATUS, "approved").await;
        let rows = Locked::table(&database, "ai.ai_pending_actions");
        let rows = rows.held(&database, "ai.ai_pending_actions").await;
        drop(tickets);
        until(&database, "SELECT count(*) FROM data.ticket", "1").await;
        cluster.node(Service::Ai, 0).kill();
        drop(rows);
    };
    let (answer, ()) = tokio::join!(approving, killing);
    let status = answer.expect("an answer").status().as_u16();
    assert!(matches!(status, 503 | 504), "{status}");
    assert_eq!(sql(&database.url, STATUS).trim(), "approved");
    cluster.node(Service::Ai, 0).start();
    cluster.ready().await;
    done_once(&client, &token, &row).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_replica_does_what_a_killed_one_claimed() {
    let (mut cluster, database) = cluster(2, &[]).await;
    let (client, token, row) = proposed(&cluster, "Taken over").await;
    // The administrator got their rights a moment ago: a token from before that is known is overtaken.
    let known = "SELECT count(*) > 0 FROM auth.auth_revocation WHERE kind = 'user_rights'";
    until(&database, known, "t").await;
    let auth = Link::connect(&cluster.urls(Service::Auth)[0]).expect("an address");
    let exchange = ExchangeCredentialRequest {
        credential: Some(Credential::Bearer(token.clone())),
    };
    let exchanged = IdentityServiceClient::new(auth)
        .exchange_credential(exchange)
        .await;
    let identity = exchanged.expect("a token").into_inner().identity_token;
    // The replica knows the keys of the token from then on.
    let replica = Link::connect(&cluster.urls(Service::Ai)[0]).expect("an address");
    let id = row.rsplit('/').next().expect("an id").to_owned();
    let mut actions = PendingActionServiceClient::new(replica);
    let show = GetPendingActionRequest { id: id.clone() };
    let shown = actions
        .get_pending_action(with_token(show, &identity))
        .await;
    shown.expect("the row");
    for number in 0..2 {
        cluster.node(Service::Auth, number).process().signal("STOP");
    }
    // At the first replica, whichever holds the lease of the sweep.
    let approve = ApprovePendingActionRequest {
        id,
        decision: "{}".into(),
    };
    let approving = actions.approve_pending_action(with_token(approve, &identity));
    let killing = async {
        until(&database, STATUS, "approved").await;
        cluster.node(Service::Ai, 0).kill();
        for number in 0..2 {
            cluster.node(Service::Auth, number).process().signal("CONT");
        }
    };
    let (answer, ()) = tokio::join!(approving, killing);
    assert!(answer.is_err(), "{answer:?}");
    done_once(&client, &token, &row).await;
}

/// A conversation whose run died with its process is free again once the lease is over, and whoever
/// read along is told that it broke off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_run_lets_its_conversation_go() {
    let fake = Fake::start(|number, _| match number {
        0 => vec![text("On and on"), Step::Hang],
        _ => vec![text("Again.")],
    })
    .await;
    let settings = fake.environment();
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let (mut cluster, _database) = cluster(1, &settings).await;
    let (client, token) = administrator(&cluster).await;
    let (_, made) = client.post("/ai/conversations", &token, json!({})).await;
    let path = format!(
        "/ai/conversations/{}/messages",
        made["id"].as_str().unwrap()
    );
    let body = json!({"content": "Go on", "stream": true});
    let stream = client
        .request(reqwest::Method::POST, &path, &token)
        .json(&body)
        .send();
    let mut stream = stream.await.expect("a stream");
    let mut read = String::new();
    while !read.contains("On and on") {
        let chunk = stream.chunk().await.expect("a body").expect("more");
        read.push_str(&String::from_utf8_lossy(&chunk));
    }
    cluster.node(Service::Ai, 0).kill();
    while let Some(chunk) = stream.chunk().await.expect("a body") {
        read.push_str(&String::from_utf8_lossy(&chunk));
    }
    let end = [
        r#"{"type":"finish-step"}"#,
        r#"{"type":"finish","finishReason":"error"}"#,
        "[DONE]",
    ];
    let end = end.map(|data| format!("data: {data}\n\n")).concat();
    assert!(
        read.contains(r#""type":"error""#) && read.ends_with(&end),
        "{read}"
    );
    cluster.node(Service::Ai, 0).start();
    cluster.ready().await;
    let again = json!({"content": "Again?"});
    eventually("the conversation is free", RECOVERY, async || {
        let (status, answer) = client.post(&path, &token, again.clone()).await;
        // Until the lease of the dead process is over.
        assert!(matches!(status, 200 | 409), "{answer:#}");
        status == 200
    })
    .await;
}

/// An action that is another one by the time it would be approved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_changed_is_not_approved() {
    let (cluster, database) = cluster(1, &[]).await;
    let (client, token) = administrator(&cluster).await;
    let (_, ticket) = client
        .post("/data/ticket", &token, json!({"subject": "Open"}))
        .await;
    let input = json!({"recordId": ticket["id"], "note": "done"});
    let row = propose(&client, &token, "action_close_ticket", &input).await;
    let changed = tempfile::tempdir().expect("a temporary folder");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(app())
        .arg(changed.path())
        .status();
    assert!(copied.expect("cp runs").success());
    let folder = changed.path().join("app");
    let action = folder.join("actions/close_ticket.yaml");
    let text = std::fs::read_to_string(&action).expect("the action");
    let other = text.replace(r#"status: "closed""#, r#"status: "pending""#);
    assert_ne!(text, other);
    std::fs::write(&action, other).expect("it is written");
    servers::migrate(&database.url, &folder);
    let path = "/meta/action/close_ticket";
    eventually(
        "the other action is known",
        Duration::from_secs(10),
        async || {
            let item = client.get(path, &token).await;
            item.to_string().contains("pending")
        },
    )
    .await;
    let approve = format!("{row}/approve");
    let (status, answer) = client.post(&approve, &token, json!({})).await;
    let code = &answer["error"]["code"];
    assert_eq!(
        (status, code),
        (409, &json!("CONCURRENT_UPDATE")),
        "{answer:#}"
    );
    assert_eq!(answer["error"]["details"]["reason"], "DIGEST_MISMATCH");
    assert_eq!(client.get(&row, &token).await["status"], "pending");
    let record = format!("/data/ticket/{}", ticket["id"].as_str().unwrap());
    assert_eq!(client.get(&record, &token).await["status"], "open");
}
