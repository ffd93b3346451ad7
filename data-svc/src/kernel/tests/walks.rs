//! Walking by cursor: every row once, in order, and nobody else's cursor.

use std::{collections::BTreeSet, sync::Arc};

use crate::kernel::{
    model::{
        cell::Cell,
        schema::{Schema, Storage},
    },
    query::{self, Plan},
    store::select,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use mesh::db::{Dialect, Statement};
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};
use time::{Duration, macros::datetime};

use super::fixture::{Store, body, caller, key, plan, row, sees_open, stores, told};

/// Rows with many equal and many absent values.
fn tickets(schema: &Schema) -> Vec<Vec<Cell>> {
    (0..60_i64)
        .map(|n| {
            let mut cells = vec![
                ("id", Cell::Text(format!("t{:02}", (n * 37) % 60))),
                (
                    "created_at",
                    Cell::DateTime(datetime!(2026-01-01 0:00 UTC) + Duration::milliseconds(n % 7)),
                ),
                ("version", Cell::Integer(1)),
            ];
            if n % 3 != 0 {
                cells.push(("estimate", Cell::Integer(n % 4)));
            }
            if n % 4 != 0 {
                cells.push(("amount", Cell::Decimal(Decimal::new(n % 5, 2))));
            }
            if n % 5 != 0 {
                cells.push((
                    "subject",
                    Cell::Text(["ä", "B", "a", "b"][n as usize % 4].to_owned()),
                ));
            }
            if n % 2 == 0 {
                cells.push(("score", Cell::Double(0.1 * (n % 6) as f64)));
            }
            cells.push((
                "status",
                Cell::Text(["open", "closed"][n as usize % 2].to_owned()),
            ));
            row(schema, &cells)
        })
        .collect()
}

async fn page(store: &Store, plan: &Plan) -> Vec<Vec<Cell>> {
    let storages: Vec<Storage> = plan
        .fetch_columns()
        .iter()
        .map(|column| column.storage)
        .collect();
    store
        .rows(
            select::page(plan.page(&plan.fetch_columns()), store.db.dialect()),
            storages,
        )
        .await
}

fn counted(plan: &Plan, dialect: Dialect) -> Statement {
    let distinct = plan.distinct.then_some(plan.columns.as_slice());
    select::count(&plan.grant.schema, &plan.rows, distinct, dialect)
}

/// All rows of a query, page by page; the cursor alone carries sort and filter.
async fn walk(store: &Store, query: &Json, limit: usize) -> Vec<Vec<Cell>> {
    let mut request = query.clone();
    request["limit"] = json!(limit);
    let mut all = Vec::new();
    loop {
        let plan = plan(&request).expect("planned");
        let mut rows = page(store, &plan).await;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let positions = plan.cursor_positions();
        let cursor = rows.last().map(|last| {
            let keys: Vec<Cell> = positions
                .iter()
                .map(|position| last[*position].clone())
                .collect();
            plan.next_cursor(&keys)
        });
        all.append(&mut rows);
        assert!(all.len() <= 200, "the walk does not end");
        if !more {
            return all;
        }
        request = json!({"select": query["select"], "distinct": query["distinct"], "cursor": cursor, "limit": limit});
    }
}

#[tokio::test]
async fn every_row_comes_once_and_in_order() {
    let caller = caller();
    let schema = Arc::clone(&caller.grant("ticket").schema);
    for store in stores().await {
        store.fill(&schema, tickets(&schema)).await;
        for order in [
            "id",
            "-id",
            "created_at",
            "-created_at",
            "estimate",
            "-estimate",
            "subject,-estimate",
            "-subject,estimate",
            "-amount,-score",
            "amount,score,subject",
            "estimate,-created_at,subject",
            "-score,amount,-id",
            "status,estimate,-subject,-amount",
        ] {
            let query = json!({"select": ["id"], "orderBy": order});
            let whole = walk(&store, &query, 100).await;
            let ids: BTreeSet<String> = whole.iter().map(|row| format!("{:?}", row[0])).collect();
            assert_eq!((whole.len(), ids.len()), (60, 60), "{order}");
            for limit in [1, 7] {
                assert_eq!(
                    walk(&store, &query, limit).await,
                    whole,
                    "{order} by {limit}"
                );
            }
        }
        let filtered = json!({"select": ["id"], "orderBy": "-estimate", "where": {"status": {"$ne": "closed"}}});
        let whole = walk(&store, &filtered, 100).await;
        assert_eq!(whole.len(), 30);
        assert_eq!(walk(&store, &filtered, 4).await, whole);
    }
}

#[tokio::test]
async fn nulls_are_last_ascending_and_first_descending() {
    let caller = caller();
    let schema = Arc::clone(&caller.grant("ticket").schema);
    for store in stores().await {
        store.fill(&schema, tickets(&schema)).await;
        let rows = walk(
            &store,
            &json!({"select": ["estimate"], "orderBy": "estimate"}),
            9,
        )
        .await;
        let is_null: Vec<bool> = rows.iter().map(|row| row[1].is_null()).collect();
        assert!(is_null.is_sorted() && is_null.contains(&true));
        let rows = walk(
            &store,
            &json!({"select": ["subject"], "orderBy": "-subject"}),
            9,
        )
        .await;
        let texts: Vec<Option<&str>> = rows.iter().map(|row| row[1].as_text()).collect();
        assert_eq!(texts[0], None);
        let texts: Vec<&str> = texts.into_iter().flatten().collect();
        // By bytes.
        assert!(texts.iter().rev().is_sorted(), "{texts:?}");
        assert_eq!(texts[0], "ä");
    }
}

#[tokio::test]
async fn distinct_rows_come_once_and_are_counted() {
    let caller = caller();
    let schema = Arc::clone(&caller.grant("ticket").schema);
    for store in stores().await {
        store.fill(&schema, tickets(&schema)).await;
        let query =
            json!({"select": ["estimate", "status"], "distinct": true, "orderBy": "-estimate"});
        let whole = walk(&store, &query, 100).await;
        let count = store
            .count(counted(&plan(&query).expect("planned"), store.db.dialect()))
            .await;
        assert_eq!(usize::try_from(count), Ok(whole.len()));
        let unique: BTreeSet<String> = whole.iter().map(|row| format!("{row:?}")).collect();
        assert_eq!(unique.len(), whole.len());
        assert_eq!(walk(&store, &query, 2).await, whole);
    }
}

#[tokio::test]
async fn a05_totals_and_pages_hold_only_what_the_caller_sees() {
    let all = caller();
    let schema = Arc::clone(&all.grant("ticket").schema);
    let open = sees_open(&all);
    let caller = all.seeing("ticket", open);
    for store in stores().await {
        store.fill(&schema, tickets(&schema)).await;
        let query =
            body(&json!({"where": {"$not": {"status": "nothing"}}, "offset": 25, "limit": 20}))
                .expect("read");
        let plan = query::plan(query, "ticket", &caller, &key()).expect("planned");
        assert_eq!(store.count(counted(&plan, store.db.dialect())).await, 30);
        assert_eq!(page(&store, &plan).await.len(), 5);
        let dialect = store.db.dialect();
        let grant = caller.grant("ticket");
        let id = std::slice::from_ref(&grant.schema.columns[0]);
        let ids: Vec<String> = (0..60).map(|n| format!("t{n:02}")).collect();
        assert_eq!(
            store
                .rows(
                    select::by_ids(&grant.schema, &grant.rows, &ids, id, dialect),
                    vec![Storage::Text]
                )
                .await
                .len(),
            30
        );
        let seen: usize = {
            let mut seen = 0;
            for one in &ids {
                seen += store
                    .rows(
                        select::by_id(&grant.schema, &grant.rows, one, id, dialect),
                        vec![Storage::Text],
                    )
                    .await
                    .len();
            }
            seen
        };
        assert_eq!(seen, 30);
    }
}

fn cursor_of(request: &Json) -> String {
    let plan = plan(request).expect("planned");
    let cells: Vec<Cell> = plan
        .order
        .iter()
        .map(|order| match order.column.storage {
            Storage::Text => Cell::Text("t01".to_owned()),
            Storage::DateTime => Cell::DateTime(datetime!(2026-01-01 0:00 UTC)),
            _ => Cell::Null,
        })
        .collect();
    plan.next_cursor(&cells)
}

#[test]
fn a_cursor_begins_with_the_id_and_carries_sort_and_filter() {
    let cursor = cursor_of(&json!({"where": {"status": "open"}}));
    let text = String::from_utf8(BASE64.decode(&cursor).expect("base64")).expect("text");
    assert!(
        text.starts_with(
            r#"{"id":"t01","k":["2026-01-01T00:00:00.000Z","t01"],"s":[["created_at","desc"]"#
        ),
        "{text}"
    );
    assert!(text.contains(r#""w":{"status":"open"}"#), "{text}");
    assert!(cursor.starts_with("eyJpZCI6"));
    let next = plan(&json!({"cursor": cursor})).expect("planned");
    assert_eq!(
        next.rows,
        plan(&json!({"where": {"status": "open"}}))
            .expect("planned")
            .rows
    );
    // A cursor of a cursor's page goes on with the same.
    let keys = next.after.clone().expect("after");
    let again = plan(&json!({"cursor": next.next_cursor(&keys)})).expect("planned");
    assert_eq!(again.rows, next.rows);
}

#[test]
fn a17_cursors_are_bound_to_query_and_caller() {
    let request = json!({"where": {"status": "open"}, "orderBy": "-subject"});
    let cursor = cursor_of(&request);
    let reason = |request: &Json| match plan(request) {
        Ok(_) => "fine".to_owned(),
        Err(error) => told(&error).1,
    };
    assert_eq!(reason(&json!({"cursor": cursor})), "fine");
    assert_eq!(
        reason(&json!({"cursor": cursor, "where": {"status": "open"}, "orderBy": ["-subject"]})),
        "fine"
    );
    assert_eq!(
        reason(&json!({"cursor": cursor, "orderBy": "-subject,-id"})),
        "fine"
    );
    assert_eq!(
        reason(&json!({"cursor": cursor, "orderBy": "subject"})),
        "CURSOR_MISMATCH"
    );
    assert_eq!(
        reason(&json!({"cursor": cursor, "orderBy": "-subject,status"})),
        "CURSOR_MISMATCH"
    );
    assert_eq!(
        reason(&json!({"cursor": cursor, "where": {"status": "closed"}})),
        "CURSOR_MISMATCH"
    );
    assert_eq!(
        reason(&json!({"cursor": cursor, "where": {}})),
        "CURSOR_MISMATCH"
    );
    // Edited, truncated, made up.
    let bytes = BASE64.decode(&cursor).expect("base64");
    for index in 0..bytes.len() {
        let mut edited = bytes.clone();
        edited[index] ^= 1;
        assert_eq!(
            reason(&json!({"cursor": BASE64.encode(&edited)})),
            "INVALID_CURSOR",
            "{index}"
        );
    }
    for bad in [
        &cursor[..cursor.len() - 1],
        &cursor[..10],
        "x",
        "eyJpZCI6MX0",
        "é",
        &format!("{cursor}="),
    ] {
        assert_eq!(reason(&json!({"cursor": bad})), "INVALID_CURSOR", "{bad}");
    }
    // Another user, organisation, key, object.
    let with = |caller: &super::fixture::Caller, object: &str, key: &query::CursorKey| {
        let query = query::from_body(object, json!({"cursor": cursor}).to_string().as_bytes())
            .expect("read");
        match query::plan(query, object, caller, key) {
            Ok(_) => "fine".to_owned(),
            Err(error) => told(&error).1,
        }
    };
    let mut other = caller();
    other.user = "u2";
    assert_eq!(with(&other, "ticket", &key()), "INVALID_CURSOR");
    let mut other = caller();
    other.organization = "o2";
    assert_eq!(with(&other, "ticket", &key()), "INVALID_CURSOR");
    assert_eq!(
        with(&caller(), "ticket", &query::CursorKey::new([8; 32])),
        "INVALID_CURSOR"
    );
    assert_eq!(with(&caller(), "account", &key()), "CURSOR_MISMATCH");
}

#[test]
fn a_long_filter_must_be_repeated() {
    let long = json!({"subject": "x".repeat(3_000)});
    let cursor = cursor_of(&json!({"where": long}));
    assert_eq!(
        told(&plan(&json!({"cursor": cursor})).expect_err("missing")).1,
        "CURSOR_MISMATCH"
    );
    assert!(plan(&json!({"cursor": cursor, "where": long})).is_ok());
}

#[test]
fn a_cursor_does_not_carry_rights() {
    let cursor = cursor_of(&json!({"where": {"status": "closed"}}));
    let all = caller();
    let open = sees_open(&all);
    let narrowed = all.seeing("ticket", open.clone());
    let query = body(&json!({"cursor": cursor})).expect("read");
    let plan = query::plan(query, "ticket", &narrowed, &key()).expect("planned");
    assert!(format!("{:?}", plan.rows).contains(&format!("{open:?}")));
}
