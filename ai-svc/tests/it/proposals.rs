//! Changes that a model proposed: shown, decided, carried out once.

use mesh::{
    error::Reason,
    identity::{Actor, Identity},
};
use metadata::ItemType;
use serde_json::{Value, json};

use crate::{
    fake_auth::user,
    fake_data::Plan,
    tickets,
    world::{World, error, eventually},
};

fn create() -> Value {
    json!({"objectName": "ticket", "data": {"subject": "New"}})
}

fn update() -> Value {
    json!({"objectName": "ticket", "recordId": "t1", "data": {"subject": "Fixed"}})
}

fn delete() -> Value {
    json!({"objectName": "ticket", "recordId": "t1"})
}

fn reason(error: &mesh::Error) -> Value {
    error.detail("reason").cloned().unwrap_or_default()
}

#[tokio::test]
async fn what_is_approved_is_done_as_who_asked_for_it_and_once() {
    let world = World::start(tickets()).await;
    let talk = world.converse("ann", &json!({})).await;
    let turn = world
        .say("ann", &talk, &format!("call update_record {}", update()))
        .await
        .unwrap();
    let shown = turn["pendingActions"][0].clone();
    assert_eq!(
        shown["diff"],
        json!({"before": {"subject": "Broken"}, "after": {"subject": "Fixed"}})
    );
    assert_eq!(
        (
            &shown["status"],
            &shown["requested_by"],
            &shown["record_version"]
        ),
        (&json!("pending"), &json!("ann"), &json!(1))
    );
    let id = shown["id"].as_str().unwrap();
    assert!(world.data.calls("update").is_empty(), "it waits");
    let decision = json!({"digest": shown["digest"], "comment": "go"});
    let done = world.decide(user("bob"), id, &decision).await.unwrap();
    assert_eq!(
        (&done["status"], &done["result"]["subject"]),
        (&json!("executed"), &json!("Fixed"))
    );
    let made = &world.data.calls("update")[0];
    assert_eq!(
        (
            made.subject.as_str(),
            made.reason.as_deref(),
            made.if_match.as_str()
        ),
        ("ann", Some("pending_action"), "1")
    );
    assert_eq!(made.key, format!("pending-action:{id}"));
    let row = world.shown("bob", id).await;
    assert_eq!(
        (&row["status"], &row["decided_by"], &row["comment"]),
        (&json!("executed"), &json!("bob"), &json!("go"))
    );
    let said = world.said("ann", &talk).await;
    let (role, note) = said.last().unwrap();
    assert!(
        role == "system"
            && note == "The proposed update_record (ticket/t1) was approved and carried out.",
        "{note}"
    );
    // Once is once.
    for again in [
        world.approve("bob", id).await,
        world.reject(user("bob"), id, "no").await,
    ] {
        let error = error(again.unwrap_err());
        assert_eq!(
            (error.reason(), error.detail("status")),
            (Reason::InvalidState, Some(&json!("executed")))
        );
    }
    assert_eq!(world.data.calls("update").len(), 1);
    let gone = world.propose("ann", "delete_record", &delete()).await;
    let shown = world.shown("bob", &gone).await;
    assert_eq!(shown["diff"]["before"]["subject"], "Fixed");
    world.approve("bob", &gone).await.unwrap();
    assert_eq!(world.data.state().record, Value::Null);
}

#[tokio::test]
async fn a_flow_is_run_when_it_is_approved() {
    let data = tickets();
    data.declare(
        ItemType::Flow,
        "settle",
        json!({"type": "api", "variables": [{"name": "ticketId", "isInput": true}],
        "nodes": [{"id": "start", "type": "start"}], "edges": []}),
    );
    let world = World::start(data).await;
    for (run, outcome) in [
        (json!({"id": "r1", "status": "completed"}), Ok("completed")),
        (
            json!({"id": "r2", "status": "failed", "error": {"message": "it rained"}}),
            Err("Flow settle: it rained"),
        ),
    ] {
        world.flow.state().run = run;
        let id = world
            .propose("ann", "flow_settle", &json!({"ticketId": "t1"}))
            .await;
        match (world.approve("bob", &id).await, outcome) {
            (Ok(done), Ok(status)) => assert_eq!(done["result"]["status"], status),
            (Err(failed), Err(message)) => {
                let failed = error(failed);
                assert_eq!(failed.reason(), Reason::PendingActionFailed);
                assert_eq!(failed.detail("error").unwrap()["message"], message);
                assert_eq!(world.shown("bob", &id).await["status"], "failed");
            }
            (other, _) => panic!("{other:?}"),
        }
        let started = world.flow.state().started.pop().unwrap();
        assert_eq!(
            (started.flow.as_str(), started.idempotency_key),
            ("settle", format!("pending-action:{id}"))
        );
    }
}

#[tokio::test]
async fn what_is_rejected_or_comes_too_late_is_not_done() {
    let world = World::start(tickets()).await;
    let id = world.propose("ann", "delete_record", &delete()).await;
    let rejected = world.reject(user("bob"), &id, "no").await.unwrap();
    assert_eq!(
        rejected,
        json!({"id": id, "status": "rejected", "reason": "no"})
    );
    let error_of = async |id: &str| error(world.approve("bob", id).await.unwrap_err());
    assert_eq!(
        error_of(&id).await.detail("status"),
        Some(&json!("rejected"))
    );
    let late = world.propose("ann", "create_record", &create()).await;
    world.sql("UPDATE ai_pending_actions SET expires_at = '2020-01-01T00:00:00.000Z' WHERE status = 'pending'").await;
    assert_eq!(
        error_of(&late).await.detail("status"),
        Some(&json!("expired"))
    );
    assert_eq!(world.shown("bob", &late).await["status"], "expired");
    let missing = error_of("01J00000000000000000000000").await;
    assert_eq!(missing.reason(), Reason::NotFound);
    for call in ["create", "delete"] {
        assert!(world.data.calls(call).is_empty());
    }
    for decision in [
        json!({"digest": 1}),
        json!({"extra": 1}),
        json!([]),
        json!({"comment": "x".repeat(2001)}),
    ] {
        let wrong = world
            .decide(user("bob"), &late, &decision)
            .await
            .unwrap_err();
        assert_eq!(
            error(wrong).reason(),
            Reason::ValidationError,
            "{decision:.60}"
        );
    }
}

#[tokio::test]
async fn what_changed_since_it_was_proposed_is_not_approved() {
    let data = tickets();
    let action = |body: &str| json!({"objectName": "ticket", "body": body});
    data.declare(ItemType::Action, "close", action("return 1"));
    let world = World::start(data).await;
    let id = world.propose("ann", "update_record", &update()).await;
    let digest = world.shown("bob", &id).await["digest"].clone();
    let refused = async |id: &str, decision: Value| {
        error(world.decide(user("bob"), id, &decision).await.unwrap_err())
    };
    // Another one than was shown.
    let other = refused(&id, json!({"digest": "sha256:00"})).await;
    assert_eq!(
        (other.reason(), reason(&other)),
        (Reason::ConcurrentUpdate, json!("DIGEST_MISMATCH"))
    );
    // Its record has another version, then is gone.
    world.data.state().changes = 1;
    let decision = json!({"digest": digest});
    assert_eq!(
        reason(&refused(&id, decision.clone()).await),
        json!("TARGET_CHANGED")
    );
    // What is about something that cannot be read is not there.
    let record = std::mem::take(&mut world.data.state().record);
    let missing = refused(&id, decision.clone()).await;
    assert_eq!(reason(&missing), json!("PENDING_ACTION_NOT_FOUND"));
    world.data.state().record = record;
    assert_eq!(world.shown("ann", &id).await["status"], "pending");
    // It is as it was: then it can be done.
    world.data.state().changes = 0;
    world.decide(user("bob"), &id, &decision).await.unwrap();
    // A tool that is another one by now.
    world.data.state().record = json!({"id": "t1", "subject": "Broken"});
    let id = world
        .propose("ann", "action_close", &json!({"recordId": "t1"}))
        .await;
    world
        .data
        .declare(ItemType::Action, "close", action("return 2"));
    let marker = json!({"instructions": "Known.", "active": true});
    world.data.declare(ItemType::Agent, "marker", marker);
    let mut asked = crate::world::hi("x");
    asked["agent"] = json!("marker");
    eventually("the other action is known", async || {
        world.ask("ann", &asked).await.is_ok()
    })
    .await;
    let changed = refused(&id, Value::Null).await;
    assert_eq!(reason(&changed), json!("DIGEST_MISMATCH"));
    assert!(world.flow.state().invoked.is_empty());
    // What somebody wrote into the row is not what was proposed.
    let id = world.propose("ann", "create_record", &create()).await;
    world.sql("UPDATE ai_pending_actions SET tool_input = replace(tool_input, 'New', 'Old') WHERE status = 'pending'").await;
    assert_eq!(
        reason(&refused(&id, Value::Null).await),
        json!("DIGEST_MISMATCH")
    );
}

#[tokio::test]
async fn who_cannot_see_all_of_it_or_is_no_person_does_not_decide() {
    let world = World::start(tickets()).await;
    let hidden = json!({"objectName": "ticket", "data": {"subject": "New", "hidden": "x"}});
    // Who asked for it sees the field; who decides does not.
    world.data.state().fields = vec!["id", "subject", "hidden"];
    let id = world.propose("ann", "create_record", &hidden).await;
    world.data.state().fields = vec!["id", "subject"];
    let shown = world.shown("bob", &id).await;
    assert_eq!(
        shown["tool_input"]["data"],
        json!({"subject": "New"}),
        "{shown:#}"
    );
    let refused = error(world.approve("bob", &id).await.unwrap_err());
    assert_eq!(reason(&refused), json!("FIELDS_NOT_VISIBLE"));
    assert!(
        !refused.envelope().to_string().contains("hidden"),
        "{refused}"
    );
    let id = world.propose("ann", "create_record", &create()).await;
    let agent = || Identity {
        actor: Some(Actor {
            service: "flow-svc".to_owned(),
            run_id: "run".to_owned(),
            reason: "test".to_owned(),
        }),
        ..user("bob")
    };
    for refused in [
        world.decide(agent(), &id, &Value::Null).await,
        world.reject(agent(), &id, "no").await,
    ] {
        assert_eq!(
            reason(&error(refused.unwrap_err())),
            json!("AGENT_CANNOT_DECIDE")
        );
    }
    assert_eq!(world.shown("ann", &id).await["status"], "pending");
    assert!(world.data.calls("create").is_empty());
}

#[tokio::test]
async fn what_cannot_be_done_fails_and_says_why() {
    let world = World::start(tickets()).await;
    for reason in [
        Reason::PermissionDenied,
        Reason::ValidationError,
        Reason::UniqueViolation,
        Reason::Internal,
    ] {
        let id = world.propose("ann", "create_record", &create()).await;
        world.data.plan("create", Plan::Refused(reason));
        let failed = error(world.approve("bob", &id).await.unwrap_err());
        assert_eq!(
            (failed.reason(), failed.detail("status")),
            (Reason::PendingActionFailed, Some(&json!("failed"))),
            "{reason:?}"
        );
        let row = world.shown("bob", &id).await;
        assert_eq!(
            (&row["status"], &row["error"]["code"]),
            (&json!("failed"), &json!(reason.rest_code()))
        );
    }
    // So does what somebody asked for who may not act any more.
    let id = world.propose("ann", "create_record", &create()).await;
    world.auth.state().refused = Some("USER_DISABLED");
    let failed = error(world.approve("bob", &id).await.unwrap_err());
    assert_eq!(failed.reason(), Reason::PendingActionFailed);
    assert_eq!(world.data.calls("create").len(), 4);
}

#[tokio::test]
async fn a_token_that_was_overtaken_is_no_failure() {
    let world = World::start(tickets()).await;
    let id = world.propose("ann", "create_record", &create()).await;
    world
        .data
        .plan("create", Plan::Refused(Reason::Unauthenticated));
    let done = world.approve("bob", &id).await.unwrap();
    assert_eq!(done["status"], "executed");
    assert_eq!(world.data.calls("create").len(), 2);
}

#[tokio::test]
async fn what_may_have_been_done_stays_approved_and_is_done_once() {
    let mut world = World::start(tickets()).await;
    for plan in [Plan::AnswerLost, Plan::Refused(Reason::ServiceUnavailable)] {
        let before = world.data.calls("create").len();
        let id = world.propose("ann", "create_record", &create()).await;
        world.data.plan("create", plan);
        let open = error(world.approve("bob", &id).await.unwrap_err());
        assert!(
            matches!(open.reason(), Reason::Timeout | Reason::ServiceUnavailable),
            "{open}"
        );
        assert_eq!(open.detail("status"), Some(&json!("approved")));
        assert_eq!(world.shown("bob", &id).await["status"], "approved");
        let again = error(world.approve("bob", &id).await.unwrap_err());
        assert_eq!(again.detail("status"), Some(&json!("approved")));
        // Whoever is there when it is due does it, under the same key.
        world
            .sql("UPDATE om_queue SET due_ms = 0 WHERE kind = 'carry_out'")
            .await;
        world.restart().await;
        eventually("it is done", async || {
            world.shown("bob", &id).await["status"] == "executed"
        })
        .await;
        let calls = world.data.calls("create").split_off(before);
        assert_eq!(calls.len(), 2, "{calls:#?}");
        assert_eq!(calls[0].key, calls[1].key);
        assert_eq!(world.shown("bob", &id).await["result"]["id"], "made");
    }
}
