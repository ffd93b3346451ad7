//! Totals of lists are remembered until their table changes, and are right all the same.

use data_svc::{
    Rooms,
    kernel::{Work, query, write},
};
use serde_json::{Value, json};

use crate::bed::{Bed, package, somebody, work_of};

fn app() -> Value {
    json!({
        "manifest": {"id": "com.example.shelves", "version": "1.0.0", "name": "Shelves"},
        "objects": [{"name": "shelf", "sharingModel": "public_read_write", "fields": {
            "name": {"type": "text"},
            "books": {"type": "summary", "summaryOperations":
                {"object": "book", "relationshipField": "shelf", "function": "count"}},
        }}, {"name": "book", "sharingModel": "public_read_write", "fields": {
            "title": {"type": "text"},
            "shelf": {"type": "master_detail", "reference": "shelf"},
        }}],
    })
}

async fn shelves(bed: &Bed) -> Rooms {
    let rooms = bed.rooms().await;
    let installed = rooms.catalog.install(&[package(&app())]).await;
    installed.expect("the app installs");
    rooms
}

fn work(rooms: &Rooms) -> Work {
    work_of(rooms, &somebody("u1", &["admin_full_access"]))
}

async fn create(rooms: &Rooms, object: &str, body: Value) -> String {
    let body = body.to_string();
    let made = write::create(&rooms.kernel, &work(rooms), object, body.as_bytes(), "").await;
    made.expect("made").id
}

async fn total(rooms: &Rooms, object: &str, filter: Value) -> i64 {
    let body = json!({"where": filter, "limit": 1}).to_string();
    let query = query::from_body(object, body.as_bytes()).expect("a query");
    let page = query::answer(&rooms.kernel, &work(rooms), object, query).await;
    page.expect("a page").total.expect("a total")
}

crate::both!(every_change_is_counted, async |bed: &Bed| {
    let rooms = shelves(bed).await;
    let all = || json!({});
    assert_eq!(total(&rooms, "book", all()).await, 0);
    let shelf = create(&rooms, "shelf", json!({"name": "a"})).await;
    let full = || json!({"books": {"$gte": 2}});
    assert_eq!(total(&rooms, "shelf", full()).await, 0);
    let mut books = Vec::new();
    for count in 1..=3 {
        books.push(create(&rooms, "book", json!({"title": "t", "shelf": shelf})).await);
        // Asked twice: the second answer is the first one's.
        for _ in 0..2 {
            assert_eq!(total(&rooms, "book", all()).await, count);
        }
    }
    // A shelf's count moves by a write of another object.
    assert_eq!(total(&rooms, "shelf", full()).await, 1);
    let titled = || json!({"title": "other"});
    assert_eq!(total(&rooms, "book", titled()).await, 0);
    let body = br#"{"title": "other"}"#;
    let mine = work(&rooms);
    let update = write::update(&rooms.kernel, &mine, ("book", &books[0]), body, "", "");
    update.await.expect("changed");
    assert_eq!(total(&rooms, "book", titled()).await, 1);
    // A write of somebody else who has the database open.
    let other = bed.rooms().await;
    create(&other, "book", json!({"title": "other", "shelf": shelf})).await;
    assert_eq!(total(&rooms, "book", titled()).await, 2);
    // What goes with its shelf goes from its total.
    let delete = write::delete(&rooms.kernel, &mine, ("shelf", &shelf), "", "");
    delete.await.expect("deleted");
    assert_eq!(total(&rooms, "book", all()).await, 0);
    assert_eq!(total(&rooms, "shelf", full()).await, 0);
});

// Who has written reads a total that counts what they wrote, whatever others ask meanwhile.
crate::both!(writers_read_what_they_wrote, async |bed: &Bed| {
    let rooms = shelves(bed).await;
    let shelf = create(&rooms, "shelf", json!({"name": "a"})).await;
    let writers = (0..8).map(|writer| {
        let (rooms, shelf) = (rooms.clone(), shelf.clone());
        async move {
            let title = format!("w{writer}");
            for count in 1..=20 {
                create(&rooms, "book", json!({"title": title, "shelf": shelf})).await;
                let mine = total(&rooms, "book", json!({"title": title})).await;
                let all = total(&rooms, "book", json!({})).await;
                assert_eq!(mine, count);
                assert!(all >= count, "{all} in all, {count} of one");
            }
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(total(&rooms, "book", json!({})).await, 160);
});
