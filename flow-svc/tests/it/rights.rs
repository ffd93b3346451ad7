//! With whose rights the steps of a run act, and for how long.

use mesh::{error::Reason, identity::Identity};
use serde_json::{Value, json};

use crate::{
    fake_auth::user,
    fake_data::Plan,
    world::{World, asking, steps, text},
};

fn makes(run_as: &str) -> Value {
    json!({"runAs": run_as, "requiredPermissions": if run_as == "system" { json!(["announce"]) } else { json!([]) },
        "variables": [{"name": "org", "isOutput": true}, {"name": "who", "isOutput": true}],
        "steps": [
            {"name": "make", "type": "create", "object": "task", "data": {"name": "by {$User.Id}"}},
            {"name": "read", "type": "query", "object": "task", "filter": {}, "limit": 9},
            {"name": "set", "type": "assignment", "assignments": {"who": "{$User}", "org": "{$Organization.id}"}}]})
}

/// Fails once, and is run again when the test says so.
fn fails_once() -> Value {
    json!({"errorHandling": {"strategy": "retry", "maxRetries": 3, "retryDelayMs": 1},
        "steps": [{"name": "make", "type": "create", "object": "task", "data": {"name": "made"}}]})
}

#[tokio::test]
async fn steps_act_as_the_user_or_as_the_system() {
    let world = World::start([("user", makes("user")), ("system", makes("system"))]).await;
    let run = world.start_as("nell", "user", json!({})).await.unwrap();
    assert_eq!(run["output"]["who"]["email"], "nell@example.com", "{run:#}");
    let calls = world.data.state().calls.clone();
    let request_id = calls[0].request_id.clone();
    for call in &calls {
        assert_eq!(
            (call.subject.as_str(), call.is_system, &call.request_id),
            ("nell", false, &request_id)
        );
    }
    assert!(
        world.auth.state().delegated.is_empty(),
        "the caller's own token serves as long as it lasts"
    );
    let run = world.start_as("nell", "system", json!({})).await.unwrap();
    // Of who started it no more than the id.
    assert_eq!(run["output"]["who"], json!({"id": "nell"}), "{run:#}");
    assert_eq!(world.data.tasks(), ["by nell", "by nell"]);
    let calls = world.data.state().calls.split_off(2);
    for call in &calls {
        assert_eq!((call.subject.as_str(), call.is_system), ("flow-svc", true));
        assert_ne!(call.request_id, request_id, "each run has its own");
    }
    // What the platform read, its user need not be allowed to read.
    let id = text(&run["id"]);
    assert_eq!(run["steps"][1]["output"], Value::Null);
    assert_eq!(
        world.shown("root", "system", &id).await.unwrap()["steps"][1]["output"]["count"],
        2
    );
}

#[tokio::test]
async fn a_step_is_refused_what_its_user_may_not() {
    let world = World::start([("user", makes("user")), ("system", makes("system"))]).await;
    world.data.state().denied = vec![("nell", "create"), ("nell", "query")];
    let run = world.start_as("nell", "user", json!({})).await.unwrap();
    let error = &run["error"];
    assert_eq!(
        (&error["code"], &error["reason"], &error["nodeId"]),
        (
            &json!("NODE_FAILURE"),
            &json!("PERMISSION_DENIED"),
            &json!("make")
        )
    );
    assert_eq!(steps(&run), ["make failure"], "{run:#}");
    assert_eq!(
        world.data.calls("create").len(),
        1,
        "what is refused is not tried again"
    );
    // The system may, whoever starts it.
    let run = world.start_as("nell", "system", json!({})).await.unwrap();
    assert_eq!(run["status"], "completed", "{run:#}");
    // Rights that come back count at once, those of the moment.
    world.data.state().denied.clear();
    let run = world.start_as("nell", "user", json!({})).await.unwrap();
    assert_eq!(run["status"], "completed", "{run:#}");
}

#[tokio::test]
async fn a_run_that_goes_on_has_what_it_began_with_and_no_more() {
    let world = World::start([("again", fails_once())]).await;
    world
        .data
        .plan("create", Plan::Refused(Reason::ValidationError));
    let by_key = Identity {
        key_id: Some("key1".to_owned()),
        scopes: Some(vec!["actions:execute".to_owned(), "data:write".to_owned()]),
        ..user("ann")
    };
    let (run, _) = world
        .start_flow(by_key, asking("again", &json!({})))
        .await
        .unwrap();
    assert_eq!(run["status"], "completed", "{run:#}");
    let delegated = world.auth.state().delegated.clone();
    assert_eq!(delegated.len(), 1, "{delegated:#?}");
    let asked = &delegated[0];
    assert_eq!(
        (
            asked.user_id.as_str(),
            asked.key_id.as_str(),
            asked.organization_id.as_str()
        ),
        ("ann", "key1", "org1")
    );
    let scopes = asked.scopes.clone().unwrap().names;
    assert_eq!(scopes, ["actions:execute", "data:write"]);
    assert_eq!(
        (
            asked.run_id.as_str(),
            asked.reason.as_str(),
            asked.while_waiting
        ),
        (run["id"].as_str().unwrap(), "flow", false)
    );
    // A key that is narrower than what the step needs is refused there, not at the start.
    let narrow = Identity {
        scopes: Some(vec!["actions:execute".to_owned()]),
        ..user("ann")
    };
    let (run, _) = world
        .start_flow(narrow, asking("again", &json!({})))
        .await
        .unwrap();
    assert_eq!(
        (&run["status"], &run["error"]["reason"]),
        (&json!("failed"), &json!("PERMISSION_DENIED")),
        "{run:#}"
    );
    let outside = Identity {
        scopes: Some(vec!["data:write".to_owned()]),
        ..user("ann")
    };
    let refused = world
        .start_flow(outside, asking("again", &json!({})))
        .await
        .unwrap_err();
    assert_eq!(refused.reason(), Reason::PermissionDenied);
}

#[tokio::test]
async fn the_run_of_a_user_who_may_no_longer_act_fails_for_good() {
    let flow = json!({
        "errorHandling": {"strategy": "retry", "maxRetries": 3, "retryDelayMs": 1, "fallbackNodeId": "mend"},
        "nodes": [{"id": "s", "type": "start"},
            {"id": "x", "type": "create_record", "retry": {"maxRetries": 3, "retryDelayMs": 1},
                "config": {"objectName": "task", "fields": {"name": "made"}}},
            {"id": "mend", "type": "end"}],
        "edges": [{"source": "s", "target": "x"}, {"source": "x", "target": "mend", "type": "fault"}]});
    let world = World::start([("again", flow)]).await;
    for reason in ["USER_DISABLED", "NOT_A_MEMBER"] {
        world.auth.state().ended.insert("ann".to_owned(), reason);
        // The token of the call is refused, so another one is asked for.
        world
            .data
            .plan("create", Plan::Refused(Reason::Unauthenticated));
        let run = world.run("again", json!({})).await;
        let error = &run["error"];
        assert_eq!(
            (&run["status"], &error["details"]["reason"]),
            (&json!("failed"), &json!(reason)),
            "{run:#}"
        );
        // Neither another attempt nor the fault edge goes on from that.
        assert_eq!(steps(&run), ["s success", "x failure"]);
    }
    assert_eq!(world.data.tasks().len(), 0);
}

#[tokio::test]
async fn a_change_of_rights_that_overtook_the_token_is_not_the_end() {
    let world = World::start([("again", fails_once())]).await;
    world
        .data
        .plan("create", Plan::Refused(Reason::Unauthenticated));
    let run = world.run("again", json!({})).await;
    assert_eq!(steps(&run), ["make success"], "{run:#}");
    assert_eq!(
        world.auth.state().delegated.len(),
        1,
        "another token was asked for"
    );
    assert_eq!(world.data.calls("create").len(), 2);
}
