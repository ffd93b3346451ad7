//! API keys at every door, and secrets that are changed while people are signed in.

use std::time::Duration;

use serde_json::json;

use super::{
    app,
    client::{Client, Request, list_directly},
};
use crate::process::{
    cluster::{Cluster, Service},
    eventually,
};

/// How soon a key that was deleted is refused everywhere.
const WITHIN: Duration = Duration::from_secs(5);
const STOPS: Duration = Duration::from_secs(40);
const SECRET: &str = "OBJECTMESH__AUTH__SECRET";
const OLD: &str = "the first secret of these tests is long enough";
const NEW: &str = "the next secret of these tests is long enough";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_opens_what_its_scopes_name_at_every_door_until_it_is_deleted() {
    let cluster = Cluster::shared(&app(), 2, &[]).await;
    let client = Client::of(&cluster);
    let data = cluster.urls(Service::Data);
    let session = client.sign_up("ada").await;
    let make = async |body| {
        let made = client.ask(Request::post("/keys", body).by(&session)).await;
        let made = made.ok(201);
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        (text("id"), text("key"))
    };
    let (id, reads) = make(json!({"name": "reads", "scopes": ["data:read"]})).await;
    let (_, all) = make(json!({"name": "all"})).await;
    let list = |key: &str| Request::get("/data/ticket").with("x-api-key", key);
    let create = |key: &str| {
        Request::post("/data/ticket", json!({"subject": "by a key"})).with("x-api-key", key)
    };
    let directly = async |number: usize, key: &str| {
        list_directly(&data[number], "ticket", "x-api-key", key).await
    };
    for number in 0..2 {
        let ask = async |request| client.send_to(number, &request).await.expect("an answer");
        ask(list(&reads)).await.ok(200);
        ask(create(&reads)).await.refused(403, "PERMISSION_DENIED");
        ask(create(&all)).await.ok(201);
        // No key makes keys, whatever its scopes.
        let another = Request::post("/keys", json!({"name": "x"})).with("x-api-key", &all);
        ask(another).await.refused(403, "PERMISSION_DENIED");
        ask(list("osk_made_up"))
            .await
            .refused(401, "UNAUTHENTICATED");
        directly(number, &reads).await.expect("records");
        directly(number, &all).await.expect("records");
        let refused = directly(number, "osk_made_up").await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    }
    let delete = Request::delete(format!("/keys/{id}")).by(&session);
    let deleted = client.ask(delete).await;
    assert!(matches!(deleted.status, 200 | 204), "{deleted:?}");
    eventually("the key is refused at every door", WITHIN, async || {
        let mut open = 0;
        for number in 0..2 {
            let answer = client.send_to(number, &list(&reads)).await;
            open += u32::from(answer.expect("an answer").status != 401);
            let refused = directly(number, &reads).await;
            let refused = refused.err().map(|status| status.code());
            open += u32::from(refused != Some(tonic::Code::Unauthenticated));
        }
        open == 0
    })
    .await;
    // The other one lives on.
    client.ask(list(&all)).await.ok(200);
    directly(0, &all).await.expect("records");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_changed_without_signing_anybody_out() {
    let mut cluster = Cluster::shared(&app(), 2, &[(SECRET, OLD)]).await;
    let client = Client::of(&cluster);
    client.sign_up("ada").await;
    // Sessions as browsers and programs have them, of every stage of the change.
    let mut sessions = Vec::new();
    let sign_in = async |sessions: &mut Vec<(String, String)>| {
        let answer = client.sign_in("ada").await;
        let cookie = answer.cookie.clone().expect("a cookie");
        let token = answer.ok(200)["token"]
            .as_str()
            .expect("a token")
            .to_owned();
        sessions.push((cookie, token));
    };
    sign_in(&mut sessions).await;
    let both = |first: &str, second: &str| format!("{first},{second}");
    // As the settings say: first the new one only verifies, then it signs.
    for secret in [both(OLD, NEW), both(NEW, OLD)] {
        for number in 0..2 {
            let node = cluster.node(Service::Auth, number);
            let stopped = node.stop(STOPS).await;
            assert!(stopped.success(), "{stopped}");
            node.set(SECRET, &secret);
            node.start();
            node.ready().await;
            sign_in(&mut sessions).await;
            // Whichever of the two replicas is asked, some with other secrets than the other.
            for (cookie, token) in &sessions {
                for gateway in 0..2 {
                    for request in [
                        Request::get("/data/ticket").with("cookie", cookie),
                        Request::get("/data/ticket").by(token),
                        Request::get("/auth/get-session").with("cookie", cookie),
                    ] {
                        let answer = client.send_to(gateway, &request).await;
                        let answer = answer.expect("an answer").ok(200);
                        assert!(answer.is_object(), "{request:?}: {answer}");
                    }
                }
            }
        }
    }
    // The old one alone is refused once it is gone.
    for number in 0..2 {
        let node = cluster.node(Service::Auth, number);
        assert!(node.stop(STOPS).await.success());
        node.set(SECRET, NEW);
        node.start();
        node.ready().await;
    }
    let session = |cookie: &str| Request::get("/auth/get-session").with("cookie", cookie);
    let oldest = client.ask(session(&sessions[0].0)).await.ok(200);
    assert!(oldest.is_null(), "{oldest}");
    let newest = &sessions.last().expect("a session").0;
    let newest = client.ask(session(newest)).await.ok(200);
    assert!(newest.is_object(), "{newest}");
}
