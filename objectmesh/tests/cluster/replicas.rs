//! One of two replicas that is dead, silent or resets every connection, and services that are gone
//! altogether while the rest of the mesh goes on.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::{
    app,
    client::{Client, Request},
};
use crate::process::{
    cluster::{Cluster, Plan, Service, owned},
    eventually,
    proxy::Mode,
    servers::{self, Database},
};

/// The deadline of an ordinary call, and what the answer may take beyond it.
const ANSWERED: Duration = Duration::from_millis(10_250);
const RECOVERY: Duration = Duration::from_secs(15);
/// The load: a request is due every so often, whatever became of those before.
const EVERY: Duration = Duration::from_millis(50);
const REQUESTS: u32 = 40;

/// What becomes of the replica.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Dead,
    /// Its process is frozen: connections stay open, and are taken by the system.
    Frozen,
    Resetting,
}

/// How many requests were answered with 503 or 504: of those that can be made again, and of others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Away {
    repeatable: u32,
    once: u32,
}

/// Sends requests at a fixed rate; each is timed from the moment it was due.
async fn load(client: &Client, token: &str, label: &str) -> Away {
    let mut requests = JoinSet::new();
    let began = tokio::time::Instant::now();
    for number in 0..REQUESTS {
        let due = began + EVERY * number;
        let ticket = json!({"subject": format!("{label} {number}")});
        let (request, expected) = match number % 4 {
            0 => (Request::get("/data/ticket?limit=5"), 200),
            1 => (Request::get("/data/customer?limit=5"), 200),
            2 => {
                let key = format!("{label}-{number}");
                let create = Request::post("/data/ticket", ticket).with("idempotency-key", key);
                (create, 201)
            }
            // Nobody may send that one again.
            _ => (Request::post("/data/ticket", ticket), 201),
        };
        let (client, request) = (client.clone(), request.by(token));
        requests.spawn(async move {
            tokio::time::sleep_until(due).await;
            let answer = client.send(&request).await.expect("an answer");
            let took = due.elapsed();
            assert!(took < ANSWERED, "{took:?}: {request:?}: {answer:?}");
            let away = answer.is_away();
            assert!(away || answer.status == expected, "{request:?}: {answer:?}");
            match number % 4 {
                3 => (0, u32::from(away)),
                _ => (u32::from(away), 0),
            }
        });
    }
    let counted = requests.join_all().await.into_iter();
    let (repeatable, once) = counted.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Away { repeatable, once }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_replicas_dead_frozen_or_resetting_stops_nobody() {
    let shared = servers::shared();
    let database = Database::with_app(&shared.postgres, &app());
    let plan = Plan {
        replicas: 2,
        database: database.url.clone(),
        redis: shared.redis.clone(),
        // A replica that is frozen is found out within two seconds.
        environment: owned(&[("OBJECTMESH__MESH__KEEP_ALIVE_MS", "1000")]),
        proxied: true,
    };
    let mut cluster = Cluster::start(plan).await;
    let client = Client::of(&cluster);
    let token = client.sign_up("ada").await;
    assert_eq!(load(&client, &token, "all well").await, Away::default());
    // Each time another replica, so that the one before has to be of use again.
    for (turn, fault) in [Fault::Dead, Fault::Frozen, Fault::Resetting, Fault::Dead]
        .into_iter()
        .enumerate()
    {
        let number = turn % 2;
        match fault {
            Fault::Dead => cluster.node(Service::Data, number).kill(),
            Fault::Frozen => cluster.node(Service::Data, number).process().signal("STOP"),
            Fault::Resetting => cluster.proxy(Service::Data, number).set(Mode::Reset),
        }
        let label = format!("{turn} {fault:?}");
        let away = load(&client, &token, &label).await;
        eprintln!("{label}: {away:?} of {REQUESTS} refused");
        assert_eq!(away.repeatable, 0, "{label}: {away:?}");
        // Known by now: nothing is sent there any more.
        let away = load(&client, &token, &format!("{label} again")).await;
        assert_eq!(away.repeatable, 0, "{label} again: {away:?}");
        assert!(away.once <= 1, "{label} again: {away:?}");
        match fault {
            Fault::Dead => cluster.node(Service::Data, number).start(),
            Fault::Frozen => cluster.node(Service::Data, number).process().signal("CONT"),
            Fault::Resetting => cluster.proxy(Service::Data, number).set(Mode::Pass),
        }
        cluster.ready().await;
    }
    assert_eq!(load(&client, &token, "well again").await, Away::default());
    // What can be made again was done once each time.
    let mut subjects = Vec::new();
    for row in client.all(&token, "ticket", "subject").await {
        subjects.push(row["subject"].as_str().expect("a subject").to_owned());
    }
    let stored = subjects.len();
    subjects.sort_unstable();
    subjects.dedup();
    assert_eq!(stored, subjects.len(), "created twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_flow_svc_and_ai_svc_leaves_the_rest_as_it_was() {
    let mut cluster = Cluster::shared(&app(), 1, &[]).await;
    let client = Client::of(&cluster);
    let token = client.sign_up("ada").await;
    let theirs = [
        Request::post("/flows/escalate/start", json!({})).by(&token),
        Request::post("/ai/chat", json!({})).by(&token),
    ];
    // There is no such flow, and nothing was said.
    let answers = [404, 400];
    for (request, status) in theirs.iter().zip(answers) {
        let answer = client.ask(request.clone()).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    cluster.node(Service::Flow, 0).kill();
    cluster.node(Service::Ai, 0).kill();
    for round in 0..3 {
        for request in &theirs {
            let answer = client.ask(request.clone()).await;
            answer.refused(503, "SERVICE_UNAVAILABLE");
            // Who is nobody is told so, as before.
            let nobody = Request::post("/ai/chat", json!({}));
            client.ask(nobody).await.refused(401, "UNAUTHENTICATED");
        }
        let subject = format!("meanwhile {round}");
        let create = Request::post("/data/ticket", json!({"subject": subject})).by(&token);
        client.ask(create).await.ok(201);
        let list = Request::get("/data/ticket").by(&token);
        assert_eq!(client.ask(list).await.ok(200)["total"], round + 1);
        client.sign_in("ada").await.ok(200);
        let ready = client.readiness(0).await;
        assert_eq!(ready.status, 200, "{}", ready.body);
        assert_eq!(ready.body["degraded"], json!(["flow-svc", "ai-svc"]));
        let found = client.ask(Request::get("").by(&token)).await.ok(200);
        assert_eq!(
            found["services"]["ai"]["status"], "unavailable",
            "{found:#}"
        );
    }
    cluster.node(Service::Flow, 0).start();
    cluster.node(Service::Ai, 0).start();
    for (request, status) in theirs.iter().zip(answers) {
        eventually("their routes answer again", RECOVERY, async || {
            client.ask(request.clone()).await.status == status
        })
        .await;
    }
    let ready = client.readiness(0).await;
    assert_eq!(ready.body, json!({"status": "ready"}));
}
