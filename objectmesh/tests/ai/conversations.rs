//! Conversations: kept, their owner's alone, and run one message at a time.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    provider::{Fake, Step, text},
    reader::{Reader, kinds},
};
use crate::{
    support::{TestMesh, process::eventually},
    with_provider,
};

databases!(
    a_conversation_is_kept_and_is_its_owners_alone,
    |mesh: TestMesh| async move {
        let (una_id, una) = mesh.user("una", "ai_user").await;
        let (_, ivo) = mesh.user("ivo", "ai_user").await;
        let body = json!({"title": null, "metadata": {"colour": "blue"}, "userId": "somebody", "agentId": "assistant"});
        let made = mesh.post(&una, "/ai/conversations", body).await.ok(201);
        assert_eq!(made["userId"], json!(una_id));
        assert_eq!(
            (&made["title"], &made["agentId"], &made["messages"]),
            (&Value::Null, &json!("assistant"), &json!([]))
        );
        let id = made["id"].as_str().unwrap().to_owned();
        let path = format!("/ai/conversations/{id}");

        let turn = mesh
            .post(
                &una,
                &format!("{path}/messages"),
                json!({"content": "  What   is open?  "}),
            )
            .await
            .ok(200);
        assert_eq!(
            turn["message"]["content"], "  What   is open?  ",
            "{turn:#}"
        );
        assert_eq!(turn["message"]["role"], "assistant");
        let roles: Vec<_> = turn["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["role"].clone())
            .collect();
        assert_eq!(roles, ["user", "assistant"]);
        assert_eq!(turn["conversation"]["title"], "What is open?");
        assert!(turn["usage"]["totalTokens"].as_i64().unwrap() > 0);

        let full = mesh.get(&una, &path).await.ok(200);
        let said: Vec<_> = full["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["content"].clone())
            .collect();
        assert_eq!(said, ["  What   is open?  ", "  What   is open?  "]);
        assert_eq!(full["messages"][1]["id"], turn["message"]["id"]);
        assert_eq!(full["metadata"], json!({"colour": "blue"}));
        assert!(full["updatedAt"].as_str().unwrap() > full["createdAt"].as_str().unwrap());

        // As events, with a tool on the way: the whole turn is kept, calls with their outputs.
        let body =
            json!({"message": {"role": "user", "content": "call list_objects {}"}, "stream": true});
        let stream = Reader::open(&mesh, &una, &format!("{path}/messages"), &body, "*/*").await;
        stream.is_events();
        let events = stream.all().await;
        assert_eq!(kinds(&events).last(), Some(&"finish"), "{events:#?}");
        let full = mesh.get(&una, &path).await.ok(200);
        let messages = full["messages"].as_array().unwrap();
        let roles: Vec<_> = messages
            .iter()
            .map(|one| one["role"].as_str().unwrap())
            .collect();
        assert_eq!(
            roles,
            [
                "user",
                "assistant",
                "user",
                "assistant",
                "tool",
                "assistant"
            ]
        );
        assert_eq!(
            messages[3]["toolCalls"][0]["toolCallId"],
            messages[4]["toolCallId"]
        );

        // By chat with its id, too; its answer names it.
        let body = json!({"messages": [{"role": "user", "content": "more"}], "conversationId": id});
        let answer = mesh.post(&una, "/ai/chat", body).await.ok(200);
        assert_eq!(answer["conversationId"], json!(id));
        let body = json!({"messages": [{"role": "user", "content": "begin"}], "persist": true});
        let begun = mesh.post(&una, "/ai/chat", body).await.ok(200);
        let begun = begun["conversationId"].as_str().unwrap().to_owned();
        assert_ne!(begun, id);

        // Somebody else's looks missing, on every way.
        let message = json!({"content": "hello"});
        for answer in [
            mesh.get(&ivo, &path).await,
            mesh.patch(&ivo, &path, json!({"title": "mine"})).await,
            mesh.delete(&ivo, &path).await,
            mesh.post(&ivo, &format!("{path}/messages"), message.clone())
                .await,
            mesh.post(
                &ivo,
                "/ai/chat",
                json!({"messages": [{"role": "user", "content": "x"}], "conversationId": id}),
            )
            .await,
            mesh.post(
                &una,
                "/ai/conversations/01J00000000000000000000000/messages",
                message,
            )
            .await,
        ] {
            answer.refused(404, "NOT_FOUND");
        }
        assert_eq!(
            mesh.get(&ivo, "/ai/conversations").await.ok(200)["total"],
            0
        );
        mesh.get(&ivo, &format!("/ai/conversations?userId={una_id}"))
            .await
            .refused(403, "PERMISSION_DENIED");
        // An administrator reads it, and cannot talk in it.
        assert_eq!(mesh.get(&mesh.admin, &path).await.ok(200)["id"], json!(id));
        let theirs = mesh
            .get(&mesh.admin, &format!("/ai/conversations?userId={una_id}"))
            .await
            .ok(200);
        assert_eq!(theirs["total"], 2);
        mesh.delete(&mesh.admin, &path)
            .await
            .refused(404, "NOT_FOUND");

        // Pages, newest first; items without their messages.
        let page = mesh.get(&una, "/ai/conversations?limit=1").await.ok(200);
        assert_eq!(
            (&page["total"], &page["items"][0]["id"]),
            (&json!(2), &json!(begun))
        );
        assert!(page["items"][0].get("messages").is_none());
        let cursor = page["nextCursor"].as_str().unwrap();
        let page = mesh
            .get(&una, &format!("/ai/conversations?limit=1&cursor={cursor}"))
            .await
            .ok(200);
        assert_eq!(
            (&page["items"][0]["id"], &page["nextCursor"]),
            (&json!(id), &Value::Null)
        );
        let of_agent = mesh
            .get(&una, "/ai/conversations?agentId=assistant")
            .await
            .ok(200);
        assert_eq!(of_agent["total"], 1);
        for (path, field) in [
            ("/ai/conversations?limit=0", "limit"),
            ("/ai/conversations?limit=201", "limit"),
            ("/ai/conversations?cursor=nonsense", "cursor"),
        ] {
            let details = mesh.get(&una, path).await.refused(400, "VALIDATION_ERROR");
            assert_eq!(details["fields"][0]["field"], field);
        }
        for body in [
            json!({"agentId": "none"}),
            json!({"title": 1}),
            json!({"metadata": []}),
            json!({"extra": 1}),
        ] {
            mesh.post(&una, "/ai/conversations", body)
                .await
                .refused(400, "VALIDATION_ERROR");
        }
        for body in [
            json!({"role": "assistant", "content": "x"}),
            json!({}),
            json!({"content": 1}),
            json!({"message": {"role": "system", "content": "x"}}),
        ] {
            mesh.post(&una, &format!("{path}/messages"), body)
                .await
                .refused(400, "VALIDATION_ERROR");
        }

        // A path that no id has, and a filter that fits nothing.
        for path in ["/ai/conversations/%00", "/ai/conversations/%E2%82%AC"] {
            let status = mesh.get(&una, path).await.status.as_u16();
            assert!(matches!(status, 400 | 404), "{path} {status}");
        }
        let nothing = mesh.get(&una, "/ai/conversations?agentId=%00").await;
        assert!(matches!(nothing.status.as_u16(), 200 | 400), "{nothing:?}");

        let changed = mesh
            .patch(&una, &path, json!({"title": "Named", "metadata": {"a": 1}}))
            .await
            .ok(200);
        assert_eq!(
            (&changed["title"], &changed["metadata"]),
            (&json!("Named"), &json!({"a": 1}))
        );
        let deleted = mesh.delete(&una, &path).await;
        assert_eq!(deleted.status, 204);
        mesh.get(&una, &path).await.refused(404, "NOT_FOUND");
        mesh.delete(&una, &path).await.refused(404, "NOT_FOUND");
    }
);

fn slowly(_: usize, request: &Value) -> Vec<Step> {
    let messages = request["messages"].as_array().unwrap();
    match messages.last().unwrap()["content"]
        .as_str()
        .unwrap_or_default()
    {
        "hang" => vec![text("On"), Step::Hang],
        "refuse" => vec![Step::Status(500)],
        _ => vec![text(&format!("{} messages", messages.len()))],
    }
}

with_provider!(
    one_message_is_answered_at_a_time,
    slowly,
    |mesh: TestMesh, fake: Fake| async move {
        let (_, una) = mesh.user("una", "ai_user").await;
        let made = mesh
            .post(&una, "/ai/conversations", json!({"agentId": "clerk"}))
            .await
            .ok(201);
        let path = format!(
            "/ai/conversations/{}/messages",
            made["id"].as_str().unwrap()
        );
        let stream = Reader::open(
            &mesh,
            &una,
            &path,
            &json!({"content": "hang", "stream": true}),
            "*/*",
        )
        .await;
        stream.is_events();
        for _ in 0..4 {
            let details = mesh
                .post(&una, &path, json!({"content": "me too"}))
                .await
                .refused(409, "INVALID_STATE");
            assert_eq!(details["reason"], "CONVERSATION_BUSY");
        }
        // Who lets go lets the next one in.
        drop(stream);
        eventually(
            "the next message is answered",
            Duration::from_secs(8),
            async || {
                mesh.post(&una, &path, json!({"content": "now?"}))
                    .await
                    .status
                    == 200
            },
        )
        .await;
        // A failure of the provider leaves what the user said.
        mesh.post(&una, &path, json!({"content": "refuse"}))
            .await
            .refused(502, "AI_PROVIDER_ERROR");
        let full = mesh
            .get(&una, path.trim_end_matches("/messages"))
            .await
            .ok(200);
        let last = full["messages"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(
            (&last["role"], &last["content"]),
            (&json!("user"), &json!("refuse"))
        );
        // The clerk remembers four messages, and has two tools.
        for _ in 0..3 {
            mesh.post(&una, &path, json!({"content": "go on"}))
                .await
                .ok(200);
        }
        let asked = fake.request(fake.count() - 1);
        let told = asked["messages"].as_array().unwrap();
        assert!(told.len() <= 1 + 4 + 1, "{told:#?}");
        assert_eq!(told[1]["role"], "user", "{told:#?}");
        assert!(
            told[0]["content"]
                .as_str()
                .unwrap()
                .contains("You are the clerk.")
        );
        let tools: Vec<_> = asked["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["function"]["name"].clone())
            .collect();
        assert_eq!(tools, ["query_records", "get_record"]);
    }
);
