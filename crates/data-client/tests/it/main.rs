//! The clients against a fake of data-svc.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fake_data;

use data_client::{
    changes::{Event, Follower, Following, Objects, Operation},
    metadata::{Metadata, Names},
    records::{Records, WriteOptions},
    script_host::RecordHost,
};
use fake_data::{FakeData, ctx, identity};
use mesh::{Error, error::Reason};
use metadata::{Item, ItemType};
use proto::data::v1::{Change, WatchChangesResponse};
use script::{Call, Host as _};
use serde_json::{Value, json};

#[tokio::test]
async fn only_not_found_means_that_a_record_is_absent() {
    let data = FakeData::default();
    let records = Records::new(data.link().await);
    assert_eq!(records.find_by_id(&ctx(), "t", "1").await.unwrap(), None);
    data.state().refused = Some(Reason::PermissionDenied);
    let refused = records.find_by_id(&ctx(), "t", "1").await.unwrap_err();
    assert_eq!(refused.reason(), Reason::PermissionDenied);
    data.state().refused = None;
    data.state().record = Some((json!({"id": "1", "a": 1.50}), 3));
    let found = records.find_by_id(&ctx(), "t", "1").await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.version), ("1", 3));
    assert_eq!(found.value["a"], json!(1.5));
    let page = records.query(&ctx(), "t", &json!({})).await.unwrap();
    assert_eq!((page.total, page.items), (Some(7), vec![found]));
}

#[tokio::test]
async fn writes_carry_their_key_and_the_version_that_is_asked_for() {
    let data = FakeData::default();
    let records = Records::new(data.link().await);
    let (ctx, patch) = (ctx(), json!({"a": 1}));
    let of = |version| WriteOptions {
        idempotency_key: "k",
        version,
    };
    let made = records.create(&ctx, "t", &patch, "k").await.unwrap();
    assert_eq!(made.value, patch);
    records
        .update(&ctx, "t", "1", &patch, of(Some(4)))
        .await
        .unwrap();
    // An object that keeps no versions has none to ask for.
    records.delete(&ctx, "t", "1", of(Some(0))).await.unwrap();
    records.delete(&ctx, "t", "1", of(Some(2))).await.unwrap();
    let state = data.state();
    let writes = state.writes.iter();
    let writes: Vec<_> = writes
        .map(|(rpc, version, key, _)| (*rpc, version.as_str(), key.as_str()))
        .collect();
    assert_eq!(
        writes,
        [
            ("create", "", "k"),
            ("update", "4", "k"),
            ("delete", "", "k"),
            ("delete", "2", "k")
        ]
    );
}

#[tokio::test]
async fn a_script_upserts_what_is_there_what_is_not_and_nothing_that_it_cannot_tell() {
    let data = FakeData::default();
    let records = Records::new(data.link().await);
    let ctx = ctx();
    let upsert = || Call::Upsert {
        object: "t".to_owned(),
        data: json!({"id": "1", "a": 2}),
    };
    let host = RecordHost::new(&records, &ctx, Some("run"));
    host.call(upsert()).await.unwrap();
    data.state().record = Some((json!({"id": "1"}), 1));
    host.call(upsert()).await.unwrap();
    data.state().refused = Some(Reason::ServiceUnavailable);
    let refused = host.call(upsert()).await.unwrap_err();
    assert_eq!(refused.code, "SERVICE_UNAVAILABLE");
    let whole = host.refusal(2).unwrap();
    assert_eq!(whole.reason(), Reason::ServiceUnavailable);
    let state = data.state();
    let writes = state.writes.iter();
    let writes: Vec<_> = writes
        .map(|(rpc, _, key, _)| (*rpc, key.as_str()))
        .collect();
    assert_eq!(writes, [("create", "run:0"), ("update", "run:1")]);
}

fn told(position: i64) -> Result<WatchChangesResponse, tonic::Status> {
    Ok(WatchChangesResponse {
        changes: vec![Change {
            position,
            object: "ticket".to_owned(),
            operation: "update".to_owned(),
            after: json!({"id": "1"}).to_string().into(),
            ..Change::default()
        }],
        position,
    })
}

fn gone(position: i64) -> Result<WatchChangesResponse, tonic::Status> {
    let gone = Error::new(Reason::PositionGone, "The position is gone");
    Err(gone.with("position", position).into_status())
}

async fn events(data: &FakeData, after: Option<i64>, objects: Objects) -> Vec<String> {
    let following = Following { after, objects };
    let link = data.link().await;
    let mut follower = Follower::open(&link, &identity(), following).await.unwrap();
    let mut events = Vec::new();
    loop {
        match follower.next().await.unwrap() {
            Event::Changes(told) => {
                let change = &told.changes[0];
                assert_eq!(change.operation, Operation::Update);
                assert_eq!(change.user_id, None);
                assert_eq!(change.before::<Value>().unwrap(), None);
                assert_eq!(change.after().unwrap(), Some(json!({"id": "1"})));
                events.push(format!("told {}", told.position));
            }
            Event::Gone { position } => events.push(format!("gone {position}")),
            Event::Ended => {
                events.push("ended".to_owned());
                return events;
            }
        }
    }
}

#[tokio::test]
async fn a_follower_is_told_changes_gaps_and_the_end() {
    let data = FakeData::default();
    let streams = [
        vec![told(8), told(9)],
        vec![gone(20)],
        vec![told(8), gone(30)],
    ];
    data.state().streams = streams.into();
    let ticket = || Objects::Only(vec!["ticket".to_owned()]);
    assert_eq!(
        events(&data, Some(7), ticket()).await,
        ["told 8", "told 9", "ended"]
    );
    assert_eq!(
        events(&data, Some(9), Objects::Only(Vec::new())).await,
        ["gone 20", "ended"]
    );
    assert_eq!(
        events(&data, None, Objects::All).await,
        ["told 8", "gone 30", "ended"]
    );
    let watched = data.state().watched.clone();
    let asked = watched.iter().map(|asked| {
        (
            asked.after_position,
            asked.from_now,
            asked.objects.join(","),
        )
    });
    let asked: Vec<_> = asked.collect();
    assert_eq!(
        asked,
        [
            (7, false, "ticket".to_owned()),
            // No object is followed, so none may be named that there is; all would be the other extreme.
            (9, false, "-".to_owned()),
            (0, true, String::new()),
        ]
    );
}

#[tokio::test]
async fn a_refusal_that_is_no_gap_is_an_error() {
    let data = FakeData::default();
    data.state().streams = [vec![Err(Error::denied("no").into_status())]].into();
    let following = Following {
        after: Some(1),
        objects: Objects::All,
    };
    let link = data.link().await;
    let refused = Follower::open(&link, &identity(), following).await;
    assert_eq!(refused.err().unwrap().reason(), Reason::PermissionDenied);
}

#[tokio::test]
async fn names_are_learnt_without_items_and_items_page_by_page() {
    let data = FakeData::default();
    data.state().actions = (0..1_001).map(|number| format!("a{number}")).collect();
    let metadata = Metadata::new(data.link().await);
    let types = [ItemType::Action, ItemType::Flow];
    let names = metadata.names(&ctx(), &types).await.unwrap();
    let item = |item_type, name: &str, object: &str| {
        Item::new(item_type, name, json!({"objectName": object})).0
    };
    let check = |names: &Names| {
        assert!(names.has(&item(ItemType::Action, "a1000", "ticket")));
        assert!(!names.has(&item(ItemType::Action, "a1000", "lead")));
        assert!(!names.has(&item(ItemType::Flow, "a1000", "ticket")));
    };
    check(&names);
    assert_eq!(data.state().items_told, 0);
    data.state().is_older = true;
    check(&metadata.names(&ctx(), &types).await.unwrap());
    let items = metadata.items(&ctx(), ItemType::Action).await.unwrap();
    assert_eq!(items.len(), 1_001);
    assert_eq!(items[1_000].name, "a1000");
    let absent = metadata.item(&ctx(), ItemType::Action, "x").await;
    assert_eq!(absent.unwrap_err().reason(), Reason::NotFound);
}
