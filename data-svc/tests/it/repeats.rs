//! A call that is made again under its `Idempotency-Key`.

use data_svc::{
    Rooms,
    kernel::{Record, Work, query, write},
};
use mesh::{Result, error::Reason};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, package, somebody, work_of},
    both,
};

/// Objects that their owner sees, and sets that may do less and less with them.
fn app() -> Value {
    json!({
        "manifest": {"id": "com.example.repeats", "version": "1.0.0", "name": "Repeats"},
        "objects": [{"name": "paper", "sharingModel": "private", "fields": {
            "text": {"type": "text"},
            "price": {"type": "currency"},
            "number": {"type": "autonumber", "format": "P-{000}"},
            "loud": {"type": "formula", "expression": "upper(text)", "returnType": "text"},
        }}],
        "permissions": [
            {"name": "writer", "objects": {"paper": {"allowCreate": true, "allowRead": true,
                "allowEdit": true, "allowDelete": true, "allowTransfer": true}}},
            {"name": "half_blind", "objects": {"paper": {"allowCreate": true, "allowRead": true,
                "allowEdit": true, "allowDelete": true}},
                "fields": {"paper.price": {"readable": false}}},
            {"name": "blind", "objects": {"paper": {"allowCreate": true}}},
            {"name": "reader", "objects": {"paper": {"allowRead": true}}},
        ],
    })
}

struct Ann<'b> {
    rooms: &'b Rooms,
}

impl Ann<'_> {
    fn work(&self, set: &str) -> Work {
        work_of(self.rooms, &somebody("ann", &[set]))
    }

    async fn create(&self, set: &str, key: &str) -> Result<Record> {
        let body = br#"{"text": "first", "price": 1234567890123.45}"#;
        write::create(&self.rooms.kernel, &self.work(set), "paper", body, key).await
    }

    async fn update(&self, id: &str, text: &str, key: &str) -> Result<Record> {
        let body = json!({"text": text}).to_string();
        let (kernel, work) = (&self.rooms.kernel, self.work("writer"));
        write::update(kernel, &work, ("paper", id), body.as_bytes(), "", key).await
    }

    async fn delete(&self, id: &str, key: &str) -> Result<write::Deleted> {
        let (kernel, work) = (&self.rooms.kernel, self.work("writer"));
        write::delete(kernel, &work, ("paper", id), "", key).await
    }
}

fn read(record: &Record) -> Value {
    serde_json::from_slice(&record.json).expect("JSON")
}

async fn replica(bed: &Bed) -> Rooms {
    let rooms = bed.replica().await;
    rooms
        .catalog
        .install(&[package(&app())])
        .await
        .expect("installs");
    rooms
}

both!(it_answers_what_was_answered_first, async |bed: &Bed| {
    let rooms = replica(bed).await;
    let ann = Ann { rooms: &rooms };
    let first = ann.create("writer", "k1").await.expect("created");
    assert_eq!(read(&first)["loud"], "FIRST");
    assert_eq!(read(&first)["number"], "P-001");
    let changed = ann
        .update(&first.id, "second", "k2")
        .await
        .expect("changed");
    let again = ann.create("writer", "k1").await.expect("answered");
    assert_eq!((again.json, again.version), (first.json.clone(), 1));
    ann.update(&first.id, "third", "").await.expect("changed");
    let again = ann
        .update(&first.id, "second", "k2")
        .await
        .expect("answered");
    assert_eq!((again.json, again.version), (changed.json.clone(), 2));
    ann.delete(&first.id, "k3").await.expect("deleted");
    // The record is gone; what was answered is not.
    let again = ann.create("writer", "k1").await.expect("answered");
    assert_eq!(again.json, first.json);
    let again = ann
        .update(&first.id, "second", "k2")
        .await
        .expect("answered");
    assert_eq!(again.json, changed.json);
    assert_eq!(
        ann.delete(&first.id, "k3").await.expect("answered").id,
        first.id
    );
    // Something else under the key is refused, as ever.
    let other = ann
        .update(&first.id, "fourth", "k2")
        .await
        .expect_err("another body");
    assert_eq!(other.reason(), Reason::IdempotencyKeyReused);
});

both!(
    a_change_of_nothing_keeps_its_answer_too,
    async |bed: &Bed| {
        let rooms = replica(bed).await;
        let ann = Ann { rooms: &rooms };
        let made = ann.create("writer", "").await.expect("created");
        let empty = async |key: &str| {
            let target = ("paper", made.id.as_str());
            write::update(&rooms.kernel, &ann.work("writer"), target, b"{}", "", key).await
        };
        let first = empty("k1").await.expect("answered");
        assert_eq!((read(&first), first.version), (read(&made), 1));
        ann.update(&made.id, "second", "").await.expect("changed");
        let again = empty("k1").await.expect("answered");
        assert_eq!((again.json, again.version), (first.json, 1));
        let other = ann.update(&made.id, "third", "k1").await;
        let other = other.expect_err("another body");
        assert_eq!(other.reason(), Reason::IdempotencyKeyReused);
    }
);

both!(
    a_writer_who_may_not_read_is_told_the_id_again,
    async |bed: &Bed| {
        let rooms = replica(bed).await;
        let ann = Ann { rooms: &rooms };
        let first = ann.create("blind", "k1").await.expect("created");
        assert_eq!(read(&first), json!({"id": first.id}));
        let again = ann.create("blind", "k1").await.expect("answered");
        assert_eq!(again.json, first.json);
    }
);

both!(
    who_lost_rights_is_not_told_what_they_lost,
    async |bed: &Bed| {
        let rooms = replica(bed).await;
        let ann = Ann { rooms: &rooms };
        let first = ann.create("writer", "k1").await.expect("created");
        let whole = read(&first);
        // A field.
        let again = ann.create("half_blind", "k1").await.expect("answered");
        let mut expected = whole.clone();
        expected.as_object_mut().expect("an object").remove("price");
        assert_eq!(read(&again), expected);
        // All fields.
        let again = ann.create("blind", "k1").await.expect("answered");
        assert_eq!(read(&again), json!({"id": first.id}));
        // The operation itself.
        let refused = ann
            .create("reader", "k1")
            .await
            .expect_err("may not create");
        assert_eq!(refused.reason(), Reason::PermissionDenied);
        // The record: it is somebody else's now.
        let body = json!({"owner_id": "bob"}).to_string();
        let system = rooms
            .kernel
            .system_work(data_svc::kernel::access::SystemReason::Seed);
        let target = ("paper", first.id.as_str());
        let given = write::update(&rooms.kernel, &system, target, body.as_bytes(), "", "").await;
        given.expect("given");
        let again = ann.create("writer", "k1").await.expect("answered");
        assert_eq!(read(&again), json!({"id": first.id}));
        let seen = query::get(
            &rooms.kernel,
            &ann.work("writer"),
            "paper",
            &first.id,
            "",
            "",
        )
        .await;
        assert_eq!(seen.expect_err("out of reach").reason(), Reason::NotFound);
    }
);

both!(calls_at_the_same_time_make_one_record, async |bed: &Bed| {
    let rooms = replica(bed).await;
    let ann = Ann { rooms: &rooms };
    let calls = (0..8).map(|_| ann.create("writer", "k1"));
    let made = futures::future::join_all(calls).await;
    let ids: std::collections::BTreeSet<String> = made
        .into_iter()
        .map(|made| made.expect("answered").id)
        .collect();
    assert_eq!(ids.len(), 1);
});
