//! What is taken away is gone within five seconds, at every gateway and every data-svc, whatever
//! credential somebody still holds.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    app,
    client::{Client, Request, identity_token, list_directly},
};
use crate::process::{
    cluster::{Cluster, Service},
    eventually,
};

/// The promise.
const WITHIN: Duration = Duration::from_secs(5);
/// What only the permission set `manager` lets a user of these tests read.
const OBJECT: &str = "deal";

/// Somebody at all doors: both gateways, and each data-svc with an identity token of before and
/// with the session token.
struct Visitor {
    client: Client,
    data: Vec<String>,
    session: String,
    identity: String,
}

impl Visitor {
    async fn new(cluster: &Cluster, session: &str) -> Self {
        let auth = cluster.urls(Service::Auth);
        Self {
            client: Client::of(cluster),
            data: cluster.urls(Service::Data),
            session: session.to_owned(),
            identity: identity_token(&auth[0], session).await,
        }
    }

    /// The doors that are open, by name.
    async fn open(&self) -> Vec<String> {
        let mut open = Vec::new();
        let request = Request::get(format!("/data/{OBJECT}")).by(&self.session);
        for number in 0..2 {
            let answer = self.client.send_to(number, &request).await;
            match answer.expect("an answer").status {
                200 => open.push(format!("gateway {number}")),
                401 | 403 => {}
                other => panic!("gateway {number} answers {other}"),
            }
        }
        for (number, data) in self.data.iter().enumerate() {
            for (name, token) in [
                ("identity token", &self.identity),
                ("session", &self.session),
            ] {
                let bearer = format!("Bearer {token}");
                match list_directly(data, OBJECT, "authorization", &bearer).await {
                    Ok(()) => open.push(format!("data-svc {number} with the {name}")),
                    Err(status)
                        if matches!(
                            status.code(),
                            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied
                        ) => {}
                    Err(status) => panic!("data-svc {number} with the {name}: {status}"),
                }
            }
        }
        open
    }

    /// Asserts that every door closes in time.
    async fn is_shut_out(&self, after: &str) {
        let began = Instant::now();
        let mut open = Vec::new();
        eventually(
            &format!("no door is open after {after}"),
            WITHIN,
            async || {
                open = self.open().await;
                open.is_empty()
            },
        )
        .await;
        eprintln!("{after}: all doors shut within {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_is_refused_by_every_replica_within_five_seconds() {
    // Who holds nothing may nothing.
    let nothing = [("OBJECTMESH__DATA__FALLBACK_PERMISSION_SET", "viewer")];
    let cluster = Cluster::shared(&app(), 2, &nothing).await;
    let client = Client::of(&cluster);
    let admin = client.sign_up("admin").await;
    let mut people = Vec::new();
    for name in ["grace", "greta", "gwen"] {
        let session = client.sign_up(name).await;
        let me = client
            .ask(Request::get("/auth/get-session").by(&session))
            .await;
        let id = me.ok(200)["user"]["id"].as_str().expect("an id").to_owned();
        let body = json!({"user_id": id, "permission_set": "manager"});
        let assigned = Request::post("/data/sys_user_permission_set", body).by(&admin);
        let assigned = client.ask(assigned).await.ok(201);
        let assignment = assigned["id"].as_str().expect("an id").to_owned();
        people.push((session, id, assignment));
    }
    let signs_out = Request::post("/auth/sign-out", json!({})).by(&people[0].0);
    let bans = Request::post("/auth/admin/ban-user", json!({"userId": people[1].1})).by(&admin);
    let path = format!("/data/sys_user_permission_set/{}", people[2].2);
    let unassigns = Request::delete(path).by(&admin);
    for ((session, ..), (what, request)) in people.iter().zip([
        ("signing out", signs_out),
        ("disabling the user", bans),
        ("removing the assignment", unassigns),
    ]) {
        // An assignment, too, takes its moment to be known everywhere.
        let mut visitor = Visitor::new(&cluster, session).await;
        eventually("all doors are open", WITHIN, async || {
            visitor = Visitor::new(&cluster, session).await;
            visitor.open().await.len() == 6
        })
        .await;
        let answer = client.send_to(0, &request).await.expect("an answer");
        assert!(
            matches!(answer.status, 200 | 204),
            "{what}: {}",
            answer.body
        );
        visitor.is_shut_out(what).await;
    }
    // Nobody else was shut out.
    let visitor = Visitor::new(&cluster, &admin).await;
    assert_eq!(visitor.open().await.len(), 6);
}
