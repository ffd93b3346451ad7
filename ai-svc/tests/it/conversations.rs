//! Conversations: kept, and run one message at a time.

use mesh::error::Reason;
use metadata::ItemType;
use serde_json::{Value, json};

use crate::{
    provider::{Fake, Step, text},
    tickets,
    world::{World, eventually},
};

fn by_message(_: usize, request: &Value) -> Vec<Step> {
    let messages = request["messages"].as_array().unwrap();
    match messages.last().unwrap()["content"]
        .as_str()
        .unwrap_or_default()
    {
        "hang" => vec![text("On"), Step::Hang],
        "break" => vec![text("Half of "), Step::Break],
        "refuse" => vec![Step::Status(500)],
        "look" => vec![Step::Call(
            "get_record",
            json!({"objectName": "ticket", "recordId": "t1"}),
        )],
        _ => vec![text(&format!("{} messages", messages.len()))],
    }
}

fn roles(said: &[(String, String)]) -> Vec<&str> {
    said.iter().map(|(role, _)| role.as_str()).collect()
}

#[tokio::test]
async fn one_message_is_answered_at_a_time() {
    let fake = Fake::start(by_message).await;
    let world = World::with_provider(tickets(), &fake).await;
    let talk = world.converse("ann", &json!({})).await;
    let body = json!({"content": "hang", "stream": true});
    let stream = world.begin_saying("ann", &talk, &body).await.unwrap();
    for _ in 0..3 {
        let busy = world.say("ann", &talk, "me too").await.unwrap_err();
        assert_eq!(
            (busy.reason(), busy.detail("reason")),
            (Reason::InvalidState, Some(&json!("CONVERSATION_BUSY")))
        );
    }
    // Another one is not kept waiting.
    let other = world.converse("ann", &json!({})).await;
    world.say("ann", &other, "hello").await.unwrap();
    // Who lets go lets the next one in.
    drop(stream);
    eventually("the next message is answered", async || {
        world.say("ann", &talk, "now?").await.is_ok()
    })
    .await;
    let said = world.said("ann", &talk).await;
    assert_eq!(said.first().unwrap().1, "hang", "{said:?}");
    assert!(!said.iter().any(|(_, text)| text == "me too"), "{said:?}");
}

#[tokio::test]
async fn what_was_said_until_a_failure_is_kept() {
    let fake = Fake::start(by_message).await;
    let world = World::with_provider(tickets(), &fake).await;
    let talk = world.converse("ann", &json!({})).await;
    for (said, reason) in [
        ("refuse", Reason::AiProviderError),
        ("break", Reason::AiProviderError),
    ] {
        let failed = world.say("ann", &talk, said).await.unwrap_err();
        assert_eq!(failed.reason(), reason);
        let kept = world.said("ann", &talk).await;
        assert_eq!(kept.last().unwrap(), &("user".to_owned(), said.to_owned()));
    }
    // A failure lets go of it, too; the calls of a turn are kept with their outputs.
    world.say("ann", &talk, "look").await.unwrap();
    let kept = world.said("ann", &talk).await;
    assert_eq!(
        roles(&kept)[..5],
        ["user", "user", "user", "assistant", "tool"],
        "{kept:?}"
    );
}

#[tokio::test]
async fn a_model_is_told_as_much_as_its_agent_remembers() {
    let fake = Fake::start(by_message).await;
    let data = tickets();
    let clerk =
        json!({"instructions": "You are the clerk.", "active": true, "memory": {"maxMessages": 4}});
    data.declare(ItemType::Agent, "clerk", clerk.clone());
    let world = World::with_provider(data, &fake).await;
    let talk = world.converse("ann", &json!({"agentId": "clerk"})).await;
    for _ in 0..4 {
        world.say("ann", &talk, "go on").await.unwrap();
    }
    let told = |fake: &Fake| {
        fake.request(fake.count() - 1)["messages"]
            .as_array()
            .unwrap()
            .clone()
    };
    let last = told(&fake);
    assert!(
        last.len() <= 1 + 4 + 1 && last[1]["role"] == "user",
        "{last:#?}"
    );
    assert!(
        last[0]["content"]
            .as_str()
            .unwrap()
            .contains("You are the clerk.")
    );
    // An agent that is not there any more is replaced.
    let mut gone = clerk;
    gone["active"] = json!(false);
    world.data.declare(ItemType::Agent, "clerk", gone);
    eventually("another one answers", async || {
        world.say("ann", &talk, "still there?").await.unwrap();
        !told(&fake)[0]["content"]
            .as_str()
            .unwrap()
            .contains("You are the clerk.")
    })
    .await;
}

#[tokio::test]
async fn somebody_elses_conversation_looks_missing() {
    let world = World::start(tickets()).await;
    let talk = world.converse("ann", &json!({"title": "Mine"})).await;
    world.say("ann", &talk, "hello").await.unwrap();
    let missing = world.say("bob", &talk, "hello").await.unwrap_err();
    assert_eq!(
        missing.detail("reason"),
        Some(&json!("CONVERSATION_NOT_FOUND"))
    );
    let mut body = crate::world::hi("x");
    body["conversationId"] = json!(talk);
    assert_eq!(
        world.ask("bob", &body).await.unwrap_err().reason(),
        Reason::NotFound
    );
    let answer = world.ask("ann", &body).await.unwrap();
    assert_eq!(answer["conversationId"], json!(talk));
    let said = world.said("ann", &talk).await;
    assert_eq!(roles(&said), ["user", "assistant", "user", "assistant"]);
    // A chat that is to be kept begins one.
    let mut kept = crate::world::hi("begin");
    kept["persist"] = json!(true);
    let begun = world.ask("ann", &kept).await.unwrap();
    let begun = begun["conversationId"].as_str().unwrap();
    assert_eq!(world.said("ann", begun).await.len(), 2);
}

#[tokio::test]
async fn a_run_whose_conversation_went_to_another_process_is_over() {
    let fake = Fake::start(by_message).await;
    let world = World::with_provider(tickets(), &fake).await;
    let talk = world.converse("ann", &json!({})).await;
    let body = json!({"content": "hang", "stream": true});
    let mut stream = world.begin_saying("ann", &talk, &body).await.unwrap();
    // As if this process had been silent for longer than its lease.
    world
        .sql(
            "UPDATE om_lease SET holder = 'other', fence = fence + 1, until_ms = until_ms + 60000 \
             WHERE name LIKE 'conversation:%'",
        )
        .await;
    while stream.message().await.unwrap().is_some() {}
    eventually("the provider's call ends", async || fake.closed() == 1).await;
    let busy = world.say("ann", &talk, "go on").await.unwrap_err();
    assert_eq!(busy.detail("reason"), Some(&json!("CONVERSATION_BUSY")));
    // The other one lets go.
    world.sql("UPDATE om_lease SET until_ms = 0").await;
    world.say("ann", &talk, "go on").await.unwrap();
}
