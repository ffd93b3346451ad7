//! What a run makes of failures of its peers, at each call.

use mesh::error::Reason;
use metadata::ItemType;
use serde_json::{Value, json};

use crate::{
    fake_data::{FakeData, Plan},
    world::{World, steps},
};

/// A flow of one step for each call of a record, by the name of the call.
fn flows() -> [(&'static str, Value); 4] {
    let one = |step: Value| {
        let mut step = step;
        step["name"] = json!("step");
        json!({"steps": [step]})
    };
    [
        (
            "query",
            one(json!({"type": "query", "object": "task", "filter": {"name": "there"}})),
        ),
        (
            "create",
            one(json!({"type": "create", "object": "task", "data": {"name": "made"}})),
        ),
        (
            "update",
            one(
                json!({"type": "update", "object": "task", "filter": {"name": "there"}, "data": {"cost": 1}}),
            ),
        ),
        (
            "delete",
            one(json!({"type": "delete", "object": "task", "filter": {"name": "there"}})),
        ),
    ]
}

#[tokio::test]
async fn what_could_not_be_reached_is_asked_again_and_done_once() {
    let world = World::start(flows()).await;
    for plan in [
        Plan::Refused(Reason::ServiceUnavailable),
        Plan::Refused(Reason::Timeout),
        Plan::Refused(Reason::ConcurrentUpdate),
        Plan::AnswerLost,
    ] {
        for (rpc, _) in flows() {
            if world
                .data
                .records("task")
                .iter()
                .all(|task| task["name"] != "there")
            {
                world.data.put("task", "t1", json!({"name": "there"}));
            }
            let made = world.data.tasks().len();
            let before = world.data.calls(rpc).len();
            world.data.plan(rpc, plan);
            let run = world.run(rpc, json!({})).await;
            // Within one attempt at the step: a service that is away is no failure of the flow.
            assert_eq!(steps(&run), ["step success"], "{rpc} {plan:?} {run:#}");
            let calls = world.data.calls(rpc).split_off(before);
            assert_eq!(calls.len(), 2, "{rpc} {plan:?}");
            assert_eq!(calls[0].key, calls[1].key);
            assert!(calls.iter().all(|call| call.object == "task"));
            assert_eq!(
                (&calls[0].id, &calls[0].body),
                (&calls[1].id, &calls[1].body)
            );
            let expected = match rpc {
                "create" => made + 1,
                "delete" => made - 1,
                _ => made,
            };
            assert_eq!(world.data.tasks().len(), expected, "{rpc} {plan:?}");
        }
    }
    let changed = world
        .data
        .state()
        .calls
        .iter()
        .filter(|call| call.rpc == "update")
        .count();
    assert_eq!(changed, 8);
}

#[tokio::test]
async fn what_was_refused_fails_at_once() {
    let world = World::start(flows()).await;
    world.data.put("task", "t1", json!({"name": "there"}));
    for (rpc, _) in flows() {
        for reason in [
            Reason::ValidationError,
            Reason::PermissionDenied,
            Reason::NotFound,
            Reason::UniqueViolation,
            Reason::DeleteRestricted,
            Reason::Internal,
        ] {
            let before = world.data.calls(rpc).len();
            world.data.plan(rpc, Plan::Refused(reason));
            let run = world.run(rpc, json!({})).await;
            let error = &run["error"];
            assert_eq!(
                (&error["code"], &error["nodeId"]),
                (&json!("NODE_FAILURE"), &json!("step")),
                "{rpc} {run:#}"
            );
            assert_eq!(error["reason"], reason.rest_code(), "{rpc}");
            assert_eq!(world.data.calls(rpc).len(), before + 1, "{rpc} {reason:?}");
        }
    }
    assert_eq!(world.data.tasks(), ["there"]);
}

#[tokio::test]
async fn a_write_among_several_goes_on_where_its_answer_was_lost() {
    let update = json!({"steps": [{"name": "step", "type": "update", "object": "task",
        "filter": {"name": "there"}, "data": {"cost": 1}}]});
    let world = World::start([("update", update)]).await;
    for id in ["t1", "t2", "t3"] {
        world.data.put("task", id, json!({"name": "there"}));
    }
    for plan in [Plan::Done, Plan::AnswerLost] {
        world.data.plan("update", plan);
    }
    let run = world.run("update", json!({})).await;
    assert_eq!(run["status"], "completed", "{run:#}");
    let calls = world.data.calls("update");
    let ids: Vec<_> = calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["t1", "t2", "t2", "t3"]);
    assert_eq!(calls[1].key, calls[2].key);
    assert_ne!(calls[0].key, calls[1].key);
}

#[tokio::test]
async fn a_run_waits_for_auth_svc_to_issue_its_token() {
    let world = World::start(flows()).await;
    world.auth.state().away = true;
    world
        .data
        .plan("create", Plan::Refused(Reason::Unauthenticated));
    let id = world.begin("create", json!({})).await;
    crate::world::eventually("tokens are asked for", async || {
        world.auth.state().delegated.len() >= 2
    })
    .await;
    assert_eq!(world.data.tasks().len(), 0);
    world.auth.state().away = false;
    let run = world.becomes("create", &id, "completed").await;
    assert_eq!(steps(&run), ["step success"], "{run:#}");
}

#[tokio::test]
async fn nothing_starts_before_the_metadata_is_known() {
    let world = World::without_metadata().await;
    let early = world
        .start_as("ann", "create", json!({}))
        .await
        .unwrap_err();
    assert_eq!(early.reason(), Reason::ServiceUnavailable);
    let [_, (name, flow), ..] = flows();
    world.data.declare(ItemType::Flow, name, flow);
    crate::world::eventually("the flow is known", async || {
        world.start_as("ann", "create", json!({})).await.is_ok()
    })
    .await;
    assert_eq!(world.data.tasks(), ["made"]);
}

#[tokio::test]
async fn a_revision_changes_what_starts() {
    let data = FakeData::default();
    let says =
        |what: &str| json!({"steps": [{"name": "end", "type": "end", "outputs": {"said": what}}]});
    data.declare(ItemType::Flow, "says", says("one"));
    let world = World::over(data).await;
    assert_eq!(world.run("says", json!({})).await["output"]["said"], "one");
    world.data.declare(ItemType::Flow, "says", says("two"));
    crate::world::eventually("the new one is in force", async || {
        world.run("says", json!({})).await["output"]["said"] == "two"
    })
    .await;
}
