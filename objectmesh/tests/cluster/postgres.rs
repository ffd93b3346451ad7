//! PostgreSQL that ends connections, takes no writes, and has none to spare.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinSet;

use super::{
    app,
    client::{Answer, Client, Request},
};
use crate::process::{
    child::Supervised,
    cluster::{Cluster, Plan, owned},
    eventually,
    servers::{self, Database, sql},
};

/// The deadline of an ordinary call, and what the answer may take beyond it.
const ANSWERED: Duration = Duration::from_millis(10_250);
const RECOVERY: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(50);
/// Ends every connection of the mesh.
const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
     WHERE datname = current_database() AND application_name = 'objectmesh'";

/// A mesh on a database of its own, which goes away after it.
struct Bed {
    client: Client,
    token: String,
    _cluster: Cluster,
    database: Database,
}

impl Bed {
    async fn start(environment: &[(&str, &str)]) -> Self {
        let shared = servers::shared();
        let database = Database::with_app(&shared.postgres, &app());
        let plan = Plan {
            replicas: 1,
            database: database.url.clone(),
            redis: shared.redis.clone(),
            environment: owned(environment),
            proxied: false,
        };
        let cluster = Cluster::start(plan).await;
        let client = Client::of(&cluster);
        let token = client.sign_up("ada").await;
        Self {
            client,
            token,
            _cluster: cluster,
            database,
        }
    }

    async fn ask(&self, request: Request) -> Answer {
        self.client.ask(request.by(&self.token)).await
    }

    async fn create(&self, subject: &str) -> Answer {
        let body = json!({"subject": subject});
        let request = Request::post("/data/ticket", body).with("idempotency-key", subject);
        self.ask(request).await
    }

    async fn list(&self) -> Answer {
        self.ask(Request::get("/data/ticket?limit=5")).await
    }

    async fn is_well_again(&self) {
        eventually("the mesh reads and writes again", RECOVERY, async || {
            self.list().await.status == 200
                && self.create("well again").await.status == 201
                && self.client.sign_in("ada").await.status == 200
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_ended_by_the_server_cost_at_most_a_503() {
    let bed = Bed::start(&[]).await;
    let mut requests = JoinSet::new();
    let began = tokio::time::Instant::now();
    for number in 0..60_u32 {
        let due = began + EVERY * number;
        let (client, token) = (bed.client.clone(), bed.token.clone());
        requests.spawn(async move {
            tokio::time::sleep_until(due).await;
            let subject = format!("under load {number}");
            let (request, expected) = match number % 3 {
                0 => (Request::get("/data/ticket?limit=5"), 200),
                1 => (
                    Request::post("/data/ticket", json!({"subject": subject})),
                    201,
                ),
                _ => {
                    let key = format!("key-{number}");
                    let create = Request::post("/data/ticket", json!({"subject": subject}));
                    (create.with("idempotency-key", key), 201)
                }
            };
            let request = request.by(&token);
            let answer = client.send(&request).await.expect("an answer");
            let took = due.elapsed();
            assert!(took < ANSWERED, "{took:?}: {answer:?}");
            let away = answer.is_away();
            assert!(away || answer.status == expected, "{request:?}: {answer:?}");
            (number % 3 > 0 && !away).then_some(subject)
        });
    }
    let mut ended = 0;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let url = bed.database.url.clone();
        let terminated = tokio::task::spawn_blocking(move || sql(&url, TERMINATE)).await;
        let terminated = terminated.expect("psql runs");
        ended += terminated.trim().parse::<u32>().expect("a number");
    }
    let answered = requests.join_all().await;
    assert!(ended > 8, "only {ended} connections were ended");
    bed.is_well_again().await;
    // What was acknowledged is there, and nothing twice.
    let stored = bed.client.all(&bed.token, "ticket", "subject").await;
    let count = |subject: &str| {
        stored
            .iter()
            .filter(|row| row["subject"] == subject)
            .count()
    };
    let acknowledged: Vec<String> = answered.into_iter().flatten().collect();
    eprintln!(
        "{ended} connections ended; {} writes acknowledged",
        acknowledged.len()
    );
    for subject in &acknowledged {
        assert_eq!(count(subject), 1, "{subject}");
    }
    for number in 0..60 {
        assert!(
            count(&format!("under load {number}")) <= 1,
            "twice: {number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_answers_503_to_them_and_reads_go_on() {
    let bed = Bed::start(&[]).await;
    bed.create("before").await.ok(201);
    let (server, name) = bed.database.url.rsplit_once('/').expect("a database");
    let server = format!("{server}/postgres");
    let switch = |to: &str| {
        sql(
            &server,
            &format!("ALTER DATABASE {name} SET default_transaction_read_only = {to}"),
        );
        sql(&bed.database.url, TERMINATE);
    };
    switch("on");
    eventually("reads go on", RECOVERY, async || {
        bed.list().await.status == 200
    })
    .await;
    for turn in 0..4 {
        let refused = bed.create(&format!("meanwhile {turn}")).await;
        refused.refused(503, "SERVICE_UNAVAILABLE");
        let plain = Request::post("/data/ticket", json!({"subject": "meanwhile"}));
        bed.ask(plain).await.refused(503, "SERVICE_UNAVAILABLE");
        // A session is a row, too.
        let sign_in = bed.client.sign_in("ada").await;
        sign_in.refused(503, "SERVICE_UNAVAILABLE");
        assert_eq!(bed.list().await.ok(200)["total"], 1);
    }
    switch("off");
    bed.is_well_again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_free_connection_every_request_is_answered_within_its_deadline() {
    let bed = Bed::start(&[("OBJECTMESH__DATA__DB__MAX_CONNECTIONS", "2")]).await;
    bed.create("before").await.ok(201);
    // Whoever touches the table waits, and keeps a connection meanwhile.
    let mut holder = Command::new("psql");
    holder
        .args(["-X", "-q", "-c"])
        .arg("BEGIN; LOCK TABLE data.ticket IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)")
        .arg(&bed.database.url)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut holder = Supervised::spawn(&mut holder);
    let is_held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' \
         AND relation = 'data.ticket'::regclass AND granted";
    eventually("the table is locked", RECOVERY, async || {
        sql(&bed.database.url, is_held).trim() == "1"
    })
    .await;
    let mut requests = JoinSet::new();
    let began = tokio::time::Instant::now();
    for number in 0..24_u32 {
        let due = began + EVERY * number;
        let request = match number % 3 {
            0 => Request::get("/data/ticket?limit=5"),
            1 => Request::post("/data/ticket", json!({"subject": "meanwhile"})),
            _ => Request::get("/data/customer?limit=5"),
        };
        let (client, request) = (bed.client.clone(), request.by(&bed.token));
        requests.spawn(async move {
            tokio::time::sleep_until(due).await;
            let answer = client.send(&request).await.expect("an answer");
            let took = due.elapsed();
            assert!(took < ANSWERED, "{took:?}: {request:?}: {answer:?}");
            let other = number % 3 == 2;
            assert!(
                answer.is_away() || (other && answer.status == 200),
                "{answer:?}"
            );
            u32::from(answer.is_away())
        });
    }
    let away: u32 = requests.join_all().await.into_iter().sum();
    eprintln!("{away} of 24 refused");
    assert!(away >= 16, "the lock was not felt");
    // Ends the transaction with its session.
    holder.kill();
    sql(
        &bed.database.url,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE '%pg_sleep(600)'",
    );
    bed.is_well_again().await;
}
