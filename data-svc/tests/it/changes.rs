//! Every committed change is told once, in an order that fits each record, by every replica.

use std::{collections::HashMap, time::Duration};

use data_svc::{
    Rooms,
    changes::{
        Batch, Follower,
        store::{self, Entry},
    },
    kernel::{access::SystemReason, write},
};
use futures::FutureExt as _;
use mesh::{
    db::{DbError, Statement, lease::Lease},
    error::Reason,
};

use crate::{
    bed::{Bed, WEEK, eventually, soon},
    both,
};

async fn create(rooms: &Rooms, object: &str, text: &str) -> String {
    let work = rooms.kernel.system_work(SystemReason::Seed);
    let body = format!(r#"{{"text": "{text}"}}"#);
    let made = write::create(&rooms.kernel, &work, object, body.as_bytes(), "").await;
    made.expect("created").id
}

async fn update(rooms: &Rooms, id: &str, text: &str) {
    let work = rooms.kernel.system_work(SystemReason::Seed);
    let body = format!(r#"{{"text": "{text}"}}"#);
    let done = write::update(&rooms.kernel, &work, ("note", id), body.as_bytes(), "", "").await;
    done.expect("updated");
}

async fn delete(rooms: &Rooms, id: &str) {
    let work = rooms.kernel.system_work(SystemReason::Seed);
    write::delete(&rooms.kernel, &work, ("note", id), "", "")
        .await
        .expect("deleted");
}

/// The next message that holds changes; others must tell a position that does not fall.
async fn changes(follower: &mut Follower) -> Batch {
    let mut last = 0;
    soon(async {
        loop {
            let batch = follower.next().await.expect("no end").expect("no error");
            assert!(batch.position >= last);
            last = batch.position;
            if !batch.entries.is_empty() {
                return batch;
            }
        }
    })
    .await
}

/// That many changes, in the order in which they are told.
async fn told(follower: &mut Follower, count: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        entries.extend(changes(follower).await.entries);
    }
    assert_eq!(entries.len(), count);
    entries
}

/// `create 1, update 2, …` of one record.
fn story(entries: &[Entry]) -> Vec<(String, i64)> {
    let tell = |entry: &Entry| (entry.operation.clone(), entry.record_version);
    entries.iter().map(tell).collect()
}

both!(
    every_replica_tells_all_changes_in_order,
    async |bed: &Bed| {
        let (first, second) = (bed.replica().await, bed.replica().await);
        let mut near = first
            .changes
            .follow(0, true, vec![])
            .await
            .expect("follows");
        let mut far = second
            .changes
            .follow(0, true, vec![])
            .await
            .expect("follows");
        // The first message comes at once, whatever happens.
        let begun = soon(near.next())
            .await
            .expect("a message")
            .expect("no error");
        assert_eq!(begun.entries, []);
        let start = begun.position;

        // Four writers on each replica change their own records and all change one together.
        let shared = create(&first, "note", "shared").await;
        let writers = (0..8).map(|n| {
            let rooms = if n % 2 == 0 { &first } else { &second };
            let shared = shared.clone();
            async move {
                let own = create(rooms, "note", "own").await;
                for step in 0..5 {
                    update(rooms, &own, &format!("{step}")).await;
                    let work = rooms.kernel.system_work(SystemReason::Seed);
                    let body = format!(r#"{{"text": "{n} {step}"}}"#);
                    // Others are in the way: some attempts are refused, and leave nothing.
                    let _refused = write::update(
                        &rooms.kernel,
                        &work,
                        ("note", &shared),
                        body.as_bytes(),
                        "",
                        "",
                    )
                    .await;
                }
                delete(rooms, &own).await;
            }
        });
        futures::future::join_all(writers).await;
        let count = "SELECT count(*) FROM om_outbox WHERE object_name = 'note'";
        let db = bed.db().await;
        let count = db
            .query_one(count, |row| row.req_int(0))
            .await
            .expect("counted");
        let count = usize::try_from(count).expect("a number");
        assert!(count > 8 * 7);

        let entries = told(&mut near, count).await;
        assert_eq!(told(&mut far, count).await, entries);
        // Positions have no gaps.
        let positions: Vec<i64> = entries.iter().map(|entry| entry.position).collect();
        let expected: Vec<i64> =
            (start + 1..=start + i64::try_from(count).expect("fits")).collect();
        assert_eq!(positions, expected);
        // Each record's versions come in order.
        let mut records: HashMap<&str, Vec<Entry>> = HashMap::new();
        for entry in &entries {
            records
                .entry(&entry.record_id)
                .or_default()
                .push(entry.clone());
        }
        for (record, entries) in records {
            let story = story(&entries);
            for (index, (operation, version)) in story.iter().enumerate() {
                let at = i64::try_from(index).expect("fits") + 1;
                let expected = match operation.as_str() {
                    "create" => (1, 1),
                    "update" => (at, at),
                    _ => (at, at - 1),
                };
                assert_eq!((at, *version), expected, "{record}: {story:?}");
            }
        }
        // Resumed in the middle, the rest is told, and nothing else.
        let middle = entries[20].position;
        let mut resumed = second
            .changes
            .follow(middle, false, vec![])
            .await
            .expect("follows");
        assert_eq!(told(&mut resumed, count - 21).await, entries[21..]);
    }
);

both!(
    a_record_created_again_comes_after_its_deletion,
    async |bed: &Bed| {
        let (first, second) = (bed.replica().await, bed.replica().await);
        let mut follower = first
            .changes
            .follow(0, true, vec![])
            .await
            .expect("follows");
        let id = create(&first, "note", "once").await;
        for turn in 0..6 {
            let rooms = if turn % 2 == 0 { &second } else { &first };
            delete(rooms, &id).await;
            let work = rooms.kernel.system_work(SystemReason::Seed);
            let body = format!(r#"{{"id": "{id}", "text": "again"}}"#);
            write::create(&rooms.kernel, &work, "note", body.as_bytes(), "")
                .await
                .expect("created");
        }
        let entries = told(&mut follower, 13).await;
        let operations: Vec<&str> = entries.iter().map(|entry| &*entry.operation).collect();
        let mut expected = vec!["create"];
        for _ in 0..6 {
            expected.extend(["delete", "create"]);
        }
        assert_eq!(operations, expected);
    }
);

both!(one_may_follow_certain_objects, async |bed: &Bed| {
    let rooms = bed.replica().await;
    let only = vec!["other".to_owned()];
    let mut follower = rooms.changes.follow(0, true, only).await.expect("follows");
    create(&rooms, "note", "not asked for").await;
    create(&rooms, "other", "wanted").await;
    let entries = told(&mut follower, 1).await;
    assert_eq!(entries[0].object, "other");
    let after: serde_json::Value =
        serde_json::from_str(entries[0].after.as_deref().expect("an image")).expect("JSON");
    assert_eq!(after["text"], "wanted");
    assert_eq!(entries[0].before, None);
});

both!(a_position_that_is_gone_is_refused, async |bed: &Bed| {
    let rooms = bed.replica().await;
    let mut follower = rooms
        .changes
        .follow(0, true, vec![])
        .await
        .expect("follows");
    for n in 0..5 {
        create(&rooms, "note", &format!("{n}")).await;
    }
    let entries = told(&mut follower, 5).await;
    let db = bed.db().await;
    // Three of them become older than what is kept.
    let old = mesh::clock::now() - 2 * WEEK;
    let age = Statement::new("UPDATE om_outbox SET created_at = $1 WHERE position <= $2")
        .bind(old)
        .bind(entries[2].position);
    db.execute(age).await.expect("aged");
    let mut slow = rooms
        .changes
        .follow(entries[0].position, false, vec![])
        .await
        .expect("follows");
    soon(slow.next())
        .await
        .expect("a message")
        .expect("no error");
    trim(bed, WEEK).await;
    let refused = rooms
        .changes
        .follow(entries[1].position, false, vec![])
        .await;
    let refused = refused.expect_err("it is gone");
    assert_eq!(refused.reason(), Reason::PositionGone);
    assert_eq!(
        refused.detail("oldestPosition"),
        Some(&entries[2].position.into())
    );
    assert_eq!(
        refused.detail("position"),
        Some(&entries[4].position.into())
    );
    assert_eq!(tonic::Status::from(refused).code(), tonic::Code::OutOfRange);
    // Who was following and fell behind is told as well.
    let late = soon(slow.next())
        .await
        .expect("an answer")
        .expect_err("it is gone");
    assert_eq!(late.reason(), Reason::PositionGone);
    assert!(slow.next().await.is_none());
    // Where the refusal points to, and from the oldest one kept, one may go on.
    let mut on = rooms
        .changes
        .follow(entries[2].position, false, vec![])
        .await
        .expect("follows");
    assert_eq!(told(&mut on, 2).await, entries[3..]);
    let mut oldest = rooms
        .changes
        .follow(0, false, vec![])
        .await
        .expect("follows");
    assert_eq!(told(&mut oldest, 2).await, entries[3..]);
    // A position of another database's future.
    let future = entries[4].position + 1;
    assert!(rooms.changes.follow(future, false, vec![]).await.is_err());
    // Positions go on where they were, also when nothing is kept any more.
    let age = Statement::new("UPDATE om_outbox SET created_at = $1").bind(old);
    db.execute(age).await.expect("aged");
    trim(bed, WEEK).await;
    let mut follower = rooms
        .changes
        .follow(0, true, vec![])
        .await
        .expect("follows");
    create(&rooms, "note", "later").await;
    let entry = &told(&mut follower, 1).await[0];
    assert_eq!(entry.position, entries[4].position + 1);
});

/// Drops what is older than that, as the janitor does.
async fn trim(bed: &Bed, kept: Duration) {
    let db = bed.db().await;
    let held = Lease::new(db.clone(), &mesh::id::new(), WEEK);
    let held = held.acquire().await.expect("asked").expect("it is free");
    let trimmed = db.write::<_, DbError, _>(move |tx| {
        let held = held.clone();
        async move { store::trim(tx, &held, mesh::clock::now() - kept).await }.boxed()
    });
    assert!(
        trimmed
            .await
            .expect("trimmed")
            .is_some_and(|count| count > 0)
    );
}

both!(messages_are_bounded, async |bed: &Bed| {
    let rooms = bed.replica().await;
    let mut follower = rooms
        .changes
        .follow(0, true, vec![])
        .await
        .expect("follows");
    let large = "x".repeat(300 * 1024);
    let ids = futures::future::join_all((0..7).map(|_| create(&rooms, "note", &large))).await;
    let mut seen = 0;
    while seen < ids.len() {
        let batch = changes(&mut follower).await;
        assert!(
            batch.entries.len() <= 3,
            "{} in one message",
            batch.entries.len()
        );
        seen += batch.entries.len();
    }
    // One that is larger than a message may be comes alone.
    let huge = "y".repeat(2 * 1024 * 1024);
    create(&rooms, "note", &huge).await;
    create(&rooms, "note", "small").await;
    assert_eq!(changes(&mut follower).await.entries.len(), 1);
    assert_eq!(changes(&mut follower).await.entries.len(), 1);
});

both!(a_stream_ends_with_the_node, async |bed: &Bed| {
    let rooms = bed.replica().await;
    let mut follower = rooms
        .changes
        .follow(0, true, vec![])
        .await
        .expect("follows");
    soon(follower.next())
        .await
        .expect("a message")
        .expect("no error");
    bed.tasks.drain();
    soon(async { while follower.next().await.is_some() {} }).await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_committed_late_is_told_all_the_same() {
    let Some(bed) = Bed::postgres() else {
        eprintln!("skipped: TEST_POSTGRES_URL is not set");
        return;
    };
    let rooms = bed.replica().await;
    let mut follower = rooms
        .changes
        .follow(0, true, vec![])
        .await
        .expect("follows");
    soon(follower.next())
        .await
        .expect("a message")
        .expect("no error");
    // Takes its number first and is committed last.
    let (entered, mut is_in) = tokio::sync::mpsc::channel(1);
    let (let_go, gone) = tokio::sync::watch::channel(false);
    let db = bed.db().await;
    let late = db.write::<_, DbError, _>(move |tx| {
        let (entered, mut gone) = (entered.clone(), gone.clone());
        async move {
            let row = Statement::new(
                "INSERT INTO om_outbox (id, object_name, record_id, operation, record_version, \
                 request_id, created_at) VALUES ($1, 'note', 'late', 'create', 1, 'r', $2)",
            )
            .bind(mesh::id::new())
            .bind(mesh::clock::now());
            tx.execute(row).await?;
            let _ = entered.send(()).await;
            let _ = gone.wait_for(|gone| *gone).await;
            Ok(())
        }
        .boxed()
    });
    let early = async {
        is_in.recv().await.expect("the late one has written");
        create(&rooms, "note", "early").await;
        let entry = told(&mut follower, 1).await.remove(0);
        let_go.send(true).expect("it waits");
        entry
    };
    let (late, early) = futures::future::join(late, early).await;
    late.expect("committed");
    let late = told(&mut follower, 1).await.remove(0);
    assert_eq!(late.record_id, "late");
    assert_eq!(late.position, early.position + 1);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_numbers_when_the_first_is_gone() {
    let Some(bed) = Bed::postgres() else {
        eprintln!("skipped: TEST_POSTGRES_URL is not set");
        return;
    };
    let gone = mesh::tasks::Tasks::default();
    let rooms = bed.rooms().await;
    let app = crate::bed::package(&crate::bed::app());
    rooms.catalog.install(&[app]).await.expect("installs");
    rooms.changes.start(&gone, WEEK);
    let db = bed.db().await;
    let is_held = async || {
        let held = "SELECT 1 FROM om_lease WHERE name = 'outbox_sequencer'";
        db.query_opt(held, |_| Ok(())).await.expect("asked")
    };
    eventually(is_held).await;
    // It ends without a word: its lease is not released, only its term passes.
    rooms.db.close().await;
    let second = bed.replica().await;
    let mut follower = second
        .changes
        .follow(0, true, vec![])
        .await
        .expect("follows");
    create(&second, "note", "after").await;
    assert_eq!(told(&mut follower, 1).await[0].operation, "create");
    gone.shut_down(Duration::from_secs(20)).await;
    bed.end().await;
}
