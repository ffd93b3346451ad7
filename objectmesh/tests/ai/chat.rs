//! Models, chat as JSON, completion; who may.

use serde_json::{Value, json};

use super::provider::{Fake, KEY, Step, text};
use crate::{
    support::{Size, TestMesh},
    with_provider_once,
};

fn hi(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

databases!(
    without_a_provider_the_echo_answers,
    |mesh: TestMesh| async move {
        let models = mesh.get(&mesh.admin, "/ai/models").await.ok(200);
        assert_eq!(models["defaultModel"], "smart");
        assert_eq!(
            (&models["total"], &models["nextCursor"]),
            (&json!(2), &Value::Null)
        );
        let smart = json!({"id": "smart", "label": "Smart", "provider": "echo", "model": "echo",
        "contextWindow": 128_000, "capabilities": ["chat", "tools"], "default": true});
        assert_eq!(models["items"][0], smart);

        let (_, una) = mesh.user("una", "ai_user").await;
        let answer = mesh.post(&una, "/ai/chat", hi("hello there")).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let answer = answer.ok(200);
        assert_eq!(answer["content"], "hello there", "{answer:#}");
        assert_eq!(answer["role"], "assistant");
        assert_eq!(answer["model"], "smart");
        assert_eq!(answer["finishReason"], "stop");
        assert_eq!(
            (&answer["toolCalls"], &answer["pendingActions"]),
            (&json!([]), &json!([]))
        );
        assert!(answer.get("conversationId").is_none(), "{answer:#}");
        let usage = &answer["usage"];
        let count = |key: &str| usage[key].as_i64().unwrap();
        assert!(
            count("promptTokens") > 0 && count("completionTokens") > 0,
            "{usage}"
        );
        assert_eq!(
            count("totalTokens"),
            count("promptTokens") + count("completionTokens")
        );

        let body = json!({"prompt": "Say it", "model": "fast"});
        let answer = mesh.post(&una, "/ai/complete", body).await.ok(200);
        assert_eq!(
            (&answer["content"], &answer["text"]),
            (&json!("Say it"), &json!("Say it"))
        );
        assert_eq!(
            (&answer["model"], &answer["finishReason"]),
            (&json!("fast"), &json!("stop"))
        );

        for (path, body, field) in [
            ("/ai/chat", json!({}), "messages"),
            ("/ai/chat", json!({"messages": []}), "messages"),
            (
                "/ai/chat",
                json!({"messages": [{"role": "king", "content": "x"}]}),
                "messages[0].role",
            ),
            (
                "/ai/chat",
                json!({"messages": [{"role": "user", "content": 7}]}),
                "messages[0].content",
            ),
            (
                "/ai/chat",
                json!({"messages": [{"role": "user", "content": "x"}], "system": 7}),
                "system",
            ),
            (
                "/ai/chat",
                json!({"messages": [{"role": "user", "content": "x"}], "model": "none"}),
                "model",
            ),
            (
                "/ai/chat",
                json!({"messages": [{"role": "user", "content": "x"}], "agent": "none"}),
                "agent",
            ),
            (
                "/ai/chat",
                json!({"messages": [{"role": "user", "content": "x"}], "tools": ["none"]}),
                "tools",
            ),
            (
                "/ai/chat",
                json!({"messages": [{"role": "user", "content": "x"}], "colour": 1}),
                "colour",
            ),
            ("/ai/chat/stream", json!({"messages": "x"}), "messages"),
            ("/ai/complete", json!({}), "prompt"),
            ("/ai/complete", json!({"prompt": 1}), "prompt"),
            (
                "/ai/complete",
                json!({"prompt": "x", "model": "none"}),
                "model",
            ),
        ] {
            let refused = mesh.post(&una, path, body.clone()).await;
            let details = refused.refused(400, "VALIDATION_ERROR");
            assert_eq!(
                details["fields"][0]["field"], field,
                "{path} {body} {details}"
            );
        }
        let list = mesh
            .call(
                &una,
                reqwest::Method::POST,
                "/ai/chat",
                Some("[]".to_owned()),
                &[],
            )
            .await;
        list.refused(400, "VALIDATION_ERROR");
        // An agent that is for others looks missing; whose it is may talk to it.
        let mut to_manager = hi("x");
        to_manager["agent"] = json!("manager_only");
        let refused = mesh.post(&una, "/ai/chat", to_manager.clone()).await;
        refused.refused(400, "VALIDATION_ERROR");
        mesh.post(&mesh.admin, "/ai/chat", to_manager).await.ok(200);
    }
);

one_process!(
    each_key_opens_its_routes_and_no_others,
    |mesh: TestMesh| async move {
        let (_, user) = mesh.user("una", "ai_user").await;
        let (_, reader) = mesh.user("rita", "ai_reader").await;
        let (_, decider) = mesh.user("dora", "ai_decider").await;
        let (_, nobody) = mesh.user("nora", "viewer").await;
        let chat = [
            ("GET", "/ai/models"),
            ("POST", "/ai/chat"),
            ("POST", "/ai/chat/stream"),
            ("POST", "/ai/complete"),
            ("GET", "/ai/conversations"),
            ("POST", "/ai/conversations"),
            ("GET", "/ai/conversations/x"),
            ("PATCH", "/ai/conversations/x"),
            ("DELETE", "/ai/conversations/x"),
            ("POST", "/ai/conversations/x/messages"),
        ];
        let read = [
            ("GET", "/ai/pending-actions"),
            ("GET", "/ai/pending-actions/x"),
        ];
        let approve = [
            ("POST", "/ai/pending-actions/x/approve"),
            ("POST", "/ai/pending-actions/x/reject"),
        ];
        for (key, routes) in [
            ("ai:chat", &chat[..]),
            ("ai:read", &read),
            ("ai:approve", &approve),
        ] {
            for (method, path) in routes {
                for (token, holds) in [
                    (&user, "ai:chat"),
                    (&reader, "ai:read"),
                    (&decider, "ai:approve"),
                    (&nobody, ""),
                    (&mesh.admin, key),
                ] {
                    let body = matches!(*method, "POST" | "PATCH").then(|| "{}".to_owned());
                    let answer = mesh
                        .call(token, method.parse().unwrap(), path, body.clone(), &[])
                        .await;
                    if holds == key {
                        let status = answer.status.as_u16();
                        assert!(
                            matches!(status, 200 | 201 | 400 | 404),
                            "{method} {path} {status} {:#}",
                            answer.body
                        );
                    } else {
                        let details = answer.refused(403, "PERMISSION_DENIED");
                        assert_eq!(details["permission"], key, "{method} {path}");
                    }
                }
                let body = matches!(*method, "POST" | "PATCH").then(|| "{}".to_owned());
                let answer = mesh
                    .call("", method.parse().unwrap(), path, body, &[])
                    .await;
                answer.refused(401, "UNAUTHENTICATED");
            }
        }
    }
);

fn by_message(_: usize, request: &Value) -> Vec<Step> {
    let messages = request["messages"].as_array().unwrap();
    match messages.last().unwrap()["content"]
        .as_str()
        .unwrap_or_default()
    {
        "refuse" => vec![Step::Status(500)],
        "bad key" => vec![Step::Status(401)],
        "too many" => vec![Step::Refuse(429, "retry-after: 7")],
        "redirect" => vec![Step::Refuse(302, "location: http://127.0.0.1:1/")],
        "break" => vec![text("Half"), Step::Break],
        "uncounted" => vec![text("Twelve chars"), Step::Uncounted],
        _ => vec![text("Good "), text("day")],
    }
}

with_provider_once!(
    a_provider_is_asked_with_its_key_and_its_failures_are_told,
    by_message,
    |mesh: TestMesh, fake: Fake| async move {
        let models = mesh.get(&mesh.admin, "/ai/models").await.ok(200);
        assert_eq!(models["items"][0]["provider"], "openai");
        assert_eq!(models["items"][0]["model"], "gpt-4o");
        let (_, una) = mesh.user("una", "ai_user").await;
        let mut body = hi("hello");
        body["temperature"] = json!(0.5);
        body["maxTokens"] = json!(99);
        body["system"] = json!("Be kind.");
        let answer = mesh.post(&una, "/ai/chat", body).await.ok(200);
        assert_eq!(answer["content"], "Good day");
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
        assert!(
            system.contains("You answer questions about tickets."),
            "{system}"
        );
        assert!(
            system.contains("una") && system.ends_with("Be kind."),
            "{system}"
        );
        let tools: Vec<&str> = asked["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["function"]["name"].as_str().unwrap())
            .collect();
        for name in [
            "list_objects",
            "describe_object",
            "query_records",
            "get_record",
            "aggregate_data",
            "create_record",
            "update_record",
            "delete_record",
            "action_close_ticket",
            "action_score_ticket",
        ] {
            assert!(tools.contains(&name), "{name} {tools:?}");
        }
        // Needs a right that una has not; is for people only.
        assert!(
            !tools.contains(&"action_count_users") && !tools.contains(&"action_open_manual"),
            "{tools:?}"
        );
        let head = fake.head(0).to_ascii_lowercase();
        assert!(
            head.contains(&format!("authorization: bearer {KEY}")),
            "{head}"
        );

        // What it does not count is estimated.
        let body = json!({"prompt": "uncounted"});
        let answer = mesh.post(&una, "/ai/complete", body).await.ok(200);
        let estimated = json!({"promptTokens": 3, "completionTokens": 3, "totalTokens": 6});
        assert_eq!(answer["usage"], estimated);

        for (said, status, code) in [
            ("refuse", 502, "AI_PROVIDER_ERROR"),
            ("bad key", 502, "AI_PROVIDER_ERROR"),
            ("redirect", 502, "AI_PROVIDER_ERROR"),
            ("break", 502, "AI_PROVIDER_ERROR"),
            ("too many", 429, "RATE_LIMITED"),
        ] {
            for path in ["/ai/chat", "/ai/complete"] {
                let body = match path {
                    "/ai/chat" => hi(said),
                    _ => json!({"prompt": said}),
                };
                let answer = mesh.post(&una, path, body).await;
                let shown = answer.body.to_string();
                assert!(
                    !shown.contains(KEY) && !shown.contains("Incorrect"),
                    "{shown}"
                );
                let details = answer.refused(status, code);
                assert_eq!(details["provider"], "openai", "{said}");
                if status == 429 {
                    assert_eq!(details["retryAfter"], 7, "{details}");
                }
            }
        }
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_is_asked_in_its_own_words() {
    let fake = Fake::anthropic(|number, _| match number {
        0 => vec![text("Let me see. "), Step::Call("list_objects", json!({}))],
        _ => vec![text("There are tickets.")],
    })
    .await;
    let environment = fake.environment();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mesh = TestMesh::start_with(Size::Sqlite, &environment).await;
    let models = mesh.get(&mesh.admin, "/ai/models").await.ok(200);
    assert_eq!(models["items"][0]["provider"], "anthropic");
    let answer = mesh
        .post(&mesh.admin, "/ai/chat", hi("What is there?"))
        .await
        .ok(200);
    assert_eq!(answer["content"], "There are tickets.", "{answer:#}");
    assert_eq!(answer["usage"]["totalTokens"], 36);
    assert_eq!(answer["toolCalls"][0]["toolName"], "list_objects");
    let head = fake.head(0).to_ascii_lowercase();
    assert!(
        head.starts_with("post /v1/messages ") && head.contains(&format!("x-api-key: {KEY}")),
        "{head}"
    );
    assert!(head.contains("anthropic-version: "), "{head}");
    let again = fake.request(1);
    let messages = again["messages"].as_array().unwrap();
    let roles: Vec<_> = messages
        .iter()
        .map(|one| one["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(messages[1]["content"][1]["type"], "tool_use");
    assert_eq!(messages[2]["content"][0]["type"], "tool_result");
    assert_eq!(
        messages[2]["content"][0]["tool_use_id"],
        messages[1]["content"][1]["id"]
    );
}
