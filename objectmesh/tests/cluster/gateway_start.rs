//! A gateway that starts while Redis is away.

use std::time::Duration;

use serde_json::json;

use super::{
    app,
    client::{Client, Request},
};
use crate::process::{
    cluster::{Cluster, Plan, Service, owned},
    eventually,
    servers::{self, Database, Redis},
};

const SOON: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_started_without_redis_refuses_nobody_wrongly_and_needs_no_restart() {
    let shared = servers::shared();
    let mut redis = Redis::start();
    let database = Database::with_app(&shared.postgres, &app());
    let plan = Plan {
        replicas: 1,
        database: database.url.clone(),
        redis: redis.url(),
        environment: owned(&[("OBJECTMESH__RATE_LIMIT__AUTH_PER_MINUTE", "30")]),
        proxied: false,
    };
    let mut cluster = Cluster::start(plan).await;
    let client = Client::of(&cluster);
    let good = client.sign_up("ada").await;
    let ended = client.sign_up("eve").await;
    let signs_out = |token: &str| Request::post("/auth/sign-out", json!({})).by(token);
    client.ask(signs_out(&ended)).await.ok(200);
    let check = async |when: &str, token: &str, status: u16| {
        let answer = client.ask(Request::get("/data/sys_user").by(token)).await;
        assert_eq!(answer.status, status, "{when}: {}", answer.body);
    };
    let check_all = async |when: &str| {
        check(when, &good, 200).await;
        check(when, &ended, 401).await;
        check(when, "made-up-by-nobody", 401).await;
        let nobody = client.ask(Request::get("/data/sys_user")).await;
        nobody.refused(401, "UNAUTHENTICATED");
    };
    redis.stop();
    let stopped = cluster.node(Service::Gateway, 0).stop(SOON).await;
    assert!(stopped.success(), "{stopped}");
    cluster.node(Service::Gateway, 0).start();
    cluster.node(Service::Gateway, 0).ready().await;
    let ready = client.readiness(0).await;
    assert_eq!(ready.body["degraded"], json!(["session store"]));
    check_all("without Redis").await;
    // Who comes and goes meanwhile does so at once.
    let session = client.sign_in("ada").await.ok(200);
    let brief = session["token"].as_str().expect("a token").to_owned();
    check("signed in without Redis", &brief, 200).await;
    client.ask(signs_out(&brief)).await.ok(200);
    check("signed out without Redis", &brief, 401).await;

    redis.start_again();
    eventually("the gateway knows Redis again", SOON, async || {
        client.readiness(0).await.body == json!({"status": "ready"})
    })
    .await;
    check_all("with Redis again").await;
    check("signed out without Redis, with Redis again", &brief, 401).await;
    client.ask(signs_out(&good)).await.ok(200);
    check("signed out with Redis again", &good, 401).await;
}
