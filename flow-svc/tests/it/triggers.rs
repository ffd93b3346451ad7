//! Flows that changes of records start.

use serde_json::{Value, json};

use crate::{
    fake_data::FakeData,
    world::{World, eventually},
};
use metadata::ItemType;

/// A flow that a change of a task starts, and that says what it was told.
fn triggered(when: Value, condition: &str, run_as: &str) -> Value {
    let mut trigger = json!({"object": "task", "when": when});
    if !condition.is_empty() {
        trigger["condition"] = json!(condition);
    }
    json!({"runAs": run_as, "trigger": trigger, "steps": [
        {"name": "end", "type": "end", "outputs": {"now": "{record.name}", "before": "{previous.name}", "who": "{$User.Id}"}}]})
}

fn task(name: &str, done: bool) -> Value {
    json!({"id": name, "name": name, "done": done, "organization_id": "org1"})
}

/// Waits until flow-svc follows the changes of tasks.
async fn follows(data: &FakeData, times: usize) {
    data.until("changes are followed", |state| {
        let of_tasks = state
            .followed
            .iter()
            .filter(|asked| asked.objects == ["task"]);
        of_tasks.count() == times
    })
    .await;
}

/// Each flow of [`triggered`] with one way of being started.
fn flows() -> [(&'static str, Value); 8] {
    [
        ("created", triggered(json!("after_create"), "", "user")),
        (
            "written",
            triggered(json!("record-after-write"), "", "user"),
        ),
        ("deleted", triggered(json!(["after_delete"]), "", "user")),
        (
            "done",
            triggered(
                json!(["after_update", "after_create"]),
                "record.done == true && previous.done != true",
                "user",
            ),
        ),
        ("system", triggered(json!("after_create"), "", "system")),
        ("before", triggered(json!("before_create"), "", "user")),
        (
            "unclear",
            triggered(
                json!("after_create"),
                "record.name.nothing.more == 1",
                "user",
            ),
        ),
        ("off", {
            let mut flow = triggered(json!("after_create"), "", "user");
            flow["status"] = json!("obsolete");
            flow
        }),
    ]
}

#[tokio::test]
async fn a_change_starts_the_flows_that_it_triggers_once() {
    let world = World::start(flows()).await;
    follows(&world.data, 1).await;
    let (open, done, more) = (task("t", false), task("t", true), task("u", true));
    world.data.change("ann", None, Some(&open));
    world.data.change("ann", Some(&open), Some(&done));
    world.data.change("bob", Some(&done), Some(&done));
    world.data.change_damaged();
    world.data.change("bob", Some(&done), None);
    // The platform's own writes have no user that a flow could run as.
    world.data.change("", None, Some(&more));
    let system = world.completed("system", 2).await;
    let of = async |flow: &str| -> Vec<Value> {
        let runs = world.runs(flow).await.into_iter();
        runs.map(|run| {
            json!([
                run["trigger"]["userId"],
                run["output"]["before"],
                run["output"]["now"]
            ])
        })
        .collect()
    };
    for (flow, expected) in [
        ("created", json!([["ann", null, "t"]])),
        (
            "written",
            json!([["ann", null, "t"], ["ann", "t", "t"], ["bob", "t", "t"]]),
        ),
        // A record that was deleted is as it last was.
        ("deleted", json!([["bob", "t", "t"]])),
        ("done", json!([["ann", "t", "t"]])),
        ("before", json!([])),
        ("unclear", json!([])),
        ("off", json!([])),
    ] {
        let count = expected.as_array().unwrap().len();
        world.completed(flow, count).await;
        assert_eq!(Value::Array(of(flow).await), expected, "{flow}");
    }
    let run = &world.runs("created").await[0];
    let trigger =
        json!({"type": "record_change", "userId": "ann", "object": "task", "recordId": "t"});
    assert_eq!(
        (&run["trigger"], &run["output"]["who"]),
        (&trigger, &json!("ann"))
    );
    let who: Vec<_> = system
        .iter()
        .map(|run| run["output"]["who"].clone())
        .collect();
    assert_eq!(who, [json!("ann"), Value::Null]);
    // It goes on by itself: for the user, in the organisation of the record, whatever the change was made with.
    let delegated = world.auth.state().delegated.clone();
    assert!(
        delegated
            .iter()
            .all(|asked| asked.session_id.is_empty() && asked.key_id.is_empty())
    );
    assert!(
        delegated
            .iter()
            .all(|asked| asked.organization_id == "org1"),
        "{delegated:#?}"
    );
}

#[tokio::test]
async fn flows_trigger_flows_to_a_depth() {
    let mut chain = triggered(json!("after_create"), "", "user");
    chain["steps"] =
        json!([{"name": "make", "type": "create", "object": "task", "data": {"name": "chain"}}]);
    let world = World::start([("chain", chain)]).await;
    follows(&world.data, 1).await;
    world.data.change("ann", None, Some(&task("chain", false)));
    // One for each of the runs of depth 0 to 10.
    world
        .data
        .until("the chain has ended", |state| state.calls.len() == 11)
        .await;
    world.completed("chain", 11).await;
    // Something later has gone through by then.
    world.data.change("ann", None, Some(&task("later", false)));
    eventually("a later change is through", async || {
        world
            .runs("chain")
            .await
            .iter()
            .any(|run| run["trigger"]["recordId"] == "later")
    })
    .await;
    let first = world
        .runs("chain")
        .await
        .into_iter()
        .filter(|run| run["trigger"]["recordId"] != "later");
    assert!(first.count() >= 11);
    world
        .data
        .until("the second chain has ended", |state| {
            state.calls.len() == 22
        })
        .await;
    world.completed("chain", 22).await;
}

#[tokio::test]
async fn changes_that_were_made_meanwhile_start_their_flows_and_none_twice() {
    let mut world = World::start(flows()).await;
    follows(&world.data, 1).await;
    world.data.change("ann", None, Some(&task("one", false)));
    world.completed("created", 1).await;
    world.stop().await;
    world.data.change("ann", None, Some(&task("two", false)));
    world.go_on().await;
    follows(&world.data, 2).await;
    world.data.change("ann", None, Some(&task("three", false)));
    let runs = world.completed("created", 3).await;
    let names: Vec<_> = runs
        .iter()
        .map(|run| run["output"]["now"].clone())
        .collect();
    assert_eq!(names, ["one", "two", "three"]);
    let asked = world.data.state().followed.clone();
    assert_eq!(
        (
            asked[0].from_now,
            asked[1].from_now,
            asked[1].after_position
        ),
        (true, false, 1)
    );
    // Changes that are no longer kept start nothing; those behind them do.
    world.data.forget_changes(5);
    follows(&world.data, 4).await;
    world.data.change("ann", None, Some(&task("four", false)));
    let runs = world.completed("created", 4).await;
    assert_eq!(runs[3]["output"]["now"], "four");
}

#[tokio::test]
async fn a_flow_that_comes_later_is_triggered_from_then_on() {
    let world = World::start([]).await;
    // Nobody has a trigger: only the position is followed.
    world
        .data
        .until("positions are followed", |state| !state.followed.is_empty())
        .await;
    assert_eq!(world.data.state().followed[0].objects, ["-"]);
    world.data.declare(
        ItemType::Flow,
        "created",
        triggered(json!("after_create"), "", "user"),
    );
    follows(&world.data, 1).await;
    world.data.change("ann", None, Some(&task("one", false)));
    let runs = world.completed("created", 1).await;
    assert_eq!(runs[0]["output"]["now"], "one");
}

#[tokio::test]
async fn a_subflow_for_a_user_needs_one() {
    let mut outer = triggered(json!("after_create"), "", "system");
    outer["steps"] = json!([{"name": "inner", "type": "subflow", "flow": "inner", "input": {}}]);
    let inner = json!({"runAs": "user", "steps": [{"name": "make", "type": "create", "object": "ticket", "data": {"name": "made"}}]});
    let world = World::start([("outer", outer), ("inner", inner)]).await;
    follows(&world.data, 1).await;
    world.data.change("ann", None, Some(&task("one", false)));
    world.data.change("", None, Some(&task("two", false)));
    let mut runs = Vec::new();
    eventually("both have ended", async || {
        runs = world.runs("outer").await;
        runs.iter()
            .filter(|run| run["completedAt"].is_string())
            .count()
            == 2
    })
    .await;
    assert_eq!(runs[0]["status"], "completed", "{runs:#?}");
    assert_eq!(
        runs[1]["error"]["message"],
        "The flow runs as a user, and no user began this run"
    );
    let made = &world.data.calls("create")[0];
    assert_eq!((made.subject.as_str(), made.is_system), ("ann", false));
}
