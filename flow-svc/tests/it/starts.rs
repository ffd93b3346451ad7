//! Starting, showing, listing and cancelling runs, and who may.

use std::time::Duration;

use mesh::error::Reason;
use proto::flow::v1::StartFlowRequest;
use serde_json::{Value, json};

use crate::{
    fake_auth::user,
    fake_data::Plan,
    world::{World, asking, steps, text},
};

fn doubled() -> Value {
    json!({
        "label": "Doubles", "version": 3, "type": "api",
        "variables": [{"name": "n", "type": "number", "isInput": true, "required": true},
            {"name": "more", "isInput": true}, {"name": "twice", "isOutput": true}],
        "nodes": [{"id": "start", "type": "start"},
            {"id": "double", "type": "script", "label": "Twice", "config": {"inputs": {"n": "{n}"},
                "body": {"language": "expression", "source": "input.n * 2"}, "outputVariable": "twice"}}],
        "edges": [{"source": "start", "target": "double"}],
    })
}

fn creates() -> Value {
    json!({"inputs": {"name": {}}, "steps": [{"name": "make", "type": "create", "object": "task", "data": {"name": "{name}"}}]})
}

fn ids(items: &[impl AsRef<[u8]>]) -> Vec<String> {
    let ids = items.iter().map(|item| {
        let run: Value = serde_json::from_slice(item.as_ref()).unwrap();
        assert_eq!(run["steps"], Value::Null, "steps come with the run alone");
        text(&run["id"])
    });
    ids.collect()
}

#[tokio::test]
async fn a_run_is_shown_as_it_went() {
    let world = World::start([("doubled", doubled())]).await;
    let run = world.run("doubled", json!({"n": 4, "colour": "red"})).await;
    assert_eq!(run["id"], run["runId"]);
    assert_eq!(
        (&run["flow"], &run["flowName"], &run["flowVersion"]),
        (&json!("doubled"), &json!("doubled"), &json!(3))
    );
    assert_eq!(
        (&run["status"], &run["output"], &run["error"]),
        (&json!("completed"), &json!({"twice": 8}), &Value::Null)
    );
    assert_eq!(
        run["trigger"],
        json!({"type": "api", "userId": "ann", "object": null, "recordId": null})
    );
    assert_eq!(
        (&run["input"], &run["warnings"]),
        (
            &json!({"n": 4}),
            &json!(["The flow has no input `colour`; it is ignored"])
        )
    );
    assert!(
        run["durationMs"].is_i64()
            && run["startedAt"].is_string()
            && run["completedAt"].is_string()
    );
    assert_eq!(steps(&run), ["start success", "double success"]);
    let step = &run["steps"][1];
    assert_eq!(
        (&step["nodeType"], &step["label"], &step["output"]),
        (&json!("script"), &json!("Twice"), &json!(8))
    );
    assert_eq!(
        (&step["retryAttempt"], &step["iteration"], &step["error"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let id = text(&run["id"]);
    for who in ["ann", "root"] {
        assert_eq!(world.shown(who, "doubled", &id).await.unwrap(), run);
    }
    // Every way of handing the input in.
    for name in ["input", "params", "inputs"] {
        let run = world.run("doubled", json!({name: {"n": 2}})).await;
        assert_eq!(run["output"], json!({"twice": 4}), "{run:#}");
    }
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let circle = json!({
        "nodes": [{"id": "start", "type": "start"}, {"id": "a", "type": "assignment"}, {"id": "b", "type": "assignment"}],
        "edges": [{"source": "start", "target": "a"}, {"source": "a", "target": "b"}, {"source": "b", "target": "a"}],
    });
    let system = |more: Value| {
        let mut flow = json!({"runAs": "system", "steps": [{"name": "x", "type": "end"}]});
        flow.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        flow
    };
    let world = World::start([
        ("doubled", doubled()),
        ("circular", circle),
        (
            "obsolete",
            json!({"status": "obsolete", "steps": [{"name": "x", "type": "end"}]}),
        ),
        ("system", system(json!({}))),
        (
            "announce",
            system(json!({"requiredPermissions": ["announce"]})),
        ),
    ])
    .await;
    let refused = async |who: &str, flow: &str, input: Value| {
        world.start_as(who, flow, input).await.unwrap_err()
    };
    let missing = refused("ann", "doubled", json!({"n": null})).await;
    let field = &missing.field_violations()[0];
    assert_eq!(
        (field.field.as_str(), field.code.as_str()),
        ("n", "required")
    );
    assert_eq!(missing.detail("flow"), Some(&json!("doubled")));
    for input in [json!([1]), json!("text")] {
        assert_eq!(
            refused("ann", "doubled", input).await.reason(),
            Reason::ValidationError
        );
    }
    let not_json = StartFlowRequest {
        input: b"{".to_vec().into(),
        ..asking("doubled", &Value::Null)
    };
    let error = world.start_flow(user("ann"), not_json).await.unwrap_err();
    assert_eq!(error.detail("parameter"), Some(&json!("body")));
    for (who, flow, reason) in [
        ("ann", "nothing", Reason::NotFound),
        ("ann", "circular", Reason::FlowDisabled),
        ("root", "obsolete", Reason::FlowDisabled),
        ("ann", "system", Reason::PermissionDenied),
        ("nell", "system", Reason::PermissionDenied),
        ("ann", "announce", Reason::PermissionDenied),
    ] {
        assert_eq!(
            refused(who, flow, json!({})).await.reason(),
            reason,
            "{who} {flow}"
        );
    }
    assert_eq!(
        refused("ann", "announce", json!({}))
            .await
            .detail("permission"),
        Some(&json!("announce"))
    );
    for (who, flow) in [
        ("root", "system"),
        ("nell", "announce"),
        ("root", "announce"),
    ] {
        let run = world.start_as(who, flow, json!({})).await.unwrap();
        assert_eq!(run["status"], "completed", "{who} {flow}");
    }
    assert!(
        world.runs("doubled").await.is_empty(),
        "what is refused leaves no run"
    );
}

#[tokio::test]
async fn a_key_starts_one_run() {
    let world = World::start([("creates", creates())]).await;
    let begin = async |who: &str, key: &str, name: &str| {
        let message = StartFlowRequest {
            idempotency_key: key.to_owned(),
            ..asking("creates", &json!({"name": name}))
        };
        let (run, _) = world.start_flow(user(who), message).await?;
        Ok::<_, mesh::Error>(text(&run["id"]))
    };
    let (first, second) = tokio::join!(begin("ann", "once", "a"), begin("ann", "once", "a"));
    let first = first.unwrap();
    assert_eq!(second.unwrap(), first);
    assert_eq!(begin("ann", "once", "a").await.unwrap(), first);
    let reused = begin("ann", "once", "b").await.unwrap_err();
    assert_eq!(reused.reason(), Reason::IdempotencyKeyReused);
    assert_ne!(begin("bob", "once", "a").await.unwrap(), first);
    assert_ne!(begin("ann", "twice", "a").await.unwrap(), first);
    for key in ["x".repeat(256), "a\0b".to_owned()] {
        let wrong = begin("ann", &key, "a").await.unwrap_err();
        assert_eq!(
            wrong.detail("parameter"),
            Some(&json!("Idempotency-Key")),
            "{wrong}"
        );
    }
    begin("ann", &"é".repeat(255), "a").await.unwrap();
    assert_eq!(world.data.tasks().len(), 4);
    // After a day the key starts another one, also for something else.
    world
        .sql("UPDATE flow_run SET started_at_ms = started_at_ms - 86400001")
        .await;
    assert_ne!(begin("ann", "once", "b").await.unwrap(), first);
}

#[tokio::test]
async fn a_start_waits_for_the_end_as_long_as_its_caller() {
    let world = World::start([("creates", creates())]).await;
    let asked = || asking("creates", &json!({"name": "x"}));
    let (asynchronous, preferred) = (
        StartFlowRequest {
            r#async: Some(true),
            ..asked()
        },
        StartFlowRequest {
            prefer: "wait=1, Respond-Async".to_owned(),
            ..asked()
        },
    );
    for (count, message) in [asynchronous, preferred].into_iter().enumerate() {
        world.data.plan("create", Plan::Silent);
        let (run, answer) = world.start_flow(user("ann"), message).await.unwrap();
        assert_eq!(
            (&run["status"], answer.http_status),
            (&json!("running"), 202),
            "{run:#}"
        );
        world
            .data
            .until("it is under way", |state| state.calls.len() == count + 1)
            .await;
        let id = text(&run["id"]);
        world.cancel("ann", "creates", &id).await.unwrap();
    }
    // `async` says it, whatever is preferred.
    let message = StartFlowRequest {
        r#async: Some(false),
        prefer: "respond-async".to_owned(),
        ..asked()
    };
    let (run, answer) = world.start_flow(user("ann"), message).await.unwrap();
    assert_eq!(
        (&run["status"], answer.http_status),
        (&json!("completed"), 0),
        "{run:#}"
    );
    // Half a second of the caller's time is left for the answer.
    world.data.plan("create", Plan::Silent);
    let mut request = world.request(user("ann"), asked());
    request.set_timeout(Duration::from_millis(550));
    let (run, answer) = world.start_request(request).await.unwrap();
    assert_eq!(
        (&run["status"], answer.http_status),
        (&json!("running"), 202),
        "{run:#}"
    );
}

#[tokio::test]
async fn a_run_is_its_starters_and_the_administrators() {
    let world = World::start([("doubled", doubled()), ("other", doubled())]).await;
    let mut own = Vec::new();
    for n in 0..3 {
        let run = world.run("doubled", json!({"n": n})).await;
        own.insert(0, text(&run["id"]));
    }
    let id = own[0].as_str();
    for (who, flow, id) in [
        ("bob", "doubled", id),
        ("ann", "other", id),
        ("ann", "doubled", "nothing"),
        ("ann", "doubled", &"0".repeat(26)),
    ] {
        let missing = world.shown(who, flow, id).await.unwrap_err();
        assert_eq!(
            missing.detail("reason"),
            Some(&json!("RUN_NOT_FOUND")),
            "{who} {flow} {id}"
        );
        assert_eq!(
            world.cancel(who, flow, id).await.unwrap_err().reason(),
            Reason::NotFound
        );
    }
    for who in ["ann", "root"] {
        let all = world.list(who, "doubled", None, "").await.unwrap();
        assert_eq!(
            (ids(&all.items), all.total, all.next_cursor),
            (own.clone(), 3, None),
            "{who}"
        );
    }
    let none = world.list("bob", "doubled", None, "").await.unwrap();
    assert_eq!((none.items.len(), none.total), (0, 0));
    let first = world.list("ann", "doubled", Some(2), "").await.unwrap();
    assert_eq!(ids(&first.items), own[..2]);
    let rest = world
        .list("ann", "doubled", Some(2), &first.next_cursor.unwrap())
        .await
        .unwrap();
    assert_eq!(
        (ids(&rest.items), rest.next_cursor),
        (own[2..].to_vec(), None)
    );
    for (limit, cursor, parameter) in [(Some(0), "", "limit"), (None, "x", "cursor")] {
        let wrong = world
            .list("ann", "doubled", limit, cursor)
            .await
            .unwrap_err();
        assert_eq!(wrong.detail("parameter"), Some(&json!(parameter)));
    }
    let missing = world.list("ann", "nothing", None, "").await.unwrap_err();
    assert_eq!(missing.reason(), Reason::NotFound);
    let ended = world.cancel("ann", "doubled", id).await.unwrap_err();
    assert_eq!(
        (ended.reason(), ended.detail("status")),
        (Reason::InvalidState, Some(&json!("completed")))
    );
}

#[tokio::test]
async fn a_run_that_is_cancelled_does_nothing_more() {
    let flow = json!({"steps": [
        {"name": "one", "type": "create", "object": "task", "data": {"name": "one"}},
        {"name": "two", "type": "create", "object": "task", "data": {"name": "two"}},
        {"name": "three", "type": "create", "object": "task", "data": {"name": "three"}}]});
    let world = World::start([("three", flow)]).await;
    for plan in [Plan::Done, Plan::Silent] {
        world.data.plan("create", plan);
    }
    let id = world.begin("three", json!({})).await;
    world
        .data
        .until("the second step is asked for", |state| {
            state.calls.len() == 2
        })
        .await;
    let cancelled = world.cancel("ann", "three", &id).await.unwrap();
    assert_eq!(
        steps(&cancelled),
        ["one success", "two skipped"],
        "{cancelled:#}"
    );
    assert!(cancelled["completedAt"].is_string());
    let again = world.cancel("ann", "three", &id).await.unwrap_err();
    assert_eq!(again.detail("status"), Some(&json!("cancelled")));
    assert_eq!(world.shown("ann", "three", &id).await.unwrap(), cancelled);
    assert_eq!(
        (
            world.data.tasks(),
            world.count("SELECT count(*) FROM om_queue").await
        ),
        (vec!["one".to_owned()], 0)
    );
}

#[tokio::test]
async fn outputs_that_are_too_much_are_left_out() {
    let long = json!({"steps": [
        {"name": "one", "type": "create", "object": "task", "data": {"name": "one", "text": "{text}"}},
        {"name": "two", "type": "query", "object": "task", "filter": {"name": "one"}, "limit": 1},
        {"name": "three", "type": "query", "object": "task", "filter": {"name": "nobody"}}],
        "inputs": {"text": {}}});
    let world = World::start([("long", long)]).await;
    let run = world
        .run("long", json!({"text": "x".repeat(600_000)}))
        .await;
    let omitted = |number: usize| run["steps"][number]["outputOmitted"].clone();
    assert_eq!(
        (omitted(0), omitted(1), omitted(2)),
        (Value::Null, json!(true), Value::Null),
        "{:?}",
        steps(&run)
    );
    assert_eq!(run["steps"][1]["output"], Value::Null);
}
