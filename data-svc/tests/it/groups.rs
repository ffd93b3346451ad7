//! Writes that wait at the same time: each is told its own outcome, whatever shares its transaction.

use std::{collections::BTreeSet, sync::Arc};

use data_svc::{
    Rooms,
    kernel::{access::Principal, write},
};
use futures::future::join_all;
use mesh::{
    Error,
    db::{DbError, Dialect, Statement},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::bed::{Bed, package, somebody, soon, told_of, work_of};

/// Enough to fill several groups.
const WRITES: usize = 100;

fn app() -> Value {
    json!({
        "manifest": {"id": "com.example.orders", "version": "1.0.0", "name": "Orders"},
        "objects": [{"name": "place", "sharingModel": "public_read_write", "fields": {
            "name": {"type": "text"},
        }}, {"name": "order", "sharingModel": "public_read_write", "fields": {
            "number": {"type": "autonumber", "autonumberFormat": "O-{0000}"},
            "code": {"type": "text", "unique": "global"},
            "amount": {"type": "currency"},
            "tags": {"type": "multiselect", "options": [{"label": "A", "value": "a"}, {"label": "B", "value": "b"}]},
            "due": {"type": "datetime"},
            "place": {"type": "lookup", "reference": "place"},
        }}],
    })
}

async fn orders(bed: &Bed) -> Rooms {
    let rooms = bed.rooms().await;
    let installed = rooms.catalog.install(&[package(&app())]).await;
    installed.expect("the app installs");
    rooms
}

fn admin() -> Principal {
    somebody("u1", &["admin_full_access"])
}

async fn create(rooms: &Rooms, object: &str, body: Value, key: &str) -> Result<Value, Error> {
    let work = work_of(rooms, &admin());
    let body = body.to_string();
    let made = write::create(&rooms.kernel, &work, object, body.as_bytes(), key).await?;
    Ok(serde_json::from_slice(&made.json).expect("JSON"))
}

async fn update(rooms: &Rooms, id: &str, body: Value, version: &str) -> Result<Value, Error> {
    let work = work_of(rooms, &admin());
    let body = body.to_string();
    let what = ("order", id);
    let made = write::update(&rooms.kernel, &work, what, body.as_bytes(), version, "").await?;
    Ok(serde_json::from_slice(&made.json).expect("JSON"))
}

/// How many transactions wrote the rows of a table; PostgreSQL only.
async fn transactions(rooms: &Rooms, table: &str) -> i64 {
    let sql = format!("SELECT count(DISTINCT xmin::text) FROM \"{table}\"");
    let count = rooms
        .db
        .query_one(Statement::new(sql), |row| row.req_int(0));
    count.await.expect("asked")
}

fn numbers(orders: &[Value]) -> BTreeSet<String> {
    let numbers = orders.iter().map(|order| &order["number"]);
    numbers
        .map(|number| number.as_str().expect("a number").to_owned())
        .collect()
}

/// `O-0001` … without a gap.
fn first(count: usize) -> BTreeSet<String> {
    (1..=count).map(|number| format!("O-{number:04}")).collect()
}

crate::both!(creates_together, async |bed: &Bed| {
    let rooms = orders(bed).await;
    let place = create(&rooms, "place", json!({"name": "here"}), "")
        .await
        .expect("made");
    let made = join_all((0..WRITES).map(|index| {
        let body = json!({"code": format!("c{index}"), "amount": 1.5, "tags": ["a", "b"],
            "due": "2026-12-01T10:00:00Z", "place": place["id"]});
        create(
            &rooms,
            "order",
            body,
            if index % 10 == 0 { "key" } else { "" },
        )
    }))
    .await;
    // Those with the one key have one answer: the same order, or that the first is not done yet.
    let (made, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    let orders: Vec<Value> = made.into_iter().flatten().collect();
    let ids: BTreeSet<&str> = orders
        .iter()
        .filter_map(|order| order["id"].as_str())
        .collect();
    for error in refused.into_iter().filter_map(Result::err) {
        let text = error.message().to_owned();
        assert!(text.contains("Idempotency-Key"), "{text}");
    }
    assert_eq!(ids.len(), WRITES - WRITES / 10 + 1);
    assert_eq!(numbers(&orders), first(ids.len()));
    for order in &orders {
        assert_eq!(order["amount"], 1.5);
        assert_eq!(order["tags"], json!(["a", "b"]));
        assert_eq!(order["due"], "2026-12-01T10:00:00.000Z");
    }
    let told: BTreeSet<_> = told_of(&rooms, "order")
        .await
        .into_iter()
        .map(|(_, id, _)| id)
        .collect();
    assert_eq!(told.len(), ids.len());
    if rooms.db.dialect() == Dialect::Postgres {
        let transactions = transactions(&rooms, "order").await;
        assert!(
            transactions < 50,
            "{transactions} transactions for {} rows",
            ids.len()
        );
    }
});

crate::both!(who_is_refused_falls_out_alone, async |bed: &Bed| {
    let rooms = orders(bed).await;
    create(&rooms, "order", json!({"code": "taken"}), "")
        .await
        .expect("made");
    let made = join_all((0..WRITES).map(|index| {
        let code = match index % 20 {
            7 => "taken".to_owned(),
            _ => format!("c{index}"),
        };
        create(&rooms, "order", json!({"code": code}), "")
    }))
    .await;
    let mut orders = Vec::new();
    for (index, made) in made.into_iter().enumerate() {
        match made {
            Ok(order) => {
                assert_eq!(order["code"], format!("c{index}"));
                orders.push(order);
            }
            Err(error) => {
                assert_eq!(index % 20, 7, "{}", error.message());
                assert_eq!(error.detail("value"), Some(&json!("taken")));
            }
        }
    }
    assert_eq!(orders.len(), WRITES - WRITES / 20);
    // Nobody who was refused kept a number.
    let mut all = numbers(&orders);
    all.insert("O-0001".to_owned());
    assert_eq!(all, first(orders.len() + 1));
});

crate::both!(updates_together, async |bed: &Bed| {
    let rooms = orders(bed).await;
    let bodies = (0..WRITES).map(|index| json!({"code": format!("c{index}")}));
    let made = join_all(bodies.map(|body| create(&rooms, "order", body, ""))).await;
    let ids: Vec<String> = made
        .into_iter()
        .map(|made| {
            made.expect("made")["id"]
                .as_str()
                .expect("an id")
                .to_owned()
        })
        .collect();
    // Several columns, and each tenth one is out of date.
    let changed = join_all(ids.iter().enumerate().map(|(index, id)| {
        let body = match index % 2 {
            0 => json!({"amount": 2.25}),
            _ => json!({"due": "2027-01-01T00:00:00Z", "tags": ["b"]}),
        };
        update(&rooms, id, body, if index % 10 == 0 { "7" } else { "1" })
    }))
    .await;
    for (index, changed) in changed.into_iter().enumerate() {
        match changed {
            Ok(order) => {
                assert!(index % 10 != 0);
                assert_eq!(order["version"], 2);
                match index % 2 {
                    0 => assert_eq!(order["amount"], 2.25),
                    _ => assert_eq!(order["tags"], json!(["b"])),
                }
            }
            Err(error) => {
                assert_eq!(index % 10, 0, "{}", error.message());
                assert_eq!(error.detail("currentVersion"), Some(&json!("1")));
            }
        }
    }
    let updates = told_of(&rooms, "order").await;
    let updates = updates
        .iter()
        .filter(|(operation, _, _)| operation == "update")
        .count();
    assert_eq!(updates, WRITES - WRITES / 10);
});

// Who began under the metadata before has its columns in another order than who began after it.
crate::both!(two_revisions_wait_together, async |bed: &Bed| {
    let app = |fields: Value| {
        package(&json!({
            "manifest": {"id": "com.example.pairs", "version": "1.0.0", "name": "Pairs"},
            "objects": [{"name": "pair", "sharingModel": "public_read_write", "fields": fields}],
        }))
    };
    let (left, right) = (json!({"type": "text"}), json!({"type": "text"}));
    let rooms = bed.rooms().await;
    let first = app(json!({"left": left, "right": right}));
    rooms.catalog.install(&[first]).await.expect("installs");
    let before = work_of(&rooms, &admin());
    let second = app(json!({"right": right, "left": left}));
    rooms.catalog.install(&[second]).await.expect("installs");
    let after = work_of(&rooms, &admin());
    let work = |index: usize| {
        if index.is_multiple_of(2) {
            &before
        } else {
            &after
        }
    };
    let body = |side: &str, index: usize| {
        json!({"left": format!("{side}l{index}"), "right": format!("{side}r{index}")}).to_string()
    };
    let check = async |id: &str, side: &str, index: usize| {
        let read = Statement::new(r#"SELECT "left", "right" FROM pair WHERE id = $1"#).bind(id);
        let read = rooms.db.query_one(read, |row| {
            Ok((row.req_text(0)?.to_owned(), row.req_text(1)?.to_owned()))
        });
        let wanted = (format!("{side}l{index}"), format!("{side}r{index}"));
        assert_eq!(read.await.expect("there"), wanted);
    };
    let bodies: Vec<_> = (0..WRITES)
        .map(|index| (body("a", index), body("b", index)))
        .collect();
    let made = join_all(bodies.iter().enumerate().map(|(index, (body, _))| {
        write::create(&rooms.kernel, work(index), "pair", body.as_bytes(), "")
    }))
    .await;
    let ids: Vec<String> = made
        .into_iter()
        .map(|made| made.expect("made").id)
        .collect();
    for (index, id) in ids.iter().enumerate() {
        check(id, "a", index).await;
    }
    let changed = join_all(bodies.iter().enumerate().map(|(index, (_, body))| {
        let what = ("pair", ids[index].as_str());
        write::update(&rooms.kernel, work(index), what, body.as_bytes(), "1", "")
    }))
    .await;
    for (index, changed) in changed.into_iter().enumerate() {
        check(&changed.expect("changed").id, "b", index).await;
    }
});

// Each that says it has written has written: the version counts them.
crate::both!(
    one_record_is_changed_by_one_after_the_other,
    async |bed: &Bed| {
        let rooms = orders(bed).await;
        let order = create(&rooms, "order", json!({"code": "one"}), "")
            .await
            .expect("made");
        let id = order["id"].as_str().expect("an id");
        let changed =
            join_all((0..20).map(|index| update(&rooms, id, json!({"amount": index}), ""))).await;
        let versions: Vec<i64> = changed
            .into_iter()
            .filter_map(Result::ok)
            .filter_map(|order| order["version"].as_i64())
            .collect();
        let different: BTreeSet<i64> = versions.iter().copied().collect();
        assert_eq!(different.len(), versions.len());
        assert_eq!(
            different.last().copied(),
            Some(1 + i64::try_from(versions.len()).expect("few"))
        );
    }
);

// A place that goes away while orders refer to it: none is left that refers to nothing.
crate::both!(a_reference_that_goes_away, async |bed: &Bed| {
    let rooms = orders(bed).await;
    let mut places = Vec::new();
    for index in 0..4 {
        let place = create(&rooms, "place", json!({"name": index.to_string()}), "").await;
        places.push(
            place.expect("made")["id"]
                .as_str()
                .expect("an id")
                .to_owned(),
        );
    }
    let creates = join_all((0..WRITES).map(|index| {
        let body = json!({"code": format!("c{index}"), "place": places[index % 4]});
        create(&rooms, "order", body, "")
    }));
    let work = work_of(&rooms, &admin());
    let delete = write::delete(&rooms.kernel, &work, ("place", &places[1]), "", "");
    let (made, deleted) = tokio::join!(creates, delete);
    deleted.expect("deleted");
    for (index, made) in made.iter().enumerate() {
        if let Err(error) = made {
            assert_eq!(index % 4, 1, "{}", error.message());
        }
    }
    let sql = "SELECT count(*) FROM \"order\" o WHERE place IS NOT NULL AND NOT EXISTS \
               (SELECT 1 FROM place p WHERE p.id = o.place)";
    let dangling = rooms
        .db
        .query_one(sql, |row| row.req_int(0))
        .await
        .expect("asked");
    assert_eq!(dangling, 0);
});

// Somebody holds one record for long: who wants that one waits, the others do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_held_keeps_nobody_else_waiting() {
    let Some(bed) = Bed::postgres() else {
        eprintln!("skipped: TEST_POSTGRES_URL is not set");
        return;
    };
    let rooms = orders(&bed).await;
    let bodies = (0..40).map(|index| json!({"code": format!("c{index}")}));
    let made = join_all(bodies.map(|body| create(&rooms, "order", body, ""))).await;
    let ids: Vec<String> = made
        .into_iter()
        .map(|made| {
            made.expect("made")["id"]
                .as_str()
                .expect("an id")
                .to_owned()
        })
        .collect();
    let (is_held, let_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let other = bed.db().await;
    let lock = Statement::new(r#"SELECT 1 FROM "order" WHERE id = $1 FOR UPDATE"#).bind(&ids[0]);
    let (told, waits) = (Arc::clone(&is_held), Arc::clone(&let_go));
    let holder = other.write::<_, DbError, _>(move |tx| {
        let (lock, told, waits) = (lock.clone(), Arc::clone(&told), Arc::clone(&waits));
        Box::pin(async move {
            tx.query(lock, |_| Ok(())).await?;
            told.notify_one();
            waits.notified().await;
            Ok(())
        })
    });
    let writers = async {
        is_held.notified().await;
        let changes = ids
            .iter()
            .map(|id| update(&rooms, id, json!({"amount": 1}), ""));
        let mut changes: Vec<_> = changes.map(Box::pin).collect();
        let held = changes.remove(0);
        let others = async {
            let done = soon(join_all(changes)).await;
            assert!(done.iter().all(Result::is_ok));
            let_go.notify_one();
        };
        let (held, ()) = tokio::join!(held, others);
        assert_eq!(held.expect("changed once it was let go")["version"], 2);
    };
    let (held, ()) = tokio::join!(holder, writers);
    held.expect("held");
    other.close().await;
    bed.end().await;
}
