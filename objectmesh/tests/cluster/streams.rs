//! Streams while the processes behind them stop or die: each ends in good order, and says how.

use std::time::Duration;

use serde_json::{Value, json};

use super::{app, client::Client};
use crate::{
    ai::provider::{Fake, Step, text},
    process::{
        cluster::{Cluster, Service},
        eventually,
    },
};

/// A model that says something, thinks for so long, and says the rest.
async fn thinking_for(pause: Duration) -> Fake {
    Fake::start(move |_, _| vec![text("first "), Step::Sleep(pause), text("then")]).await
}

async fn cluster(fake: &Fake, replicas: usize) -> (Cluster, String) {
    let environment = fake.environment();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let cluster = Cluster::shared(&app(), replicas, &environment).await;
    let client = Client::of(&cluster);
    let token = client.sign_up("ada").await;
    (cluster, token)
}

/// A chat that has begun.
struct Chat {
    response: reqwest::Response,
    seen: String,
}

impl Chat {
    /// Begins one at that gateway and waits for its first words.
    async fn begin(gateway: &str, token: &str) -> Self {
        let body = json!({"messages": [{"role": "user", "content": "go on"}]});
        let response = reqwest::Client::new()
            .post(format!("{gateway}/api/v1/ai/chat/stream"))
            .bearer_auth(token)
            .json(&body)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 200);
        let mut chat = Self {
            response,
            seen: String::new(),
        };
        while !chat.seen.contains("first") {
            assert!(chat.more().await, "it ended: {}", chat.seen);
        }
        chat
    }

    async fn more(&mut self) -> bool {
        let Some(chunk) = self
            .response
            .chunk()
            .await
            .expect("the body does not break off")
        else {
            return false;
        };
        self.seen.push_str(&String::from_utf8_lossy(&chunk));
        true
    }

    /// Everything to the end: the events, of which the last is `[DONE]`.
    async fn end(mut self) -> Vec<Value> {
        while self.more().await {}
        let mut data: Vec<&str> = self
            .seen
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "))
            .collect();
        assert_eq!(data.pop(), Some("[DONE]"), "{}", self.seen);
        data.into_iter()
            .map(|event| serde_json::from_str(event).expect("JSON"))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_service_is_killed_says_so_and_ends() {
    let fake = thinking_for(Duration::from_secs(120)).await;
    let (mut cluster, token) = cluster(&fake, 1).await;
    let gateway = cluster.urls(Service::Gateway)[0].clone();
    let chat = Chat::begin(&gateway, &token).await;
    cluster.node(Service::Ai, 0).kill();
    let events = chat.end().await;
    let last: Vec<&Value> = events.iter().rev().take(3).collect();
    assert_eq!(last[0], &json!({"type": "finish", "finishReason": "error"}));
    assert_eq!(last[1], &json!({"type": "finish-step"}));
    assert_eq!(last[2]["type"], "error", "{events:#?}");
    assert!(last[2]["errorText"].is_string());
    // The model is not kept busy by what nobody reads any more.
    let patience = Duration::from_secs(20);
    eventually("the call ends", patience, async || fake.closed() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_outlive_a_restart_of_what_carries_them() {
    let fake = thinking_for(Duration::from_secs(2)).await;
    let (mut cluster, token) = cluster(&fake, 2).await;
    let gateways = cluster.urls(Service::Gateway);
    for service in [Service::Ai, Service::Gateway] {
        let mut chats = Vec::new();
        for gateway in gateways.iter().chain(&gateways) {
            chats.push(Chat::begin(gateway, &token).await);
        }
        let stopping = cluster.node(service, 0).stop(Duration::from_secs(40));
        let ending = futures::future::join_all(chats.into_iter().map(Chat::end));
        let (status, ended) = tokio::join!(stopping, ending);
        assert!(status.success(), "{service:?}: {status}");
        for events in ended {
            let last = events.last().expect("events");
            assert_eq!(last["type"], "finish", "{service:?}");
            assert_eq!(last["finishReason"], "stop", "{service:?}: {events:#?}");
        }
        let node = cluster.node(service, 0);
        node.start();
        node.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_takes_its_place_until_it_ends() {
    let fake = thinking_for(Duration::from_millis(1500)).await;
    let mut environment = fake.environment();
    environment.push(("OBJECTMESH__GATEWAY__MAX_IN_FLIGHT", "1".to_owned()));
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let cluster = Cluster::shared(&app(), 1, &environment).await;
    let client = Client::of(&cluster);
    let token = client.sign_up("ada").await;
    let gateway = cluster.urls(Service::Gateway)[0].clone();
    let chat = Chat::begin(&gateway, &token).await;
    let list = async || {
        let list = reqwest::Client::new().get(format!("{gateway}/api/v1/data/ticket"));
        let answer = list.bearer_auth(&token).send().await;
        answer.expect("an answer").status().as_u16()
    };
    assert_eq!(list().await, 503);
    let events = chat.end().await;
    assert_eq!(events.last().expect("events")["finishReason"], "stop");
    let patience = Duration::from_secs(10);
    eventually("the place is free", patience, async || list().await == 200).await;
}
