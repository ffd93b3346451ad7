//! Runs that go on after their process ended: from what was kept, exactly once, or not at all.

use serde_json::{Value, json};

use crate::{
    fake_data::Plan,
    world::{World, steps, text},
};
use metadata::ItemType;

/// Three tasks, the second of which a test holds up, and how many there are then.
fn three() -> Value {
    json!({
        "inputs": {"tag": {}}, "outputs": ["seen"],
        "steps": [
            {"name": "one", "type": "create", "object": "task", "data": {"name": "{tag} one"}, "output": "first"},
            {"name": "each", "type": "foreach", "items": ["a", "b"], "do": [
                {"name": "make", "type": "create", "object": "task", "data": {"name": "{first.name} {item}"}}]},
            {"name": "told", "type": "script", "inputs": {"tag": "{tag}"}, "body": {"language": "expression", "source": "input.tag"}},
            {"name": "count", "type": "query", "object": "task", "filter": {}, "limit": 9},
            {"name": "set", "type": "assignment", "assignments": {"seen": "{count.count}"}}],
    })
}

/// A run of [`three`] that was stopped while it waited for the answer to the second task of its loop.
async fn stopped(plan: Plan) -> (World, String) {
    let world = World::start([("three", three())]).await;
    for plan in [Plan::Done, Plan::Done, plan] {
        world.data.plan("create", plan);
    }
    let id = world.begin("three", json!({"tag": "t"})).await;
    world
        .data
        .until("the third task is asked for", |state| {
            state.calls.len() == 3
        })
        .await;
    world.stop().await;
    (world, id)
}

#[tokio::test]
async fn a_run_goes_on_where_it_was_and_does_nothing_twice() {
    for plan in [Plan::Silent, Plan::AnswerSilent] {
        let (mut world, id) = stopped(plan).await;
        let made = if matches!(plan, Plan::Silent) { 2 } else { 3 };
        assert_eq!(world.data.tasks().len(), made);
        world.go_on().await;
        let run = world.becomes("three", &id, "completed").await;
        let expected = ["one", "each", "make", "make", "told", "count", "set"];
        assert_eq!(
            steps(&run),
            expected.map(|node| format!("{node} success")),
            "{run:#}"
        );
        assert_eq!(run["output"], json!({"seen": 3}));
        assert_eq!(world.data.tasks(), ["t one", "t one a", "t one b"]);
        let calls = world.data.calls("create");
        assert_eq!(calls.len(), 4);
        assert_eq!(
            (&calls[2].key, &calls[2].body),
            (&calls[3].key, &calls[3].body),
            "{plan:?}"
        );
        assert_eq!(
            calls[3].request_id, calls[0].request_id,
            "changes tell the run that made them"
        );
        // Nobody waits for it any more: it goes on by a token of its own.
        let delegated = world.auth.state().delegated.clone();
        assert_eq!((delegated.len(), delegated[0].user_id.as_str()), (1, "ann"));
    }
}

#[tokio::test]
async fn a_run_ends_with_the_definition_it_began_with() {
    let (mut world, id) = stopped(Plan::Silent).await;
    let other = json!({"steps": [{"name": "other", "type": "end", "outputs": {"seen": "other"}}]});
    world.data.declare(ItemType::Flow, "three", other);
    world.go_on().await;
    let run = world.becomes("three", &id, "completed").await;
    assert_eq!(
        (run["output"].clone(), steps(&run).len()),
        (json!({"seen": 3}), 7),
        "{run:#}"
    );
    assert_eq!(
        world.run("three", json!({})).await["output"]["seen"],
        "other"
    );
}

#[tokio::test]
async fn what_is_kept_and_cannot_be_read_fails_the_run() {
    for (damage, what, node) in [
        ("UPDATE flow_run SET input = '{\"n\":'", "input", ""),
        ("UPDATE flow_run SET context = ''", "context", ""),
        (
            "UPDATE flow_run SET warnings = 'none'",
            "list of warnings",
            "",
        ),
        ("UPDATE flow_run SET beginning = '{}'", "beginning", ""),
        (
            "UPDATE flow_step SET result = '{' WHERE node_id = 'one'",
            "result of a step",
            "one",
        ),
        (
            "UPDATE flow_step SET plan = '?' WHERE status = 'running' AND node_id = 'make'",
            "plan of a step",
            "make",
        ),
        (
            "UPDATE flow_step SET plan = '{\"ids\": 1}' WHERE status = 'running' AND node_id = 'make'",
            "plan of a step",
            "make",
        ),
    ] {
        let (mut world, id) = stopped(Plan::Silent).await;
        world.sql(damage).await;
        world.go_on().await;
        let run = world.becomes("three", &id, "failed").await;
        let error = &run["error"];
        assert_eq!(
            (&error["code"], &error["reason"]),
            (&json!("EXECUTION_ERROR"), &json!("DAMAGED")),
            "{damage} {run:#}"
        );
        let message = text(&error["message"]);
        assert!(
            message.starts_with(&format!("The {what} of this run cannot be read")),
            "{message}"
        );
        assert_eq!(
            error["nodeId"].as_str().unwrap_or_default(),
            node,
            "{damage}"
        );
        assert_eq!(
            world.data.calls("create").len(),
            3,
            "nothing was done after {damage}"
        );
        // Whoever looks at it is told what is missing.
        if matches!(what, "input" | "list of warnings") {
            assert_eq!(
                run["warnings"],
                json!([format!("The {what} of this run cannot be read")])
            );
        }
        if node == "one" {
            assert_eq!(run["steps"][0]["error"]["reason"], "DAMAGED");
        }
    }
}

#[tokio::test]
async fn a_definition_that_is_gone_or_damaged_fails_the_run() {
    for damage in [
        "DELETE FROM flow_definition",
        "UPDATE flow_definition SET definition = '{'",
    ] {
        let (mut world, id) = stopped(Plan::Silent).await;
        world.sql(damage).await;
        // The one in force is another by now.
        let other = json!({"steps": [{"name": "other", "type": "end"}]});
        world.data.declare(ItemType::Flow, "three", other);
        world.go_on().await;
        let run = world.becomes("three", &id, "failed").await;
        assert_eq!(run["error"]["reason"], "DAMAGED", "{damage} {run:#}");
    }
}

#[tokio::test]
async fn a_run_at_which_processes_end_again_and_again_is_given_up() {
    let (mut world, id) = stopped(Plan::Silent).await;
    world.sql("UPDATE om_queue SET attempt = 10").await;
    world.go_on().await;
    let run = world.becomes("three", &id, "failed").await;
    assert_eq!(
        run["error"]["message"], "The run stopped 10 times at the same step",
        "{run:#}"
    );
    assert_eq!(
        run["steps"].as_array().unwrap().last().unwrap()["status"],
        "skipped"
    );
}
