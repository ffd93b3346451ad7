//! ai-svc through its RPCs: a real node in this process, small fakes of its peers beside it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod conversations;
mod fake_auth;
mod fake_data;
mod fake_flow;
mod models;
mod proposals;
mod tools;
mod world;

/// The scripted provider of the tests of the mesh: one fake speaks as OpenAI and Anthropic do.
#[path = "../../../objectmesh/tests/ai/provider.rs"]
mod provider;

use std::time::Duration;

use fake_data::FakeData;
use mesh::db::Statement;
use metadata::ItemType;
use serde_json::json;
use world::World;

/// Metadata with an object `ticket` whose field `hidden` nobody sees.
fn tickets() -> FakeData {
    let data = FakeData::default();
    let fields = json!({"subject": {"type": "text"}, "hidden": {"type": "text"}});
    data.declare(ItemType::Object, "ticket", json!({"fields": fields}));
    data.state().fields = vec!["id", "subject"];
    data.state().record = json!({"id": "t1", "subject": "Broken"});
    data
}

#[tokio::test]
async fn a_turn_learns_names_and_no_items() {
    let data = tickets();
    for number in 0..100 {
        let action = json!({"objectName": "ticket", "body": "return 1"});
        data.declare(ItemType::Action, &format!("a{number:02}"), action);
        let flow = json!({"type": "api", "variables": [{"name": "n", "isInput": true}]});
        data.declare(ItemType::Flow, &format!("f{number:02}"), flow);
    }
    let world = World::start(data).await;
    for turn in 1..3 {
        let answer = world.chat("ann", "hello").await;
        assert_eq!(answer["content"], "hello");
        let state = world.data.state();
        assert_eq!((state.items_told, state.names_told), (0, turn * 200));
    }
}

#[tokio::test]
async fn an_action_is_no_tool_over_records_whatever_it_is_called() {
    let data = tickets();
    let archive = json!({"objectName": "ticket", "body": "return 1",
        "params": [{"name": "data", "type": "object"}]});
    data.declare(ItemType::Action, "archive_record", archive);
    let world = World::start(data).await;
    world.flow.state().result = json!({"archived": 3, "id": "t1"});
    let input = json!({"recordId": "t1", "data": {"shelf": "B"}});
    let id = world.propose("ann", "action_archive_record", &input).await;
    let shown = world.shown("ann", &id).await;
    assert_eq!(shown["tool_input"], input);
    assert_eq!(shown["diff"], json!(null));
    let kinds = world.texts("SELECT kind FROM ai_pending_actions").await;
    assert_eq!(kinds, ["action"]);
    let outcome = world.approve("ann", &id).await.unwrap();
    // Its result is no record: nothing of it is a field that could be masked.
    assert_eq!(outcome["result"], json!({"archived": 3, "id": "t1"}));
    assert_eq!(world.shown("ann", &id).await["result"], outcome["result"]);
    let state = world.flow.state();
    let (invoked, limit) = &state.invoked[0];
    assert_eq!(
        (&*invoked.action, &*invoked.record_id),
        ("archive_record", "t1")
    );
    // The time of an action, not that of a write.
    assert!(*limit > Duration::from_secs(10), "{limit:?}");
}

#[tokio::test]
async fn a_write_of_a_record_is_masked_also_when_it_was_proposed_before_kinds_were_kept() {
    let world = World::start(tickets()).await;
    let input = json!({"objectName": "ticket", "data": {"subject": "New"}});
    for is_old in [false, true] {
        let id = world.propose("ann", "create_record", &input).await;
        if is_old {
            let forget = Statement::new("UPDATE ai_pending_actions SET kind = NULL WHERE id = $1");
            world.db().await.execute(forget.bind(&id)).await.unwrap();
        }
        let shown = world.shown("ann", &id).await;
        assert_eq!(shown["diff"]["after"], json!({"subject": "New"}));
        let outcome = world.approve("ann", &id).await.unwrap();
        assert_eq!(outcome["result"], json!({"subject": "New", "id": "made"}));
    }
}

#[tokio::test]
async fn the_audit_log_says_who_did_what_for_whom() {
    let world = World::start(tickets()).await;
    let input = json!({"objectName": "ticket", "data": {"subject": "New"}});
    let id = world.propose("ann", "create_record", &input).await;
    world.approve("bob", &id).await.unwrap();
    let sql = "SELECT action || ' ' || user_id || ' ' || COALESCE(object_name, '-') || ' ' || \
        COALESCE(record_id, '-') || ' ' || COALESCE(json_extract(metadata, '$.act.reason'), '-') \
        || ' ' || COALESCE(json_extract(metadata, '$.detail'), '-') \
        FROM om_audit_log ORDER BY action";
    let expected = [
        "ai.chat.message ann - - - -".to_owned(),
        format!("ai.pending_action.approved bob ai_pending_action {id} - -"),
        format!("ai.pending_action.executed ann ai_pending_action {id} pending_action -"),
        format!("ai.pending_action.queued ann ai_pending_action {id} - -"),
        "ai.tool.call ann - - tool create_record".to_owned(),
    ];
    // What a chat says of itself is kept without making anybody wait.
    let kept = async {
        while world.texts(sql).await != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let kept = tokio::time::timeout(Duration::from_secs(10), kept).await;
    assert!(kept.is_ok(), "{:#?}", world.texts(sql).await);
}
