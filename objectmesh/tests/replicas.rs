//! Several replicas of each service: who changed metadata sees it in the next request, whichever
//! replica answers; and a process that is full says so and stays reachable.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    app,
    process::{
        child::Supervised,
        cluster::{Cluster, Plan, Service, owned},
        servers::{self, Database},
    },
    with_token,
};
use mesh::{Error, Link, error::Reason, revision::REVISION};
use proto::{
    data::v1::{ListRecordsRequest, record_service_client::RecordServiceClient},
    mesh::v1::{DescribeRequest, describe_service_client::DescribeServiceClient},
};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::Status;

const PATIENCE: Duration = Duration::from_secs(10);

/// A cluster on a database of its own with the test app in it, and its administrator's token.
struct Bed {
    cluster: Cluster,
    database: Database,
    admin: String,
    http: reqwest::Client,
}

impl Bed {
    async fn start(replicas: usize, environment: &[(&str, &str)]) -> Self {
        let shared = servers::shared();
        let database = Database::with_app(&shared.postgres, &app());
        let cluster = Cluster::start(Plan {
            replicas,
            database: database.url.clone(),
            redis: shared.redis.clone(),
            environment: owned(environment),
            proxied: false,
        })
        .await;
        let http = reqwest::Client::new();
        let url = &cluster.urls(Service::Gateway)[0];
        let body = json!({"name": "Ada", "email": "ada@example.com", "password": "correct horse"});
        let signed_up = http.post(format!("{url}/api/v1/auth/sign-up/email"));
        let signed_up = signed_up.json(&body).send().await.expect("an answer");
        let signed_up: Value = signed_up.json().await.expect("JSON");
        let admin = signed_up["token"].as_str().expect("a token").to_owned();
        Self {
            cluster,
            database,
            admin,
            http,
        }
    }

    async fn get(&self, path: &str) -> Response {
        let url = format!("{}/api/v1{path}", self.cluster.urls(Service::Gateway)[0]);
        let request = self.http.get(url).bearer_auth(&self.admin);
        request.send().await.expect("an answer")
    }

    /// The revision that a data-svc serves.
    async fn revision(&self, url: &str) -> u64 {
        let mut client = DescribeServiceClient::new(Link::connect(url).expect("an address"));
        let asked = with_token(DescribeRequest::default(), &self.admin);
        let answer = client.describe(asked).await.expect("an answer");
        answer.into_inner().registry_revision
    }

    /// Lists an object at a data-svc, by somebody who has seen that revision.
    async fn list(&self, url: &str, object: &str, revision: u64) -> Result<u64, Status> {
        let mut client = RecordServiceClient::new(Link::connect(url).expect("an address"));
        let message = ListRecordsRequest {
            object: object.to_owned(),
            ..ListRecordsRequest::default()
        };
        let mut request = with_token(message, &self.admin);
        request.metadata_mut().insert(REVISION, revision.into());
        let answer = client.list_records(request).await?;
        let named = answer.metadata().get(REVISION).expect("a revision");
        Ok(named.to_str().expect("text").parse().expect("a number"))
    }
}

/// An app with one object, in a folder of its own.
fn another_app(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write(
        "manifest.yaml",
        "id: com.example.more\nnamespace: more\nname: More\nversion: 1.0.0\n",
    );
    write(
        "objects/widget.yaml",
        "label: Widget\npluralLabel: Widgets\nfields:\n  name: { type: text, label: Name }\n",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_metadata_is_seen_in_the_next_request() {
    let bed = Bed::start(2, &[]).await;
    let services = bed.cluster.urls(Service::Data);
    let before = bed.revision(&services[0]).await;
    assert_eq!(bed.get("/data/widget").await.status(), 404);

    let folder = tempfile::tempdir().expect("a folder");
    another_app(folder.path());
    servers::migrate(&bed.database.url, folder.path());
    let after = before + 1;
    for url in &services {
        let named = bed.list(url, "widget", after).await;
        assert_eq!(named.expect("the new object"), after);
    }
    // Once the gateway has seen it, no replica answers from before.
    for _ in 0..40 {
        assert_eq!(bed.get("/data/widget").await.status(), 200);
    }

    // What nobody has published is not waited for without end.
    let asked = Instant::now();
    let refused = bed.list(&services[0], "widget", after + 9).await;
    let refused = Error::from_status(&refused.expect_err("no such revision"));
    assert_eq!(refused.reason(), Reason::ServiceUnavailable);
    assert_eq!(refused.detail("servedRevision"), Some(&after.into()));
    assert!(asked.elapsed() < PATIENCE);
}

/// Holds a table so that nobody reads it.
struct Hold {
    url: String,
    _session: Supervised,
}

impl Hold {
    fn table(url: &str, table: &str) -> Self {
        let statement = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        let mut command = Command::new("psql");
        command
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", &statement])
            .args(["-c", "SELECT pg_sleep(60)", url])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let hold = Self {
            url: url.to_owned(),
            _session: Supervised::spawn(&mut command),
        };
        let granted = format!(
            "SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass \
             AND mode = 'AccessExclusiveLock' AND granted"
        );
        let deadline = Instant::now() + PATIENCE;
        while servers::sql(url, &granted).trim() != "1" {
            assert!(Instant::now() < deadline, "the table is not locked");
        }
        hold
    }

    fn release(self) {
        servers::sql(
            &self.url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%'",
        );
    }
}

/// How many calls data-svc has in flight, as its metrics say.
async fn in_flight(admin: &str) -> Option<u32> {
    let text = reqwest::get(format!("http://{admin}/metrics")).await.ok()?;
    let text = text.text().await.ok()?;
    let line = r#"objectmesh_rpc_in_flight{service="data-svc"} "#;
    text.lines()
        .find_map(|at| at.strip_prefix(line))?
        .parse()
        .ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_process_refuses_at_once_and_stays_reachable() {
    let admin = crate::support::process::ports::Port::lease();
    let mut bed = Bed::start(1, &[]).await;
    let data = bed.cluster.node(Service::Data, 0);
    data.stop(PATIENCE).await;
    data.set("OBJECTMESH__MESH__MAX_IN_FLIGHT", "1");
    data.set("OBJECTMESH__ADMIN__LISTEN", &admin.address());
    data.start();
    data.ready().await;
    assert_eq!(bed.get("/data/ticket").await.status(), 200);

    let hold = Hold::table(&bed.database.url, "data.ticket");
    let url = format!(
        "{}/api/v1/data/ticket",
        bed.cluster.urls(Service::Gateway)[0]
    );
    let waiting = bed.http.get(url).bearer_auth(&bed.admin).send();
    let mut tasks = JoinSet::new();
    tasks.spawn(waiting);
    let deadline = Instant::now() + PATIENCE;
    while in_flight(&admin.address()).await != Some(1) {
        assert!(Instant::now() < deadline, "no call is in flight");
        tokio::task::yield_now().await;
    }

    // Another object would be read at once; there is no place for the call.
    let asked = Instant::now();
    let refused = bed.get("/data/customer").await;
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "SERVICE_UNAVAILABLE");
    // It is full, not ill.
    bed.cluster.node(Service::Data, 0).ready().await;

    hold.release();
    let answered = tasks.join_next().await.expect("a task").expect("no panic");
    let answered = answered.expect("an answer");
    assert_eq!(answered.status(), 200);
    assert_eq!(bed.get("/data/customer").await.status(), 200);
    assert_eq!(in_flight(&admin.address()).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_shows_its_metrics() {
    let mut bed = Bed::start(1, &[]).await;
    let admin = crate::support::process::ports::Port::lease();
    let data = bed.cluster.node(Service::Data, 0);
    data.stop(PATIENCE).await;
    data.set("OBJECTMESH__ADMIN__LISTEN", &admin.address());
    data.start();
    data.ready().await;
    for _ in 0..3 {
        assert_eq!(bed.get("/data/ticket").await.status(), 200);
    }
    assert_eq!(bed.get("/data/ticket/nobody").await.status(), 404);

    let text = reqwest::get(format!("http://{}/metrics", admin.address())).await;
    let text = text.expect("an answer").text().await.expect("text");
    let rpc = "objectmesh.data.v1.RecordService";
    // The first may have come with a token that the new process did not take yet, and come again.
    let counted = format!(r#"objectmesh_rpc_total{{rpc="{rpc}/ListRecords","#);
    let counted = text.lines().filter(|line| line.starts_with(&counted));
    let numbers = counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u32>().ok());
    let called: u32 = numbers.sum();
    for line in [
        format!(r#"objectmesh_rpc_total{{rpc="{rpc}/ListRecords",code="OK"}} 3"#),
        format!(r#"objectmesh_rpc_total{{rpc="{rpc}/GetRecord",code="NOT_FOUND"}} 1"#),
        format!(r#"objectmesh_rpc_duration_seconds_count{{rpc="{rpc}/ListRecords"}} {called}"#),
        r#"objectmesh_rpc_in_flight{service="data-svc"} 0"#.to_owned(),
    ] {
        assert!(
            text.lines().any(|at| at == line),
            "{line} is not in\n{text}"
        );
    }
    let open = r#"objectmesh_db{service="data-svc",what="connections_open"} "#;
    let open = text.lines().find_map(|at| at.strip_prefix(open));
    let open: u32 = open.expect("a gauge").parse().expect("a number");
    assert!(open > 0);

    let gateway = &bed.cluster.urls(Service::Gateway)[0];
    let text = reqwest::get(format!("{gateway}/metrics")).await;
    let text = text.expect("an answer").text().await.expect("text");
    let list = concat!(
        r#"objectmesh_http_requests_total{method="GET","#,
        r#"route="/api/v1/data/{object}",status="200"} 3"#
    );
    assert!(
        text.lines().any(|at| at == list),
        "{list} is not in\n{text}"
    );
}
