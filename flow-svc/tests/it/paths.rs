//! Where a run goes: decisions, loops, branches at the same time, joins, and back.

use serde_json::{Value, json};

use crate::{
    fake_data::Plan,
    world::{World, steps},
};

/// A graph of assignments of `way` around some nodes of interest: each letter of `letters` is a node that adds
/// itself to what the run puts out.
fn graph(letters: &str, nodes: Value, edges: Value) -> Value {
    let mut all = vec![json!({"id": "start", "type": "start"})];
    for letter in letters.chars() {
        let way = format!("{{way}}{letter}");
        all.push(json!({"id": letter.to_string(), "type": "assignment", "config": {"way": way}}));
    }
    all.extend(nodes.as_array().unwrap().iter().cloned());
    json!({
        "variables": [{"name": "n", "isInput": true}, {"name": "way", "isOutput": true, "defaultValue": ""}],
        "nodes": all, "edges": edges,
    })
}

#[tokio::test]
async fn a_decision_leads_on_by_label_condition_or_default() {
    let conditions = json!([{"label": "big", "expression": "n > 5"}, {"label": "some", "expression": "n > 0"},
        {"label": "unlinked", "expression": "n < -5"}]);
    let labels = graph(
        "abcd",
        json!([{"id": "which", "type": "decision", "config": {"conditions": conditions}}]),
        json!([
            {"source": "start", "target": "which"},
            {"source": "which", "target": "a", "label": "big"},
            {"source": "which", "target": "b", "label": "some"},
            {"source": "which", "target": "c", "label": "default", "isDefault": true},
            {"source": "which", "target": "d"},
        ]),
    );
    let edges = graph(
        "abc",
        json!([{"id": "which", "type": "decision"}]),
        json!([
            {"source": "start", "target": "which"},
            {"source": "which", "target": "a", "condition": "n > 0"},
            {"source": "which", "target": "b", "condition": "n > 5"},
            {"source": "which", "target": "c", "isDefault": true},
        ]),
    );
    let broken = |nodes: Value, condition: Value| {
        let mut edges = vec![json!({"source": "start", "target": "which"})];
        edges.push(json!({"source": "which", "target": "a", "condition": condition}));
        graph("a", nodes, Value::Array(edges))
    };
    let conditions = json!([{"label": "x", "expression": "n.nothing.more > 1"}]);
    let world = World::start([
        ("labels", labels),
        ("edges", edges),
        (
            "in_node",
            broken(
                json!([{"id": "which", "type": "decision", "config": {"conditions": conditions}}]),
                json!("true"),
            ),
        ),
        (
            "on_edge",
            broken(
                json!([{"id": "which", "type": "decision"}]),
                json!("n.nothing.more > 1"),
            ),
        ),
    ])
    .await;
    for (flow, n, way, branch) in [
        ("labels", 7, "a", json!("big")),
        ("labels", 1, "b", json!("some")),
        ("labels", 0, "c", json!("default")),
        // A label that no edge has leads on by those without one.
        ("labels", -9, "d", json!("unlinked")),
        ("edges", 7, "ab", Value::Null),
        ("edges", 1, "a", Value::Null),
        ("edges", 0, "c", Value::Null),
    ] {
        let run = world.run(flow, json!({"n": n})).await;
        assert_eq!(run["output"]["way"], way, "{flow} {n} {run:#}");
        assert_eq!(run["steps"][1]["output"]["branch"], branch);
    }
    for flow in ["in_node", "on_edge"] {
        let run = world.run(flow, json!({"n": 1})).await;
        let error = &run["error"];
        assert_eq!(
            (&error["code"], &error["nodeId"]),
            (&json!("EXECUTION_ERROR"), &json!("which")),
            "{run:#}"
        );
    }
}

/// A loop over what the input `n` is, by a way of naming it.
fn looping(collection: Value, more: Value) -> Value {
    let mut config = json!({"collection": collection, "iteratorVariable": "one", "indexVariable": "at", "body": {
        "nodes": [{"id": "add", "type": "assignment", "config": {"way": "{way}{at}{one}"}},
            {"id": "also", "type": "assignment", "config": {"last": "{one}"}}],
        "edges": [{"source": "add", "target": "also"}]}});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    graph(
        "z",
        json!([{"id": "each", "type": "loop", "config": config}]),
        json!([{"source": "start", "target": "each"}, {"source": "each", "target": "z"}]),
    )
}

#[tokio::test]
async fn a_loop_goes_through_its_items() {
    let found = json!({
        "outputs": ["way"], "variables": [{"name": "way", "defaultValue": ""}],
        "steps": [
            {"name": "found", "type": "query", "object": "ticket", "filter": {}, "limit": 9},
            {"name": "each", "type": "foreach", "items": "{found}", "do": [
                {"name": "add", "type": "assignment", "assignments": {"way": "{way}{item.name}"}}]},
            {"name": "both", "type": "foreach", "items": [1, 2], "do": [
                {"name": "inner", "type": "foreach", "items": ["x", "y"], "do": [
                    {"name": "more", "type": "assignment", "assignments": {"way": "{way}{item}"}}]}]},
        ],
    });
    let world = World::start([
        ("placeholder", looping(json!("{n}"), json!({}))),
        ("name", looping(json!("n"), json!({}))),
        ("written", looping(json!(["p", "{n}"]), json!({}))),
        ("few", looping(json!("n"), json!({"maxIterations": 2}))),
        ("bare", looping(json!("n"), json!({"body": null}))),
        ("found", found),
    ])
    .await;
    let list = json!(["x", "y"]);
    for (flow, n, way) in [
        ("placeholder", &list, "0x1yz"),
        ("name", &list, "0x1yz"),
        ("written", &json!("q"), "0p1qz"),
        ("few", &list, "0x1yz"),
        ("name", &json!([]), "z"),
        ("name", &Value::Null, "z"),
        // Without a body it runs what follows it.
        ("bare", &list, "zz"),
    ] {
        let run = world.run(flow, json!({"n": n})).await;
        assert_eq!(run["output"]["way"], way, "{flow} {n} {run:#}");
    }
    let run = world.run("name", json!({"n": list})).await;
    let expected = ["start", "each", "add", "also", "add", "also", "z"];
    assert_eq!(steps(&run), expected.map(|node| format!("{node} success")));
    assert_eq!(
        (&run["steps"][2]["iteration"], &run["steps"][4]["iteration"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(run["steps"][1]["output"], json!({"count": 2}));
    for (flow, n, message) in [
        ("few", json!([1, 2, 3]), "The loop has more than 2 items"),
        (
            "name",
            json!("text"),
            "The collection of the loop is no list",
        ),
        (
            "name",
            json!({"records": 1}),
            "The collection of the loop is no list",
        ),
    ] {
        let run = world.run(flow, json!({"n": n})).await;
        let error = &run["error"];
        assert_eq!(
            (&error["message"], &error["nodeId"]),
            (&json!(message), &json!("each")),
            "{run:#}"
        );
    }
    // What a query for several records gave is a list; loops lie in loops.
    for name in ["a", "b"] {
        world.data.put("ticket", name, json!({"name": name}));
    }
    let run = world.run("found", json!({})).await;
    assert_eq!(run["output"]["way"], "abxyxy", "{run:#}");
}

fn parallel(branches: Value, retry: Value) -> Value {
    json!({
        "variables": [{"name": "a", "isOutput": true, "defaultValue": 0}, {"name": "b", "isOutput": true, "defaultValue": 0},
            {"name": "same", "isOutput": true, "defaultValue": "before"}],
        "steps": [
            {"name": "both", "type": "parallel", "branches": branches, "retry": retry},
            {"name": "after", "type": "assignment", "assignments": {"sum": "{a}{b}"}},
            {"name": "end", "type": "end", "outputs": {"sum": "{sum}"}},
        ],
    })
}

#[tokio::test]
async fn branches_go_at_the_same_time_and_share_what_they_set() {
    let set = |name: &str, value: Value| json!({"name": format!("set_{name}"), "type": "assignment", "assignments": {name: value}});
    let make = |name: &str| json!({"name": name, "type": "create", "object": "task", "data": {"name": name}});
    let world = World::start([
        (
            "sets",
            parallel(
                json!([
                    [set("a", json!("{same}A"))],
                    [set("b", json!(2)), set("same", json!("after"))]
                ]),
                Value::Null,
            ),
        ),
        (
            "fails",
            parallel(
                json!([[make("left")], [make("right"), {"name": "x", "type": "teleport"}]]),
                Value::Null,
            ),
        ),
        (
            "waits",
            parallel(json!([[make("slow")], [make("quick")]]), Value::Null),
        ),
    ])
    .await;
    let run = world.run("sets", json!({})).await;
    assert_eq!(
        run["output"],
        json!({"a": "beforeA", "b": 2, "same": "after", "sum": "beforeA2"}),
        "{run:#}"
    );
    // One that fails, fails the step; the other one is gone through all the same.
    let run = world.run("fails", json!({})).await;
    assert_eq!(
        (&run["status"], &run["error"]["nodeId"]),
        (&json!("failed"), &json!("x")),
        "{run:#}"
    );
    let mut made = world.data.tasks();
    made.sort_unstable();
    assert_eq!(made, ["left", "right"]);
    // The second one does not wait for the first, which gets no answer.
    world.data.plan("create", Plan::Silent);
    let id = world.begin("waits", json!({})).await;
    world
        .data
        .until("both have been asked for", |state| state.calls.len() == 4)
        .await;
    let run = world.cancel("ann", "waits", &id).await.unwrap();
    assert_eq!(run["status"], "cancelled");
}

#[tokio::test]
async fn branches_that_wait_for_their_next_attempt_park_the_run_together() {
    let make = |name: &str, delay: i64| {
        json!([{"name": name, "type": "create", "object": "task", "data": {"name": name},
        "retry": {"maxRetries": 1, "retryDelayMs": delay}}])
    };
    let world = World::start([(
        "parks",
        parallel(
            json!([make("left", 3_600_000), make("right", 20)]),
            Value::Null,
        ),
    )])
    .await;
    for _ in 0..2 {
        world.data.plan(
            "create",
            Plan::Refused(mesh::error::Reason::ValidationError),
        );
    }
    let id = world.begin("parks", json!({})).await;
    // It goes on with the one that is due first, and parks again for the other.
    world
        .data
        .until("the second attempt of one", |state| state.calls.len() == 3)
        .await;
    crate::world::eventually("the run waits", async || {
        world
            .count("SELECT count(*) FROM flow_step WHERE status = 'success' AND node_id = 'right'")
            .await
            == 1
    })
    .await;
    assert_eq!(world.data.tasks(), ["right"]);
    world.sql("UPDATE flow_step SET result = replace(result, '\"dueMs\":', '\"dueMs\":-') WHERE node_id = 'left'").await;
    crate::world::eventually("the run is parked", async || {
        world.count("SELECT count(*) FROM om_queue WHERE due_ms > 30000 + (SELECT max(started_at_ms) FROM flow_run)").await == 1
    })
    .await;
    world.sql("UPDATE om_queue SET due_ms = 0").await;
    let run = world.becomes("parks", &id, "completed").await;
    assert_eq!(world.data.tasks(), ["right", "left"], "{run:#}");
}

#[tokio::test]
async fn branches_join_as_often_as_they_part() {
    let nodes = json!([
        {"id": "fork", "type": "decision"}, {"id": "join", "type": "join_gateway"},
        {"id": "less", "type": "script", "config": {"inputs": {"n": "{n}"},
            "body": {"language": "expression", "source": "input.n - 1"}, "outputVariable": "n"}},
        {"id": "more", "type": "decision"}, {"id": "end", "type": "end"},
    ]);
    let edges = json!([
        {"source": "start", "target": "fork"},
        {"source": "fork", "target": "a", "condition": "n > 0"},
        {"source": "fork", "target": "b", "condition": "n > 1"},
        {"source": "fork", "target": "c", "isDefault": true},
        {"source": "a", "target": "join"}, {"source": "b", "target": "join"}, {"source": "c", "target": "join"},
        {"source": "join", "target": "less"}, {"source": "less", "target": "more"},
        {"source": "more", "target": "fork", "type": "back", "condition": "n >= 0"},
        {"source": "more", "target": "end", "isDefault": true},
    ]);
    let gateways = graph(
        "abz",
        json!([{"id": "fork", "type": "parallel_gateway"}, {"id": "join", "type": "join_gateway"}]),
        json!([
            {"source": "start", "target": "fork"}, {"source": "fork", "target": "a"}, {"source": "fork", "target": "b"},
            {"source": "a", "target": "join"}, {"source": "b", "target": "join"}, {"source": "join", "target": "z"},
        ]),
    );
    let world = World::start([
        ("several", graph("abc", nodes, edges)),
        ("gateways", gateways),
    ])
    .await;
    let run = world.run("several", json!({"n": 2})).await;
    // For 2 both conditions hold, for 1 the first one, for 0 none.
    assert_eq!(run["output"]["way"], "abac", "{run:#}");
    let count = |node: &str| {
        steps(&run)
            .iter()
            .filter(|step| **step == format!("{node} success"))
            .count()
    };
    assert_eq!((count("join"), count("less"), count("end")), (3, 3, 1));
    let run = world.run("gateways", json!({})).await;
    assert_eq!(run["output"]["way"], "abz", "{run:#}");
    let expected = ["start", "fork", "a", "b", "join", "z"];
    assert_eq!(steps(&run), expected.map(|node| format!("{node} success")));
}

#[tokio::test]
async fn a_list_of_steps_decides_and_goes_on_behind_it() {
    let add = |letter: &str| json!({"name": letter, "type": "assignment", "assignments": {"way": format!("{{way}}{letter}")}});
    let flow = json!({
        "inputs": {"n": {"type": "number"}}, "outputs": ["way"], "variables": [{"name": "way", "defaultValue": ""}],
        "steps": [
            {"name": "many", "type": "condition", "when": "input.n > 2", "then": [add("a")], "else": [add("b"),
                {"name": "none", "type": "condition", "when": "input.n == 0", "then": [add("c")]}]},
            add("z"),
        ],
    });
    let world = World::start([("listed", flow)]).await;
    for (n, way) in [(3, "az"), (2, "bz"), (0, "bcz")] {
        let run = world.run("listed", json!({"n": n})).await;
        assert_eq!(run["output"]["way"], way, "{n} {run:#}");
    }
}
