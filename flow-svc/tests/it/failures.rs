//! What becomes of a run when a step of it fails.

use mesh::error::Reason;
use serde_json::{Value, json};

use crate::{
    fake_data::Plan,
    world::{World, steps},
};

const REFUSED: Plan = Plan::Refused(Reason::ValidationError);

/// A flow whose step `x` makes a task, with what else a test says: edges are added, all else is set.
fn failing(more: Value) -> Value {
    let mut flow = json!({
        "variables": [{"name": "$error", "isOutput": true}],
        "nodes": [
            {"id": "s", "type": "start"},
            {"id": "x", "type": "create_record", "config": {"objectName": "task", "fields": {"name": "made"}}},
            {"id": "mend", "type": "end", "config": {"outputs": {"went": "mended", "said": "{$error.nodeId}: {$error.reason}"}}},
            {"id": "on", "type": "end", "config": {"outputs": {"went": "on", "said": "{$error.nodeId}: {$error.reason}"}}},
        ],
        "edges": [{"source": "s", "target": "x"}, {"source": "x", "target": "on"}],
    });
    for (key, value) in more.as_object().unwrap() {
        match (key.as_str(), value) {
            ("edges", Value::Array(edges)) => {
                flow["edges"].as_array_mut().unwrap().extend(edges.clone())
            }
            ("x", Value::Object(node)) => flow["nodes"][1]
                .as_object_mut()
                .unwrap()
                .extend(node.clone()),
            (key, other) => flow[key] = other.clone(),
        }
    }
    flow
}

fn fault_edge() -> Value {
    json!([{"source": "x", "target": "mend", "type": "fault"}])
}

#[tokio::test]
async fn a_failed_step_leads_where_the_flow_says() {
    let listed = json!({
        "variables": [{"name": "$error", "isOutput": true}],
        "steps": [
            {"name": "x", "type": "create", "object": "task", "data": {"name": "made"}, "onError": "continue"},
            {"name": "on", "type": "end", "outputs": {"went": "on", "said": "{$error.nodeId}: {$error.reason}"}}],
    });
    let world = World::start([
        ("edge", failing(json!({"edges": fault_edge()}))),
        ("fallback", failing(json!({"errorHandling": {"fallbackNodeId": "mend"}}))),
        ("continue", failing(json!({"errorHandling": {"strategy": "continue"}}))),
        ("listed", listed),
        // The edge comes before the fallback, and both before going on.
        ("all", failing(json!({"edges": fault_edge(), "errorHandling": {"strategy": "continue", "fallbackNodeId": "on"}}))),
        ("fail", failing(json!({}))),
    ])
    .await;
    for (flow, went) in [
        ("edge", json!("mended")),
        ("fallback", json!("mended")),
        ("continue", json!("on")),
        ("listed", json!("on")),
        ("all", json!("mended")),
        ("fail", Value::Null),
    ] {
        world.data.plan("create", REFUSED);
        let run = world.run(flow, json!({})).await;
        let status = if went.is_null() {
            "failed"
        } else {
            "completed"
        };
        assert_eq!(run["status"], status, "{flow} {run:#}");
        let failure = steps(&run)
            .into_iter()
            .position(|step| step == "x failure")
            .unwrap();
        let step = &run["steps"][failure]["error"];
        assert_eq!(
            (&step["code"], &step["reason"]),
            (&json!("NODE_FAILURE"), &json!("VALIDATION_ERROR"))
        );
        if went.is_null() {
            assert_eq!((&run["error"], &run["output"]), (step, &Value::Null));
        } else {
            assert_eq!(run["output"]["went"], went, "{flow} {run:#}");
            let told = json!({"nodeId": "x", "message": "It is refused", "code": "NODE_FAILURE", "reason": "VALIDATION_ERROR"});
            assert_eq!(run["output"]["$error"], told, "{flow}");
            assert_eq!(run["output"]["said"], "x: VALIDATION_ERROR", "{flow}");
            assert_eq!(run["error"], Value::Null);
        }
        // Without a failure none of it is taken.
        let run = world.run(flow, json!({})).await;
        assert_eq!(
            (&run["status"], &run["output"]["went"]),
            (&json!("completed"), &json!("on")),
            "{flow}"
        );
    }
}

#[tokio::test]
async fn a_fallback_that_fails_and_a_failure_inside_a_body_fail_the_run() {
    let fallback = json!({
        "errorHandling": {"fallbackNodeId": "mend"},
        "steps": [
            {"name": "x", "type": "teleport"},
            {"name": "mend", "type": "create", "object": "task", "data": {"name": "mended"}}],
    });
    let inside = |strategy: &str| {
        json!({
            "errorHandling": {"strategy": strategy, "fallbackNodeId": "mend"},
            "steps": [
                {"name": "each", "type": "foreach", "items": [1, 2], "do": [{"name": "x", "type": "teleport"}]},
                {"name": "mend", "type": "end", "outputs": {"went": "mended"}}],
        })
    };
    let world = World::start([
        ("fallback", fallback),
        ("inside", inside("fail")),
        ("goes_on", inside("continue")),
    ])
    .await;
    world.data.plan("create", REFUSED);
    let run = world.run("fallback", json!({})).await;
    assert_eq!(steps(&run), ["x failure", "mend failure"], "{run:#}");
    assert_eq!(
        (&run["status"], &run["error"]["nodeId"]),
        (&json!("failed"), &json!("mend"))
    );
    // The fallback is a node of the flow: a body cannot go on with it, the step around the body can.
    let run = world.run("inside", json!({})).await;
    let order = ["each failure", "x failure", "mend success"];
    assert_eq!(steps(&run), order, "{run:#}");
    assert_eq!(
        (&run["status"], &run["output"]["went"]),
        (&json!("completed"), &json!("mended"))
    );
    // Where each failure is passed over, the second item has its turn, too.
    let run = world.run("goes_on", json!({})).await;
    let order = ["each success", "x failure", "x failure", "mend success"];
    assert_eq!(steps(&run), order, "{run:#}");
}

#[tokio::test]
async fn a_step_is_tried_again_after_its_pauses_and_no_more_often() {
    let retry = json!({"retry": {"maxRetries": 2, "retryDelayMs": 1, "backoffMultiplier": 2}});
    let world = World::start([
        ("tries", failing(json!({"x": retry}))),
        ("leads", failing(json!({"x": retry, "edges": fault_edge()}))),
    ])
    .await;
    for (flow, refusals, end) in [
        ("tries", 1, Ok("on")),
        ("tries", 2, Ok("on")),
        ("tries", 3, Err(())),
        ("leads", 3, Ok("mended")),
    ] {
        for _ in 0..refusals {
            world.data.plan("create", REFUSED);
        }
        let before = world.data.calls("create").len();
        let run = world.run(flow, json!({})).await;
        let calls = world.data.calls("create").split_off(before);
        assert_eq!(calls.len(), 3.min(refusals + 1), "{flow} {refusals}");
        assert!(
            calls.iter().all(|call| call.key == calls[0].key),
            "one key for all: {calls:#?}"
        );
        let tries = run["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| step["nodeId"] == "x");
        let tries: Vec<_> = tries
            .map(|step| step["retryAttempt"].as_i64().unwrap_or(0))
            .collect();
        assert_eq!(
            tries,
            (0..).take(calls.len()).collect::<Vec<i64>>(),
            "{run:#}"
        );
        match end {
            Ok(went) => assert_eq!(run["output"]["went"], went, "{run:#}"),
            Err(()) => assert_eq!(
                (&run["status"], &run["error"]["nodeId"]),
                (&json!("failed"), &json!("x"))
            ),
        }
    }
}

#[tokio::test]
async fn a_loop_that_is_tried_again_begins_anew() {
    let flow = json!({
        "variables": [{"name": "last", "isOutput": true}],
        "steps": [{"name": "each", "type": "foreach", "items": ["x", "y"], "retry": {"attempts": 2, "backoffMs": 1}, "do": [
            {"name": "make", "type": "create", "object": "task", "data": {"name": "{item}"}},
            {"name": "check", "type": "update", "object": "task", "filter": {"name": "{item}"}, "data": {"seen": true}},
            {"name": "keep", "type": "assignment", "assignments": {"last": "{item}{check.count}"}}]}],
    });
    let world = World::start([("loops", flow)]).await;
    for plan in [Plan::Done, REFUSED] {
        world.data.plan("update", plan);
    }
    let run = world.run("loops", json!({})).await;
    assert_eq!(run["status"], "completed", "{run:#}");
    let of = |node: &str| -> Vec<String> {
        let all = steps(&run).into_iter();
        all.filter(|step| step.starts_with(&format!("{node} ")))
            .collect()
    };
    assert_eq!(of("each"), ["each failure", "each success"]);
    assert_eq!(
        of("check"),
        [
            "check success",
            "check failure",
            "check success",
            "check success"
        ]
    );
    assert_eq!(world.data.tasks(), ["x", "y", "x", "y"]);
    assert_eq!(run["output"]["last"], "y2");
}

#[tokio::test]
async fn a_run_is_begun_again_as_often_as_its_flow_says() {
    let again = |retries: i64| {
        json!({
            "errorHandling": {"strategy": "retry", "maxRetries": retries, "retryDelayMs": 1},
            "steps": [
                {"name": "make", "type": "create", "object": "task", "data": {"name": "made"}},
                {"name": "check", "type": "query", "object": "task", "filter": {}, "limit": 9},
                {"name": "end", "type": "end", "outputs": {"count": "{check.count}"}}],
        })
    };
    let world = World::start([("twice", again(2)), ("never", again(0))]).await;
    for _ in 0..2 {
        world.data.plan("query", REFUSED);
    }
    let run = world.run("twice", json!({})).await;
    assert_eq!(
        (&run["status"], &run["output"]),
        (&json!("completed"), &json!({"count": 3})),
        "{run:#}"
    );
    assert_eq!(run["error"], Value::Null, "what failed before is forgotten");
    let attempts = run["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["nodeId"] == "make");
    let attempts: Vec<_> = attempts.map(|step| step["retryAttempt"].clone()).collect();
    assert_eq!(attempts, [Value::Null, json!(1), json!(2)]);
    for (flow, tries) in [("twice", 3), ("never", 1)] {
        for _ in 0..tries {
            world.data.plan("query", REFUSED);
        }
        let before = world.data.tasks().len();
        let run = world.run(flow, json!({})).await;
        assert_eq!(
            (&run["status"], &run["error"]["nodeId"]),
            (&json!("failed"), &json!("check")),
            "{flow}"
        );
        assert_eq!(world.data.tasks().len() - before, tries, "{flow}");
    }
}

#[tokio::test]
async fn a_run_that_waits_for_its_next_attempt_says_so_and_is_cancelled() {
    let waits = json!({
        "errorHandling": {"strategy": "retry", "maxRetries": 1, "retryDelayMs": 3_600_000, "maxRetryDelayMs": 3_600_000},
        "steps": [{"name": "make", "type": "create", "object": "task", "data": {"name": "made"}}],
    });
    let world = World::start([("waits", waits)]).await;
    world.data.plan("create", REFUSED);
    let id = world.begin("waits", json!({})).await;
    let run = world.becomes("waits", &id, "retrying").await;
    assert_eq!(
        (&run["error"]["nodeId"], &run["completedAt"]),
        (&json!("make"), &Value::Null),
        "{run:#}"
    );
    let cancelled = world.cancel("ann", "waits", &id).await.unwrap();
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(world.count("SELECT count(*) FROM om_queue").await, 0);
    assert_eq!(world.data.calls("create").len(), 1);
}

#[tokio::test]
async fn a_step_takes_no_longer_than_it_may() {
    let limited = |more: Value| {
        let mut x = json!({"timeoutMs": 500});
        x.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        failing(json!({"x": x, "edges": fault_edge()}))
    };
    let world = World::start([
        ("once", limited(json!({}))),
        (
            "again",
            limited(json!({"retry": {"maxRetries": 1, "retryDelayMs": 1}})),
        ),
    ])
    .await;
    world.data.plan("create", Plan::Silent);
    let run = world.run("once", json!({})).await;
    let error = &run["output"]["$error"];
    assert_eq!(
        (&error["code"], &error["message"]),
        (
            &json!("TIMEOUT"),
            &json!("The step took longer than 500 ms")
        ),
        "{run:#}"
    );
    // What it wrote before counts: tried again under its key it is not made twice.
    world.data.plan("create", Plan::AnswerSilent);
    let run = world.run("again", json!({})).await;
    assert_eq!(
        steps(&run),
        ["s success", "x failure", "x success", "on success"],
        "{run:#}"
    );
    assert_eq!(world.data.tasks(), ["made"]);
}
