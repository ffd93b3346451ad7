//! Steps that run what an app wrote: scripts, expressions, actions.

use mesh::error::Reason;
use metadata::ItemType;
use serde_json::{Value, json};

use crate::{
    fake_data::{FakeData, Plan},
    world::{World, steps},
};

fn one(step: Value) -> Value {
    let mut step = step;
    step["name"] = json!("step");
    step["output"] = json!("out");
    json!({"inputs": {"given": {}, "id": {}}, "outputs": ["out"], "steps": [step]})
}

fn script(body: &str) -> Value {
    one(json!({"type": "script", "body": body, "inputs": {"given": "{given}"}}))
}

#[tokio::test]
async fn a_script_sees_its_input_and_writes_as_the_user() {
    let world = World::start([
        ("writes", script("const made = await ctx.api.object('task').insert({ name: input.given }); return { name: made.name, user: ctx.user.id };")),
        ("all", one(json!({"type": "script", "body": "return Object.keys(input)"}))),
        ("nothing", script("input.given")),
        ("throws", script("throw new Error('not now')")),
        ("refused", script("await ctx.api.object('task').insert({}); return 1")),
        ("careful", script("try { await ctx.api.object('task').insert({}); } catch (error) { return error.code } return 1")),
        ("slow", json!({"steps": [{"name": "step", "type": "script", "timeoutMs": 60, "inputs": {}, "body": "while (true) {}"}]})),
        ("expression", one(json!({"type": "script", "inputs": {"n": "{given}"}, "body": {"language": "expression", "source": "input.n * 2"}}))),
        ("wrong", one(json!({"type": "script", "inputs": {}, "body": {"language": "expression", "source": "input.n.m * 2"}}))),
        ("function", one(json!({"type": "script", "function": "unknown"}))),
        ("kind", one(json!({"type": "script", "actionType": "apex"}))),
        ("empty", one(json!({"type": "script"}))),
    ])
    .await;
    let run = world.run("writes", json!({"given": "by script"})).await;
    assert_eq!(
        run["output"]["out"],
        json!({"name": "by script", "user": "ann"}),
        "{run:#}"
    );
    let made = &world.data.calls("create")[0];
    assert_eq!((made.subject.as_str(), made.is_system), ("ann", false));
    assert!(
        made.key.starts_with("flow:") && made.key.len() < 256,
        "{}",
        made.key
    );
    let run = world.run("all", json!({"given": 1})).await;
    assert_eq!(
        run["output"]["out"],
        json!(["given"]),
        "all variables: {run:#}"
    );
    for (flow, out) in [
        ("nothing", Value::Null),
        ("careful", json!("VALIDATION_ERROR")),
        ("expression", json!(8)),
    ] {
        let run = world.run(flow, json!({"given": 4})).await;
        assert_eq!(
            (&run["status"], &run["output"]["out"]),
            (&json!("completed"), &out),
            "{flow} {run:#}"
        );
    }
    for (flow, code, reason, message) in [
        ("throws", "NODE_FAILURE", json!("ACTION_FAILED"), "not now"),
        (
            "refused",
            "NODE_FAILURE",
            json!("VALIDATION_ERROR"),
            "`name` is required",
        ),
        (
            "slow",
            "TIMEOUT",
            Value::Null,
            "The step took longer than 60 ms",
        ),
        ("wrong", "EXECUTION_ERROR", Value::Null, ""),
        (
            "function",
            "EXECUTION_ERROR",
            Value::Null,
            "The function `unknown` is not registered",
        ),
        (
            "kind",
            "NO_EXECUTOR",
            Value::Null,
            "Nothing here runs `apex`",
        ),
        (
            "empty",
            "EXECUTION_ERROR",
            Value::Null,
            "The step has no script",
        ),
    ] {
        let run = world.run(flow, json!({"given": 4})).await;
        let error = &run["error"];
        assert_eq!(
            (&run["status"], &error["code"], &error["reason"]),
            (&json!("failed"), &json!(code), &reason),
            "{flow} {run:#}"
        );
        assert!(
            message.is_empty() || error["message"] == message,
            "{flow} {error}"
        );
    }
}

#[tokio::test]
async fn a_script_is_done_again_under_its_keys_where_a_service_was_away() {
    let body = "const made = await ctx.api.object('task').insert({ name: 'once' }); return made.id";
    let world = World::start([("writes", script(body))]).await;
    world.data.plan("create", Plan::AnswerLost);
    let run = world.run("writes", json!({})).await;
    assert_eq!(run["status"], "completed", "{run:#}");
    assert_eq!(world.data.tasks(), ["once"]);
    let calls = world.data.calls("create");
    assert!(
        calls.len() > 1 && calls.iter().all(|call| call.key == calls[0].key),
        "{calls:#?}"
    );
    // What was refused is not repeated.
    let before = calls.len();
    world
        .data
        .plan("create", Plan::Refused(Reason::ConcurrentUpdate));
    let run = world.run("writes", json!({})).await;
    assert_eq!(run["error"]["reason"], "CONCURRENT_UPDATE", "{run:#}");
    assert_eq!(world.data.calls("create").len(), before + 1);
}

/// A data-svc with actions, and flows that call them.
fn with_actions() -> FakeData {
    let data = FakeData::default();
    let expression = |source: &str| json!({"language": "expression", "source": source});
    for (name, action) in [
        (
            "score",
            json!({"objectName": "ticket", "body": expression("record.priority * input.factor"),
            "params": [{"name": "factor", "type": "number", "required": true}]}),
        ),
        (
            "closed",
            json!({"objectName": "ticket", "body": expression("1"), "disabled": "true"}),
        ),
        (
            "locked",
            json!({"body": expression("1"), "requiredPermissions": ["announce"]}),
        ),
        (
            "begin",
            json!({"objectName": "ticket", "type": "flow", "target": "inner"}),
        ),
        ("fail", json!({"type": "flow", "target": "broken"})),
        ("deeper", json!({"type": "flow", "target": "deep"})),
    ] {
        data.declare(ItemType::Action, name, action);
    }
    let call = |action: &str, more: Value| {
        let mut step = json!({"type": "action", "action": action});
        step.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        one(step)
    };
    let record = |more: Value| json!({"object": "ticket", "recordId": "{id}", "input": more});
    for (name, flow) in [
        ("scores", call("score", record(json!({"factor": 3})))),
        (
            "by_record",
            call(
                "score",
                json!({"object": "ticket", "record": {"id": "t1"}, "input": {"factor": 2}}),
            ),
        ),
        ("wrong", call("score", record(json!({})))),
        ("missing", call("nothing", json!({}))),
        ("nameless", one(json!({"type": "action"}))),
        ("locks", call("locked", json!({}))),
        ("begins", call("begin", record(json!({})))),
        ("fails", call("fail", json!({}))),
        (
            "creates",
            call(
                "create",
                json!({"object": "task", "input": {"name": "built in"}}),
            ),
        ),
        (
            "inner",
            json!({"variables": [{"name": "ticketId", "isInput": true}, {"name": "out", "isOutput": true}],
            "steps": [{"name": "set", "type": "assignment", "assignments": {"out": "{ticketId}"}}]}),
        ),
        (
            "broken",
            json!({"steps": [{"name": "x", "type": "teleport"}]}),
        ),
        ("deep", call("deeper", json!({}))),
    ] {
        data.declare(ItemType::Flow, name, flow);
    }
    data.put("ticket", "t1", json!({"name": "ticket", "priority": 7}));
    data
}

#[tokio::test]
async fn a_step_invokes_an_action() {
    let world = World::over(with_actions()).await;
    let id = json!({"id": "t1"});
    for (flow, out) in [
        ("scores", json!({"result": 21})),
        ("by_record", json!({"result": 14})),
    ] {
        let run = world.run(flow, id.clone()).await;
        assert_eq!(run["output"]["out"], out, "{flow} {run:#}");
    }
    let run = world.run("begins", id.clone()).await;
    let out = &run["output"]["out"];
    assert_eq!(
        (&out["status"], &out["output"]),
        (&json!("completed"), &json!({"out": "t1"})),
        "{run:#}"
    );
    let inner = &world.runs("inner").await[0];
    let trigger = json!({"type": "action", "userId": "ann", "object": "ticket", "recordId": "t1"});
    assert_eq!((&inner["id"], &inner["trigger"]), (&out["runId"], &trigger));
    let run = world.run("creates", id.clone()).await;
    assert_eq!(run["output"]["out"]["name"], "built in", "{run:#}");
    for (flow, code, reason) in [
        ("wrong", "NODE_FAILURE", json!("VALIDATION_ERROR")),
        ("missing", "NODE_FAILURE", json!("NOT_FOUND")),
        ("nameless", "EXECUTION_ERROR", Value::Null),
        ("locks", "NODE_FAILURE", json!("PERMISSION_DENIED")),
    ] {
        let run = world.run(flow, id.clone()).await;
        let error = &run["error"];
        assert_eq!(
            (&error["code"], &error["reason"]),
            (&json!(code), &reason),
            "{flow} {run:#}"
        );
        assert_eq!(steps(&run), ["step failure"]);
    }
    let run = world.run("fails", id).await;
    let error = &run["error"];
    assert_eq!(error["details"]["reason"], "NO_EXECUTOR", "{run:#}");
    assert_eq!(
        error["details"]["runId"],
        world.runs("broken").await[0]["id"]
    );
}

#[tokio::test]
async fn flows_start_flows_by_actions_to_a_depth() {
    let world = World::over(with_actions()).await;
    let run = world.run("deep", json!({})).await;
    assert_eq!(run["status"], "failed", "{run:#}");
    let runs = world.runs("deep").await;
    assert_eq!(runs.len(), 11, "depths 0 to 10");
    let last = &runs[10]["error"];
    assert_eq!(
        last["message"], "Flows start flows more than 10 deep",
        "{last:#}"
    );
}

#[tokio::test]
async fn an_action_that_is_a_flow_answers_its_end() {
    let world = World::over(with_actions()).await;
    let answer = world
        .invoke("ann", "begin", &json!({"recordId": "t1"}))
        .await
        .unwrap();
    assert_eq!(
        (&answer["status"], &answer["output"]),
        (&json!("completed"), &json!({"out": "t1"}))
    );
    let refused = world.invoke("ann", "fail", &json!({})).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::FlowFailed);
    assert_eq!(refused.detail("status"), Some(&json!("failed")));
    assert_eq!(refused.detail("reason"), Some(&json!("NO_EXECUTOR")));
}
