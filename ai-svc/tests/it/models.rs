//! Providers of models: what they are asked, what becomes of their failures, and how a stream ends.

use std::time::Duration;

use mesh::{error::Reason, identity::Identity};
use serde_json::{Value, json};

use crate::{
    fake_auth::user,
    provider::{Fake, KEY, Step, text},
    tickets,
    world::{World, all, eventually, hi, kinds, next},
};

/// What the last message of the user asks for.
fn by_message(_: usize, request: &Value) -> Vec<Step> {
    let messages = request["messages"].as_array().unwrap();
    let user = messages
        .iter()
        .rev()
        .find(|one| one["role"] == "user")
        .unwrap();
    match user["content"].as_str().unwrap_or_default() {
        "refuse" => vec![Step::Status(500)],
        "bad key" => vec![Step::Status(401)],
        "too many" => vec![Step::Refuse(429, "retry-after: 7")],
        "redirect" => vec![Step::Refuse(302, "location: http://127.0.0.1:1/")],
        "break" => vec![text("Half of "), Step::Break],
        "hang" => vec![text("On and on"), Step::Hang],
        "mute" => vec![Step::Hang],
        "slow" => vec![
            text("Good "),
            Step::Sleep(Duration::from_millis(20)),
            text("day"),
        ],
        "uncounted" => vec![text("Twelve chars"), Step::Uncounted],
        "tool" if messages.last().unwrap()["role"] == "user" => vec![
            text("I look. "),
            Step::Call("get_record", json!({"objectName": "ticket"})),
            Step::Call(
                "get_record",
                json!({"objectName": "ticket", "recordId": "t1"}),
            ),
        ],
        "tool" => vec![text("It is there.")],
        _ => vec![text("Good "), text("day")],
    }
}

#[tokio::test]
async fn a_provider_is_asked_with_its_key_and_all_that_was_said() {
    let fake = Fake::start(by_message).await;
    let world = World::with_provider(tickets(), &fake).await;
    let mut body = hi("slow");
    for (key, value) in [
        ("temperature", json!(0.5)),
        ("maxTokens", json!(99)),
        ("system", json!("Be kind.")),
    ] {
        body[key] = value;
    }
    let answer = world.ask("ann", &body).await.unwrap();
    assert_eq!(
        (&answer["content"], &answer["finishReason"]),
        (&json!("Good day"), &json!("stop"))
    );
    assert_eq!(
        answer["usage"],
        json!({"promptTokens": 11, "completionTokens": 7, "totalTokens": 18})
    );
    let asked = fake.request(0);
    assert_eq!(
        (&asked["model"], &asked["stream"]),
        (&json!("gpt-4o"), &json!(true))
    );
    assert_eq!(
        (&asked["temperature"], &asked["max_tokens"]),
        (&json!(0.5), &json!(99))
    );
    let system = asked["messages"][0]["content"].as_str().unwrap();
    assert!(system.ends_with("Be kind."), "{system}");
    let head = fake.head(0).to_ascii_lowercase();
    assert!(
        head.contains(&format!("authorization: bearer {KEY}")),
        "{head}"
    );
    // What it does not count is estimated.
    let usage = world.chat("ann", "uncounted").await["usage"].clone();
    assert_eq!(usage["completionTokens"], 3, "{usage}");
    let answer = world.complete("uncounted").await.unwrap();
    assert_eq!(
        answer["usage"],
        json!({"promptTokens": 3, "completionTokens": 3, "totalTokens": 6})
    );
}

#[tokio::test]
async fn anthropic_is_asked_in_its_own_words() {
    let fake = Fake::anthropic(|number, _| match number {
        0 => vec![text("Let me see. "), Step::Call("list_objects", json!({}))],
        _ => vec![text("There are tickets.")],
    })
    .await;
    let world = World::with_provider(tickets(), &fake).await;
    let answer = world.chat("ann", "What is there?").await;
    assert_eq!(answer["content"], "There are tickets.", "{answer:#}");
    assert_eq!(
        (
            &answer["usage"]["totalTokens"],
            &answer["toolCalls"][0]["toolName"]
        ),
        (&json!(36), &json!("list_objects"))
    );
    let head = fake.head(0).to_ascii_lowercase();
    assert!(
        head.starts_with("post /v1/messages ") && head.contains(&format!("x-api-key: {KEY}")),
        "{head}"
    );
    assert!(head.contains("anthropic-version: "), "{head}");
    let messages = fake.request(1)["messages"].as_array().unwrap().clone();
    let roles: Vec<_> = messages
        .iter()
        .map(|one| one["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    let (used, result) = (&messages[1]["content"][1], &messages[2]["content"][0]);
    assert_eq!(
        (&used["type"], &result["type"]),
        (&json!("tool_use"), &json!("tool_result"))
    );
    assert_eq!(result["tool_use_id"], used["id"]);
}

/// What a client is told of a provider's failure: neither its words nor our key.
fn told(said: &str, error: &mesh::Error, reason: Reason) {
    assert_eq!(error.reason(), reason, "{said} {error}");
    assert_eq!(error.detail("provider"), Some(&json!("openai")), "{said}");
    let shown = error.envelope().to_string();
    assert!(
        !shown.contains(KEY) && !shown.contains("Incorrect"),
        "{shown}"
    );
}

/// A stream that had begun when its provider failed.
fn broke_off(events: &[Value], text: &[&str]) {
    let mut order = vec!["start", "start-step"];
    order.extend(text);
    order.extend(["error", "finish-step", "finish"]);
    assert_eq!(kinds(events), order, "{events:#?}");
    assert_eq!(events.last().unwrap()["finishReason"], "error");
}

const TEXT: [&str; 2] = ["text-start", "text-delta"];

#[tokio::test]
async fn failures_of_a_provider_are_told_without_its_words() {
    let fake = Fake::start(by_message).await;
    let world = World::with_provider(tickets(), &fake).await;
    for (said, reason) in [
        ("refuse", Reason::AiProviderError),
        ("bad key", Reason::AiProviderError),
        ("redirect", Reason::AiProviderError),
        ("break", Reason::AiProviderError),
        ("too many", Reason::RateLimited),
    ] {
        let mut errors = vec![
            world.ask("ann", &hi(said)).await.unwrap_err(),
            world.complete(said).await.unwrap_err(),
        ];
        // As events: an error before the first one, an event after it.
        match world.events(said).await {
            Err(error) if said != "break" => errors.push(error),
            Ok(events) if said == "break" => broke_off(&events, &TEXT),
            other => panic!("{said} {other:?}"),
        }
        for error in errors {
            told(said, &error, reason);
            if said == "too many" {
                assert_eq!(error.detail("retryAfter"), Some(&json!(7)));
            }
        }
    }
    let statuses = "SELECT DISTINCT status FROM ai_traces ORDER BY status";
    eventually("calls that failed are traced", async || {
        world.texts(statuses).await == ["error"]
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_given_up() {
    let fake = Fake::start(by_message).await;
    let world = World::with_provider_and(tickets(), &fake, &[("LIMITS__IDLE_MS", "500")]).await;
    let silent = async |said: &str, text: &[&str]| {
        let body = hi(said);
        let (answer, completion, events) = tokio::join!(
            world.ask("ann", &body),
            world.complete(said),
            world.events(said)
        );
        told(said, &answer.unwrap_err(), Reason::Timeout);
        told(said, &completion.unwrap_err(), Reason::Timeout);
        broke_off(&events.unwrap(), text);
    };
    // In the middle, and from the beginning.
    tokio::join!(silent("hang", &TEXT), silent("mute", &[]));
}

#[tokio::test]
async fn events_come_in_their_order() {
    let fake = Fake::start(by_message).await;
    let world = World::with_provider(tickets(), &fake).await;
    let events = world.events("hello").await.unwrap();
    let order = [
        "start",
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        "finish-step",
        "message-metadata",
        "finish",
    ];
    assert_eq!(kinds(&events), order, "{events:#?}");
    assert_eq!(
        events.last().unwrap(),
        &json!({"type": "finish", "finishReason": "stop"})
    );
    // Tools stand inside their step; one that fails is told to the model, which goes on.
    let events = world.events("tool").await.unwrap();
    let order = [
        "start",
        "start-step",
        "text-start",
        "text-delta",
        "tool-input-start",
        "tool-input-delta",
        "tool-input-start",
        "tool-input-delta",
        "tool-input-available",
        "tool-output-error",
        "tool-input-available",
        "tool-output-available",
        "text-end",
        "finish-step",
        "start-step",
        "text-start",
        "text-delta",
        "text-end",
        "finish-step",
        "message-metadata",
        "finish",
    ];
    assert_eq!(kinds(&events), order, "{events:#?}");
    let ids = |kind: &str| {
        events
            .iter()
            .filter(|event| event["type"] == kind)
            .map(|event| event["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("text-start"), ["0", "1"]);
    let answer = world.chat("ann", "tool").await;
    assert_eq!(
        (
            &answer["content"],
            answer["toolCalls"].as_array().unwrap().len()
        ),
        (&json!("It is there."), 2)
    );
}

#[tokio::test]
async fn who_goes_ends_the_call_of_the_provider() {
    let fake = Fake::start(by_message).await;
    let world = World::with_provider(tickets(), &fake).await;
    let mut stream = world.stream_as(user("ann"), &hi("hang")).await.unwrap();
    while next(&mut stream).await.unwrap()["type"] != "text-delta" {}
    drop(stream);
    eventually("the call of the stream ends", async || fake.closed() == 1).await;
    // So does the call for somebody who has no more time.
    let late = world
        .ask_as(user("ann"), &hi("hang"), Duration::from_millis(1_500))
        .await
        .unwrap_err();
    assert_eq!(late.reason(), Reason::Timeout, "{late}");
    eventually("the call of the answer ends", async || fake.closed() == 2).await;
}

#[tokio::test]
async fn a_session_that_ends_ends_its_answers() {
    let fake = Fake::start(by_message).await;
    let world = World::with_provider(tickets(), &fake).await;
    let in_session = || Identity {
        session_id: Some("s1".to_owned()),
        ..user("ann")
    };
    let mut stream = world.stream_as(in_session(), &hi("hang")).await.unwrap();
    while next(&mut stream).await.unwrap()["type"] != "text-delta" {}
    let (body, patience) = (hi("hang"), Duration::from_secs(20));
    let waiting = world.ask_as(in_session(), &body, patience);
    let ending = async {
        eventually("both ask", async || fake.count() == 2).await;
        world.auth.end_session("s1");
        all(stream).await
    };
    let (answer, events) = tokio::join!(waiting, ending);
    let error = answer.unwrap_err();
    assert_eq!(
        error.detail("reason"),
        Some(&json!("SESSION_ENDED")),
        "{error}"
    );
    assert_eq!(
        kinds(&events),
        ["error", "finish-step", "finish"],
        "{events:#?}"
    );
    eventually("both calls end", async || fake.closed() == 2).await;
}
