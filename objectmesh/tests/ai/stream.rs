//! Chat as events: their order, and how they end.

use std::time::{Duration, Instant};

use mesh::{Link, error::Reason};
use proto::ai::v1::{ChatRequest, StreamChatRequest, chat_service_client::ChatServiceClient};
use serde_json::{Value, json};

use super::{
    provider::{Fake, KEY, Step, text},
    reader::{Reader, Seen, kinds, said},
};
use crate::{
    support::{Size, TestMesh, process::eventually, with_token},
    with_provider, with_provider_once,
};

const SSE: &str = "text/event-stream";

fn hi(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

sizes!(
    a_plain_reader_sees_the_events_in_order,
    |mesh: TestMesh| async move {
        // As the AI SDK's transport sends it.
        let body = json!({
            "id": "chat-1", "trigger": "submit-message", "messageId": "m-1",
            "messages": [{"id": "m-1", "role": "user", "parts": [{"type": "text", "text": "hello dear mesh"}]}],
        });
        let stream = Reader::open(&mesh, &mesh.admin, "/ai/chat/stream", &body, "*/*").await;
        stream.is_events();
        let events = stream.all().await;
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
        assert_eq!(said(&events), "hello dear mesh");
        assert!(
            events[0]["messageId"]
                .as_str()
                .is_some_and(|id| !id.is_empty())
        );
        assert_eq!(
            events.last().unwrap(),
            &json!({"type": "finish", "finishReason": "stop"})
        );

        // The same by the other ways to ask for events; JSON without.
        for (path, body, accept) in [
            (
                "/ai/chat",
                json!({"messages": body["messages"], "stream": true}),
                "*/*",
            ),
            ("/ai/chat", hi("hello dear mesh"), SSE),
        ] {
            let stream = Reader::open(&mesh, &mesh.admin, path, &body, accept).await;
            stream.is_events();
            assert_eq!(kinds(&stream.all().await), order);
        }
        let plain = Reader::open(&mesh, &mesh.admin, "/ai/chat", &hi("x"), "*/*").await;
        assert_eq!(plain.response.headers()["content-type"], "application/json");

        // A tool on the way: its events stand inside its step, and the text behind it is another one.
        let stream = Reader::open(
            &mesh,
            &mesh.admin,
            "/ai/chat/stream",
            &hi("call list_objects {}"),
            "*/*",
        )
        .await;
        let events = stream.all().await;
        let order = [
            "start",
            "start-step",
            "tool-input-start",
            "tool-input-delta",
            "tool-input-available",
            "tool-output-available",
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
        let of = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
        assert_eq!(of("tool-input-available")["input"], json!({}));
        assert_eq!(
            of("tool-output-available")["toolCallId"],
            of("tool-input-start")["toolCallId"]
        );
    }
);

fn by_message(number: usize, request: &Value) -> Vec<Step> {
    let messages = request["messages"].as_array().unwrap();
    let user = messages
        .iter()
        .rev()
        .find(|one| one["role"] == "user")
        .unwrap();
    match user["content"].as_str().unwrap_or_default() {
        "refuse" => vec![Step::Status(500)],
        "break" => vec![text("Half of "), Step::Break],
        "tool" if messages.last().unwrap()["role"] == "user" => vec![
            text("I look. "),
            Step::Call(
                "get_record",
                json!({"objectName": "ticket", "recordId": "nothing"}),
            ),
        ],
        "tool" => vec![text("It is not there.")],
        "hang" => vec![text("On and on"), Step::Hang],
        _ => vec![text(&format!("answer {number}"))],
    }
}

with_provider!(
    a_stream_ends_in_good_order_whatever_happens,
    by_message,
    |mesh: TestMesh, fake: Fake| async move {
        // Before the first byte a failure is an answer like any other.
        for path in ["/ai/chat/stream", "/ai/chat"] {
            let answer = mesh
                .call(
                    &mesh.admin,
                    reqwest::Method::POST,
                    path,
                    Some(hi("refuse").to_string()),
                    &[("accept", SSE)],
                )
                .await;
            let shown = answer.body.to_string();
            assert!(!shown.contains(KEY), "{shown}");
            answer.refused(502, "AI_PROVIDER_ERROR");
        }
        // Behind it, it is told in the stream.
        for path in ["/ai/chat/stream", "/ai/chat"] {
            let stream = Reader::open(&mesh, &mesh.admin, path, &hi("break"), SSE).await;
            stream.is_events();
            let events = stream.all().await;
            let order = [
                "start",
                "start-step",
                "text-start",
                "text-delta",
                "error",
                "finish-step",
                "finish",
            ];
            assert_eq!(kinds(&events), order, "{events:#?}");
            assert_eq!(said(&events), "Half of ");
            assert!(
                events[4]["errorText"].as_str().unwrap().contains("openai"),
                "{}",
                events[4]
            );
            assert_eq!(events.last().unwrap()["finishReason"], "error");
        }
        // A tool that fails is told to the model, which goes on.
        let stream = Reader::open(&mesh, &mesh.admin, "/ai/chat/stream", &hi("tool"), SSE).await;
        let events = stream.all().await;
        let order = [
            "start",
            "start-step",
            "text-start",
            "text-delta",
            "tool-input-start",
            "tool-input-delta",
            "tool-input-available",
            "tool-output-error",
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
        let ids: Vec<_> = events
            .iter()
            .filter(|event| event["type"] == "text-start")
            .map(|event| &event["id"])
            .collect();
        assert_eq!(ids, ["0", "1"]);

        // A reader that goes ends the call of the provider.
        let before = fake.closed();
        for path in ["/ai/chat/stream", "/ai/chat"] {
            let mut stream = Reader::open(&mesh, &mesh.admin, path, &hi("hang"), SSE).await;
            loop {
                if let Seen::Event(event) = stream.next().await
                    && event["type"] == "text-delta"
                {
                    break;
                }
            }
            drop(stream);
        }
        eventually("both calls end", Duration::from_secs(5), async || {
            fake.closed() == before + 2
        })
        .await;
        // So does one that waits for JSON.
        let url = mesh.url("/ai/chat");
        let asked = fake.count();
        let waiting = reqwest::Client::new()
            .post(url)
            .bearer_auth(&mesh.admin)
            .json(&hi("hang"));
        let waiting = tokio::time::timeout(Duration::from_secs(2), waiting.send()).await;
        assert!(waiting.is_err() && fake.count() > asked, "it waits");
        eventually("that call ends", Duration::from_secs(5), async || {
            fake.closed() == before + 3
        })
        .await;
    }
);

with_provider!(
    a_sign_out_ends_the_answer,
    by_message,
    |mesh: TestMesh, fake: Fake| async move {
        let (_, una) = mesh.user("una", "ai_user").await;
        let mut stream = Reader::open(&mesh, &una, "/ai/chat/stream", &hi("hang"), SSE).await;
        while !matches!(stream.next().await, Seen::Event(event) if event["type"] == "text-delta") {}
        let json = json!({"email": "una@example.com", "password": "correct horse"});
        let other = mesh.post("", "/auth/sign-in", json).await.ok(200);
        let other = other["token"].as_str().unwrap().to_owned();
        let asked = fake.count();
        let waiting = {
            let (url, token) = (mesh.url("/ai/chat"), other.clone());
            let request = reqwest::Client::new()
                .post(url)
                .bearer_auth(token)
                .json(&hi("hang"));
            request.send()
        };
        let signed_out = async {
            eventually("it asks", Duration::from_secs(5), async || {
                fake.count() > asked
            })
            .await;
            for token in [&una, &other] {
                mesh.post(token, "/auth/sign-out", json!({})).await.ok(200);
            }
            Instant::now()
        };
        let (answer, since) = tokio::join!(waiting, signed_out);
        let answer = answer.unwrap();
        assert!(matches!(answer.status().as_u16(), 401 | 403), "{answer:?}");
        assert!(
            since.elapsed() < Duration::from_secs(5),
            "{:?}",
            since.elapsed()
        );
        let events = stream.all().await;
        assert!(
            since.elapsed() < Duration::from_secs(5),
            "{:?}",
            since.elapsed()
        );
        assert_eq!(
            kinds(&events),
            ["error", "finish-step", "finish"],
            "{events:#?}"
        );
        eventually("both calls end", Duration::from_secs(5), async || {
            fake.closed() == 2
        })
        .await;
    }
);

with_provider_once!(
    the_same_is_had_over_grpc,
    by_message,
    |mesh: TestMesh, fake: Fake| async move {
        let (_, una) = mesh.user("una", "ai_user").await;
        let (_, nobody) = mesh.user("nora", "viewer").await;
        let link = Link::connect(&mesh.at.ai[0]).expect("an address");
        let mut chats = ChatServiceClient::new(link);
        let ask = |text: &str| StreamChatRequest {
            chat: hi(text).to_string().into(),
        };
        let refused = chats.stream_chat(with_token(ask("x"), &nobody)).await;
        let refused = mesh::Error::from_status(&refused.expect_err("refused"));
        assert_eq!(refused.detail("permission"), Some(&json!("ai:chat")));
        let refused = chats.stream_chat(with_token(ask("refuse"), &una)).await;
        let refused = mesh::Error::from_status(&refused.expect_err("refused"));
        assert_eq!(refused.reason(), Reason::AiProviderError, "{refused}");

        let stream = chats.stream_chat(with_token(ask("x"), &una)).await;
        let mut stream = stream.expect("a stream").into_inner();
        let mut events: Vec<Value> = Vec::new();
        while let Some(message) = stream.message().await.expect("a message") {
            events.push(serde_json::from_slice(&message.event).expect("JSON"));
        }
        assert_eq!(kinds(&events).last(), Some(&"finish"), "{events:#?}");
        assert!(said(&events).starts_with("answer "), "{events:#?}");

        // A caller that has no more time gets no answer, and nobody works on for it.
        let before = fake.closed();
        let mut request = with_token(
            ChatRequest {
                chat: hi("hang").to_string().into(),
                accept: String::new(),
            },
            &una,
        );
        request.set_timeout(Duration::from_secs(1));
        let late = chats.chat(request).await;
        let late = mesh::Error::from_status(&late.expect_err("too late"));
        assert_eq!(late.reason(), Reason::Timeout, "{late}");
        eventually("the call ends", Duration::from_secs(5), async || {
            fake.closed() == before + 1
        })
        .await;
    }
);

/// Longer than a token lives: 66 s of silence, in which the stream shows signs of life, and then a
/// tool that needs a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than a minute: deploy/test-long.sh runs it"]
async fn a_loop_outlives_its_first_token() {
    let fake = Fake::start(|number, _| match number {
        0 => vec![
            text("Wait. "),
            Step::Sleep(Duration::from_secs(33)),
            Step::Call("list_objects", json!({})),
        ],
        1 => vec![
            Step::Sleep(Duration::from_secs(33)),
            Step::Call("query_records", json!({"objectName": "ticket"})),
        ],
        _ => vec![text("Done.")],
    })
    .await;
    let mut environment = fake.environment();
    environment.push(("OBJECTMESH__AI__LIMITS__IDLE_MS", "60000".to_owned()));
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mesh = TestMesh::start_with(Size::Processes, &environment).await;
    let began = Instant::now();
    let mut stream = Reader::open(&mesh, &mesh.admin, "/ai/chat/stream", &hi("go"), SSE).await;
    let (mut pings, mut events) = (0, Vec::new());
    loop {
        match stream.next().await {
            Seen::Comment(comment) => pings += usize::from(comment == "ping"),
            Seen::Event(event) => events.push(event),
            Seen::Done => break,
            Seen::End => panic!("no [DONE]"),
        }
    }
    assert!(
        began.elapsed() > Duration::from_secs(61),
        "{:?}",
        began.elapsed()
    );
    assert!(pings >= 4, "{pings}");
    let outputs: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "tool-output-available")
        .collect();
    assert_eq!(outputs.len(), 2, "{events:#?}");
    assert_eq!(events.last().unwrap()["finishReason"], "stop");
}
