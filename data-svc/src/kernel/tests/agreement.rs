//! The two evaluators of a predicate, SQL on both databases and the image in memory, give one answer,
//! whatever the predicate and the rows, also where rows of other tables decide.

use std::sync::Arc;

use crate::kernel::{
    access::{Grant, image::Image},
    model::{
        cell::Cell,
        predicate::Predicate,
        schema::{Schema, Storage},
    },
    query,
    store::select,
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};
use time::macros::{date, datetime, time};

use super::fixture::{Store, caller, row, stores};

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            "a",
            "A",
            "ab",
            "aB",
            "a%b",
            "a_b",
            "a!b",
            "a\\b",
            "a*b",
            "[a]",
            "?",
            "ä",
            "Ä",
            "äb",
            "\u{10ffff}",
            "z"
        ])
        .prop_map(str::to_owned),
        "[abAB%_!\\\\*?\\[\\]ä]{0,4}",
    ]
}

fn optional(cell: impl Strategy<Value = Cell> + 'static) -> BoxedStrategy<Cell> {
    prop_oneof![1 => Just(Cell::Null), 3 => cell].boxed()
}

fn rows() -> impl Strategy<Value = Vec<Vec<(&'static str, Cell)>>> {
    let tag = prop::sample::subsequence(vec!["a", "b", "ä"], 0..=3);
    let meta = prop::sample::select(vec![
        "{}",
        "null",
        r#"{"k":"a"}"#,
        r#"{"k":1}"#,
        r#"{"k":1.5}"#,
        r#"{"k":true}"#,
        r#"{"k":false}"#,
        r#"{"k":null}"#,
        r#"{"k":{"l":"a"}}"#,
        "[1]",
    ]);
    let row = (
        optional(texts().prop_map(Cell::Text)),
        optional((-2..3_i64).prop_map(Cell::Integer)),
        optional(prop::sample::select(vec![-1.5, 0.0, 0.1, 1.0, 2.0]).prop_map(Cell::Double)),
        optional((-3..4_i64).prop_map(|n| Cell::Decimal(Decimal::new(n * 50, 2).normalize()))),
        optional(any::<bool>().prop_map(Cell::Boolean)),
        optional(
            prop::sample::select(vec![date!(2026 - 05 - 29), date!(2026 - 05 - 30)])
                .prop_map(Cell::Date),
        ),
        optional(
            prop::sample::select(vec![
                datetime!(2026-05-30 0:00 UTC),
                datetime!(2026-05-30 23:59:59.999 UTC),
                datetime!(2026-05-31 0:00 UTC),
            ])
            .prop_map(Cell::DateTime),
        ),
        optional(prop::sample::select(vec![time!(9:00), time!(9:00:00.5)]).prop_map(Cell::Time)),
        optional(tag.prop_map(|tags| Cell::Json(json!(tags).to_string()))),
        optional(meta.prop_map(|text| Cell::Json(text.to_owned()))),
    );
    let row = row.prop_map(
        |(subject, estimate, score, amount, urgent, due_on, due_at, opens, tags, meta)| {
            vec![
                ("subject", subject),
                ("estimate", estimate),
                ("score", score),
                ("amount", amount),
                ("urgent", urgent),
                ("due_on", due_on),
                ("due_at", due_at),
                ("opens", opens),
                ("tags", tags),
                ("meta", meta),
            ]
        },
    );
    prop::collection::vec(row, 40)
}

fn nullable(value: impl Strategy<Value = Json> + 'static) -> BoxedStrategy<Json> {
    prop_oneof![1 => Just(Json::Null), 5 => value].boxed()
}

fn tests() -> impl Strategy<Value = Json> {
    let comparisons = || prop::sample::select(vec!["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]);
    let text = || texts().prop_map(Json::String);
    let pattern = "[abA%_ä*?]{0,4}(\\\\[%_\\\\a])?".prop_map(Json::String);
    let number = || {
        prop::sample::select(vec![
            json!(-2),
            json!(-1.5),
            json!(0),
            json!(0.1),
            json!(1),
            json!(1.005),
            json!(2),
            json!("0.5"),
        ])
    };
    let day = || {
        prop::sample::select(vec![
            json!("2026-05-29"),
            json!("2026-05-30"),
            json!("2026-05-30T23:59:59.999Z"),
            json!("{tomorrow}"),
            json!("{now}"),
        ])
    };
    let compared = prop_oneof![
        (Just("subject"), nullable(text())),
        (
            prop::sample::select(vec!["estimate", "score", "amount"]),
            nullable(number())
        ),
        (
            prop::sample::select(vec!["due_on", "due_at"]),
            nullable(day())
        ),
        (
            Just("opens"),
            nullable(prop::sample::select(vec![
                json!("09:00"),
                json!("09:00:00.500"),
                json!("08:00")
            ]))
        ),
    ];
    let compared = (compared, comparisons())
        .prop_map(|((field, value), operator)| json!({field: {operator: value}}));
    let listed = prop_oneof![
        (
            Just("subject"),
            prop::collection::vec(nullable(text()), 0..4)
        ),
        (
            prop::sample::select(vec!["estimate", "score", "amount"]),
            prop::collection::vec(nullable(number()), 0..4)
        ),
        (
            prop::sample::select(vec!["due_on", "due_at"]),
            prop::collection::vec(nullable(day()), 0..3)
        ),
        (
            Just("tags"),
            prop::collection::vec(
                nullable(prop::sample::select(vec![
                    json!("a"),
                    json!("b"),
                    json!("c")
                ])),
                0..3
            )
        ),
        (
            Just("meta.k"),
            prop::collection::vec(
                nullable(prop::sample::select(vec![
                    json!("a"),
                    json!(1),
                    json!(1.5),
                    json!(true)
                ])),
                0..3
            )
        ),
    ];
    let listed = (listed, prop::sample::select(vec!["$in", "$nin"]))
        .prop_map(|((field, values), operator)| json!({field: {operator: values}}));
    let between = (
        prop::sample::select(vec!["estimate", "score", "amount"]),
        number(),
        number(),
    )
        .prop_map(|(field, min, max)| json!({field: {"$between": [min, max]}}));
    let matched = (
        prop::sample::select(vec![
            "$contains",
            "$notContains",
            "$startsWith",
            "$endsWith",
            "$icontains",
        ]),
        text(),
    )
        .prop_map(|(operator, value)| json!({"subject": {operator: value}}));
    let patterned = (prop::sample::select(vec!["$like", "$ilike"]), pattern)
        .prop_map(|(operator, value)| json!({"subject": {operator: value}}));
    let all = vec![
        "subject", "estimate", "score", "amount", "urgent", "due_on", "due_at", "opens", "tags",
        "meta", "meta.k", "meta.k.l",
    ];
    let null = (
        prop::sample::select(all),
        prop::sample::select(vec!["$null", "$exists"]),
        any::<bool>(),
    )
        .prop_map(|(field, operator, value)| json!({field: {operator: value}}));
    let fields = (
        comparisons(),
        prop::sample::select(vec![
            ("estimate", "score"),
            ("score", "estimate"),
            ("due_on", "due_on"),
            ("subject", "subject"),
        ]),
    )
        .prop_map(|(operator, (one, two))| json!({one: {operator: {"$field": two}}}));
    let tags = prop_oneof![
        prop::sample::subsequence(vec!["a", "b", "ä"], 0..=3).prop_map(|set| json!({"tags": set})),
        prop::sample::select(vec!["$contains", "$notContains", "$eq", "$ne"])
            .prop_map(|operator| json!({"tags": {operator: "ä"}})),
    ];
    let inside = (
        prop::sample::select(vec!["$eq", "$ne"]),
        nullable(prop::sample::select(vec![
            json!("a"),
            json!(1),
            json!(1.5),
            json!(true),
            json!(false),
        ])),
    )
        .prop_map(|(operator, value)| json!({"meta.k": {operator: value}}));
    let urgent = (
        prop::sample::select(vec!["$eq", "$ne"]),
        nullable(any::<bool>().prop_map(Json::Bool)),
    )
        .prop_map(|(operator, value)| json!({"urgent": {operator: value}}));
    prop_oneof![
        compared, listed, between, matched, patterned, null, fields, tags, inside, urgent
    ]
}

fn filters() -> impl Strategy<Value = Json> {
    tests().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|all| json!({"$and": all})),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|any| json!({"$or": any})),
            inner.prop_map(|one| json!({"$not": one})),
        ]
    })
}

async fn found(store: &Store, predicate: &Predicate) -> Vec<String> {
    let schema = caller().grant("ticket").schema.clone();
    let id = schema.columns[0].clone();
    let ids: Vec<String> = (0..40).map(|n| format!("t{n:02}")).collect();
    let statement = select::by_ids(&schema, predicate, &ids, &[id], store.db.dialect());
    let mut found: Vec<String> = store
        .rows(statement, vec![Storage::Text])
        .await
        .into_iter()
        .filter_map(|row| row[0].as_text().map(str::to_owned))
        .collect();
    found.sort();
    found
}

fn full(schema: &Schema, rows: &[Vec<(&str, Cell)>]) -> Vec<Vec<Cell>> {
    let rows = rows.iter().enumerate().map(|(n, cells)| {
        let mut cells = cells.clone();
        cells.push(("id", Cell::Text(format!("t{n:02}"))));
        row(schema, &cells)
    });
    rows.collect()
}

#[tokio::test]
async fn databases_and_memory_agree_on_every_filter() {
    let caller = caller();
    let grant: Arc<Grant> = caller.grant("ticket");
    let mut runner = TestRunner::deterministic();
    for _ in 0..4 {
        let rows = rows().new_tree(&mut runner).expect("rows").current();
        let rows = full(&grant.schema, &rows);
        for store in stores().await {
            store.fill(&grant.schema, rows.clone()).await;
            for _ in 0..250 {
                let filter = filters().new_tree(&mut runner).expect("filter").current();
                let predicate = query::predicate(&filter, &grant, &caller)
                    .unwrap_or_else(|error| panic!("{filter}: {error:?}"));
                let expected: Vec<String> = rows
                    .iter()
                    .filter(|row| Image::new(&grant.schema, row).fits(&predicate))
                    .filter_map(|row| row[0].as_text().map(str::to_owned))
                    .collect();
                let actual = found(&store, &predicate).await;
                assert_eq!(
                    actual,
                    expected,
                    "{:?} {filter}\n{predicate:?}",
                    store.db.dialect()
                );
                // A negation is the exact complement.
                let complement = found(&store, &!predicate).await;
                assert_eq!(actual.len() + complement.len(), rows.len(), "{filter}");
            }
        }
    }
}

/// Tests of what tickets refer to, one and two objects away, and through a list.
fn related() -> impl Strategy<Value = Json> {
    let industry = || nullable(prop::sample::select(vec![json!("it"), json!("food")]));
    let texts = vec![
        "account.industry",
        "account.parent.industry",
        "watchers.industry",
    ];
    let text = (
        prop::sample::select(texts),
        prop::sample::select(vec!["$eq", "$ne"]),
        industry(),
    );
    let numbers = vec!["account.size", "watchers.size"];
    let number = (
        prop::sample::select(numbers),
        prop::sample::select(vec!["$gt", "$lte", "$ne"]),
        (0..4_i64).prop_map(Json::from).boxed(),
    );
    prop_oneof![text, number].prop_map(|(path, operator, value)| json!({path: {operator: value}}))
}

fn related_filters() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![3 => related(), 1 => tests()];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|all| json!({"$and": all})),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|any| json!({"$or": any})),
            inner.prop_map(|one| json!({"$not": one})),
        ]
    })
}

/// Accounts, some of them with a parent among them.
fn accounts(schema: &Schema) -> Vec<Vec<Cell>> {
    let text = |text: &str| Cell::Text(text.to_owned());
    [
        ("a0", Some("it"), Some(1), None),
        ("a1", Some("food"), None, Some("a0")),
        ("a2", None, Some(3), Some("a1")),
        ("a3", Some("it"), Some(2), Some("gone")),
    ]
    .into_iter()
    .map(|(id, industry, size, parent)| {
        let mut cells = vec![("id", text(id))];
        cells.extend(industry.map(|industry| ("industry", text(industry))));
        cells.extend(size.map(|size| ("size", Cell::Integer(size))));
        cells.extend(parent.map(|parent| ("parent", text(parent))));
        row(schema, &cells)
    })
    .collect()
}

#[tokio::test]
async fn they_agree_also_where_rows_of_other_tables_decide() {
    let caller = caller();
    let (ticket, account) = (caller.grant("ticket"), caller.grant("account"));
    let object = |name: &str| match name {
        "ticket" => Some(&ticket.schema),
        "account" => Some(&account.schema),
        _ => None,
    };
    let mut runner = TestRunner::deterministic();
    let ids = ["a0", "a1", "a2", "a3", "gone"];
    for store in stores().await {
        store.fill(&account.schema, accounts(&account.schema)).await;
        let rows = rows().new_tree(&mut runner).expect("rows").current();
        let rows = rows.into_iter().take(15).enumerate().map(|(n, mut cells)| {
            // Every account, none, one that is gone; lists of none to four.
            cells.extend(
                ids.get(n % 6)
                    .map(|id| ("account", Cell::Text((*id).to_owned()))),
            );
            let watchers = json!(&ids[..n % 5]).to_string();
            cells.push(("watchers", Cell::Json(watchers)));
            cells
        });
        let rows = full(&ticket.schema, &rows.collect::<Vec<_>>());
        store.fill(&ticket.schema, rows.clone()).await;
        for _ in 0..80 {
            let filter = related_filters()
                .new_tree(&mut runner)
                .expect("filter")
                .current();
            let predicate = query::predicate(&filter, &ticket, &caller)
                .unwrap_or_else(|error| panic!("{filter}: {error:?}"));
            let mut expected = Vec::new();
            for row in &rows {
                if query::fits(&store.db, object, &ticket.schema, &predicate, row)
                    .await
                    .expect("an answer")
                {
                    expected.extend(row[0].as_text().map(str::to_owned));
                }
            }
            let actual = found(&store, &predicate).await;
            let dialect = store.db.dialect();
            assert_eq!(actual, expected, "{dialect:?} {filter}\n{predicate:?}");
            // Whoever does not ask the database lets nothing through that it decides.
            for row in &rows {
                let image = Image::new(&ticket.schema, row);
                let is_found = actual.iter().any(|id| row[0].as_text() == Some(id));
                assert!(is_found || !image.fits(&predicate), "{filter}");
            }
        }
    }
}

#[tokio::test]
async fn related_rows_are_found_through_any_lookup() {
    let caller = caller();
    let (ticket, account) = (caller.grant("ticket"), caller.grant("account"));
    let text = |text: &str| Cell::Text(text.to_owned());
    let accounts = [
        row(
            &account.schema,
            &[
                ("id", text("a1")),
                ("industry", text("it")),
                ("size", Cell::Integer(3)),
            ],
        ),
        row(
            &account.schema,
            &[("id", text("a2")), ("parent", text("a1"))],
        ),
    ];
    let tickets = [
        row(
            &ticket.schema,
            &[
                ("id", text("t00")),
                ("account", text("a1")),
                ("watchers", Cell::Json(r#"["a2"]"#.to_owned())),
            ],
        ),
        row(
            &ticket.schema,
            &[
                ("id", text("t01")),
                ("account", text("a2")),
                ("watchers", Cell::Json(r#"["a2","a1"]"#.to_owned())),
            ],
        ),
        row(
            &ticket.schema,
            &[("id", text("t02")), ("account", text("gone"))],
        ),
        row(&ticket.schema, &[("id", text("t03"))]),
    ];
    for store in stores().await {
        store.fill(&account.schema, accounts.to_vec()).await;
        store.fill(&ticket.schema, tickets.to_vec()).await;
        for (filter, expected) in [
            (json!({"account.industry": "it"}), vec!["t00"]),
            (
                json!({"account.industry": {"$ne": "it"}}),
                vec!["t01", "t02", "t03"],
            ),
            (json!({"account.industry": null}), vec!["t01", "t02", "t03"]),
            (json!({"account.parent.industry": "it"}), vec!["t01"]),
            (
                json!({"account": {"size": {"$between": [1, 3]}}}),
                vec!["t00"],
            ),
            (json!({"watchers.industry": "it"}), vec!["t01"]),
            (
                json!({"watchers.industry": {"$ne": "it"}}),
                vec!["t00", "t02", "t03"],
            ),
            (json!({"watchers": "a2"}), vec!["t00", "t01"]),
            (
                json!({"$not": {"account.id": {"$in": ["a1", "a2"]}}}),
                vec!["t02", "t03"],
            ),
        ] {
            let predicate = query::predicate(&filter, &ticket, &caller).expect("planned");
            assert_eq!(found(&store, &predicate).await, expected, "{filter}");
        }
    }
}
