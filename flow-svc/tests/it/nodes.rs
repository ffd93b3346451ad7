//! What the steps over records, variables and other flows do.

use serde_json::{Value, json};

use crate::world::{World, steps};

/// A flow of those steps whose outputs are `out`.
fn listed(steps: Value) -> Value {
    json!({"inputs": {"given": {}}, "outputs": ["out"], "steps": steps})
}

#[tokio::test]
async fn records_are_made_read_changed_and_deleted() {
    let flow = json!({
        "variables": [{"name": "name", "isInput": true}, {"name": "first", "isOutput": true},
            {"name": "all", "isOutput": true}, {"name": "none", "isOutput": true}],
        "steps": [
            {"name": "made", "type": "create", "object": "task", "data": {"name": "{name}", "cost": 1}, "output": "kept"},
            {"name": "one", "type": "query", "object": "task", "filter": {"name": "{name}"}, "output": "first"},
            {"name": "many", "type": "query", "object": "task", "filter": {}, "limit": 5, "orderBy": "id",
                "fields": ["name"], "output": "all"},
            {"name": "nobody", "type": "query", "object": "task", "filter": {"name": "nobody"}, "output": "none"},
            {"name": "changed", "type": "update", "object": "task", "id": "{kept.id}", "data": {"cost": 2}},
            {"name": "each", "type": "update", "object": "task", "filter": {"done": true}, "data": {"cost": 3}},
            {"name": "gone", "type": "delete", "object": "task", "filter": {"cost": 3}},
            {"name": "end", "type": "end", "outputs": {"made": "{made.id}", "count": "{many.count}",
                "cost": "{changed.record.cost}", "each": "{each.count}", "gone": "{gone.ids}"}},
        ],
    });
    let world = World::start([("records", flow)]).await;
    world
        .data
        .put("task", "t1", json!({"name": "old", "done": true}));
    world
        .data
        .put("task", "t2", json!({"name": "older", "done": true}));
    let run = world.run("records", json!({"name": "new"})).await;
    assert_eq!(run["status"], "completed", "{run:#}");
    let output = &run["output"];
    let made = &output["made"];
    assert_eq!(output["first"]["id"], *made);
    assert_eq!(output["first"]["name"], "new");
    assert_eq!(
        (&output["count"], output["all"].as_array().unwrap().len()),
        (&json!(3), 3)
    );
    assert_eq!(output["none"], Value::Null);
    assert_eq!((&output["cost"], &output["each"]), (&json!(2), &json!(2)));
    assert_eq!(output["gone"], json!(["t1", "t2"]));
    assert_eq!(world.data.tasks(), ["new"]);
    // Of several records changed, the step tells the ids and no record.
    assert_eq!(
        run["steps"][5]["output"],
        json!({"count": 2, "ids": ["t1", "t2"], "id": null, "record": null})
    );
    let query = &world.data.calls("query")[1].body;
    assert_eq!(
        *query,
        json!({"limit": 5, "fields": ["name"], "orderBy": "id"})
    );
    let mut keys: Vec<_> = world
        .data
        .state()
        .calls
        .iter()
        .map(|call| call.key.clone())
        .collect();
    keys.retain(|key| !key.is_empty());
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(
        (count, keys.len()),
        (6, 6),
        "each write has a key of its own"
    );
}

#[tokio::test]
async fn a_step_over_records_that_is_not_whole_writes_nothing() {
    let wrong = [
        (
            json!({"type": "create", "data": {"name": "x"}}),
            "The step names no object",
        ),
        (
            json!({"type": "create", "object": "task"}),
            "The step has no fields",
        ),
        (
            json!({"type": "update", "object": "task", "id": "t1", "data": "x"}),
            "The fields of the step are no object",
        ),
        (json!({"type": "query"}), "The step names no object"),
        (
            json!({"type": "update", "object": "task", "data": {"name": "x"}}),
            "A step that changes or deletes records needs a filter",
        ),
        (
            json!({"type": "update", "object": "task", "filter": {}, "data": {"name": "x"}}),
            "A step that changes or deletes records needs a filter",
        ),
        (
            json!({"type": "delete", "object": "task", "filter": []}),
            "A step that changes or deletes records needs a filter",
        ),
        (
            json!({"type": "delete", "object": "task"}),
            "A step that changes or deletes records needs a filter",
        ),
        (
            json!({"type": "delete", "object": "task", "filter": {"name": {"$startsWith": "many"}}}),
            "The filter finds more than 1000 records",
        ),
        (
            json!({"type": "create", "object": "task", "data": {}}),
            "`name` is required",
        ),
    ];
    let names: Vec<_> = (0..wrong.len())
        .map(|number| format!("wrong{number}"))
        .collect();
    let flows = wrong.iter().zip(&names).map(|((step, _), name)| {
        let mut step = step.clone();
        step["name"] = json!("step");
        (name.as_str(), listed(json!([step])))
    });
    let world = World::start(flows).await;
    world.data.put("task", "t1", json!({"name": "kept"}));
    for number in 0..1001 {
        world
            .data
            .put("task", &format!("m{number:04}"), json!({"name": "many"}));
    }
    for ((step, message), name) in wrong.iter().zip(&names) {
        let run = world.run(name, json!({})).await;
        let error = &run["error"];
        assert_eq!(
            (&run["status"], &error["message"]),
            (&json!("failed"), &json!(message)),
            "{step}"
        );
        let is_refused = step["data"] == json!({});
        let code = if is_refused {
            "NODE_FAILURE"
        } else {
            "EXECUTION_ERROR"
        };
        assert_eq!(
            (&error["code"], &error["nodeId"]),
            (&json!(code), &json!("step")),
            "{step}"
        );
        if is_refused {
            assert_eq!(error["reason"], "VALIDATION_ERROR");
            assert_eq!(error["details"]["fields"][0]["field"], "name", "{error}");
        }
    }
    assert_eq!(world.data.records("task").len(), 1002);
}

#[tokio::test]
async fn what_a_filter_finds_is_read_in_pages() {
    let steps = |filter: Value| {
        listed(json!([
            {"name": "wipe", "type": "delete", "object": "task", "filter": filter},
            {"name": "end", "type": "end", "outputs": {"out": "{wipe.count}"}},
        ]))
    };
    let world = World::start([
        ("object", steps(json!({"name": "many"}))),
        ("triple", steps(json!(["name", "=", "few"]))),
        ("list", steps(json!([["name", "=", "some"]]))),
    ])
    .await;
    for (name, count) in [("many", 203), ("few", 2), ("some", 1)] {
        for number in 0..count {
            world
                .data
                .put("task", &format!("{name}{number:03}"), json!({"name": name}));
        }
    }
    for (flow, count, left) in [("object", 203, 3), ("triple", 2, 1), ("list", 1, 0)] {
        let run = world.run(flow, json!({})).await;
        assert_eq!(run["output"]["out"], count, "{run:#}");
        assert_eq!(world.data.records("task").len(), left, "{flow}");
    }
    let queries = world.data.calls("query");
    let behind = |number: usize| queries[number].body["where"].clone();
    let last = |id: &str| json!({"id": {"$gt": id}});
    assert_eq!(
        behind(1),
        json!({"$and": [{"name": "many"}, last("many199")]})
    );
    assert_eq!(
        behind(2),
        json!({"$and": [{"name": "many"}, last("many202")]})
    );
    assert_eq!(
        behind(4),
        json!([["name", "=", "few"], ["id", ">", "few001"]])
    );
    assert_eq!(
        behind(6),
        json!([["name", "=", "some"], ["id", ">", "some000"]])
    );
}

#[tokio::test]
async fn variables_are_set_in_each_spelling_and_make_the_output() {
    let flow = json!({
        "variables": [
            {"name": "given", "isInput": true, "defaultValue": "none"},
            {"name": "a", "isOutput": true}, {"name": "b", "isOutput": true},
            {"name": "c", "isOutput": true, "defaultValue": 3}, {"name": "d", "isOutput": true},
            {"name": "never", "isOutput": true}],
        "nodes": [
            {"id": "start", "type": "start"},
            {"id": "flat", "type": "assignment", "config": {"a": "{given}"}},
            {"id": "named", "type": "assignment", "config": {"assignments": {"{b}": {"deep": ["{a}", 1]}}}},
            {"id": "rows", "type": "assignment", "config": {"assignments": [{"variable": "d", "value": "{b.deep}"}]}},
            {"id": "end", "type": "end", "config": {"outputs": {"said": "{$User.Email} {given}"}}},
        ],
        "edges": [{"source": "start", "target": "flat"}, {"source": "flat", "target": "named"},
            {"source": "named", "target": "rows"}, {"source": "rows", "target": "end"}],
    });
    let world = World::start([("sets", flow)]).await;
    let run = world.run("sets", json!({"given": "x"})).await;
    let expected = json!({"a": "x", "b": {"deep": ["x", 1]}, "c": 3, "d": ["x", 1], "never": null,
        "said": "ann@example.com x"});
    assert_eq!(run["output"], expected, "{run:#}");
    let run = world.run("sets", json!({})).await;
    assert_eq!(run["output"]["a"], "none", "{run:#}");
    assert_eq!(run["steps"][3]["output"], json!({"d": ["none", 1]}));
}

#[tokio::test]
async fn a_subflow_is_handed_its_input_and_hands_its_output_back() {
    let inner = json!({
        "variables": [{"name": "n", "isInput": true, "required": true}, {"name": "twice", "isOutput": true}],
        "steps": [
            {"name": "double", "type": "script", "inputs": {"n": "{n}"},
                "body": {"language": "expression", "source": "input.n * 2"}, "output": "twice"},
            {"name": "hidden", "type": "assignment", "assignments": {"n": 0}},
        ],
    });
    let call = |flow: Value, input: Value| {
        listed(json!([
        {"name": "inner", "type": "subflow", "flow": flow, "input": input, "output": "out"}]))
    };
    let world = World::start([
        ("inner", inner),
        (
            "calls",
            call(json!("inner"), json!({"n": "{given}", "more": 1})),
        ),
        ("hungry", call(json!("inner"), json!({}))),
        ("shapeless", call(json!("inner"), json!("text"))),
        ("lost", call(json!("nothing"), json!({}))),
        (
            "off",
            json!({"status": "obsolete", "steps": [{"name": "x", "type": "end"}]}),
        ),
        ("offs", call(json!("off"), json!({}))),
        ("endless", call(json!("endless"), json!({}))),
    ])
    .await;
    let run = world.run("calls", json!({"given": 21})).await;
    assert_eq!(run["output"], json!({"out": {"twice": 42}}), "{run:#}");
    // Its own steps are not told.
    assert_eq!(steps(&run), ["inner success"]);
    for (flow, code, message) in [
        ("hungry", "NODE_FAILURE", "`n` is required"),
        ("shapeless", "NODE_FAILURE", "`n` is required"),
        ("lost", "EXECUTION_ERROR", "There is no flow `nothing`"),
        (
            "offs",
            "EXECUTION_ERROR",
            "The flow `off` is disabled: its status is `obsolete`",
        ),
        (
            "endless",
            "EXECUTION_ERROR",
            "Subflows lie more than 10 deep in subflows",
        ),
    ] {
        let run = world.run(flow, json!({})).await;
        let error = &run["error"];
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!(code), &json!(message)),
            "{flow}"
        );
        assert_eq!(steps(&run), ["inner failure"], "{flow}");
    }
}
