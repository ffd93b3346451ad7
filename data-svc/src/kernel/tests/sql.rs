//! The SQL of plans, in both dialects.

use crate::kernel::store::select;
use mesh::db::{Dialect, Statement, Value};
use serde_json::{Value as Json, json};

use super::fixture::{caller, plan};

/// The SQL with `cols` for the list of columns.
fn sql(query: &Json, dialect: Dialect) -> (String, Vec<Value>) {
    let plan = plan(query).expect("planned");
    let statement = select::page(plan.page(&plan.fetch_columns()), dialect);
    (statement.sql.into_owned(), statement.args)
}

fn wheres(filter: &Json) -> [String; 2] {
    [Dialect::Postgres, Dialect::Sqlite].map(|dialect| {
        let (sql, _) = sql(
            &json!({"select": ["id"], "where": filter, "orderBy": "id"}),
            dialect,
        );
        let (_, rest) = sql.split_once(" WHERE ").expect("WHERE");
        rest.split(" ORDER BY ")
            .next()
            .unwrap_or_default()
            .to_owned()
    })
}

#[test]
fn the_usual_page_is_plainly_indexable() {
    let query = json!({"select": ["subject"], "where": {"status": "open"}, "orderBy": "-created_at", "limit": 20});
    let (postgres, args) = sql(&query, Dialect::Postgres);
    assert_eq!(
        postgres,
        r#"SELECT "_t"."id", "_t"."subject", "_t"."created_at" FROM "ticket" AS "_t" WHERE "_t"."status" = $1 ORDER BY "_t"."created_at" DESC, "_t"."id" DESC LIMIT $2"#
    );
    assert_eq!(
        args,
        [Value::Text(Some("open".to_owned())), Value::Int(Some(21))]
    );
    let (sqlite, _) = sql(&query, Dialect::Sqlite);
    assert_eq!(
        sqlite,
        r#"SELECT "_t"."id", "_t"."subject", "_t"."created_at" FROM "ticket" AS "_t" WHERE "_t"."status" = ? ORDER BY "_t"."created_at" DESC, "_t"."id" DESC LIMIT ?"#
    );
}

#[test]
fn conditions_in_both_dialects() {
    for (filter, postgres, sqlite) in [
        (
            json!({"status": {"$ne": "x"}}),
            r#"NOT COALESCE("_t"."status" = $1, FALSE)"#,
            r#"NOT COALESCE("_t"."status" = ?, FALSE)"#,
        ),
        (
            json!({"status": {"$in": ["a", "b"]}}),
            r#""_t"."status" = ANY($1)"#,
            r#""_t"."status" IN (SELECT value FROM json_each(?))"#,
        ),
        (
            json!({"subject": {"$contains": "A%"}}),
            r#"lower("_t"."subject" COLLATE "C") LIKE $1 ESCAPE '!'"#,
            r#"instr(lower("_t"."subject"), ?) > 0"#,
        ),
        (
            json!({"subject": {"$startsWith": "ab"}}),
            r#""_t"."subject" >= $1 AND "_t"."subject" < $2"#,
            r#""_t"."subject" >= ? AND "_t"."subject" < ?"#,
        ),
        (
            json!({"account.industry": "it"}),
            r#"EXISTS(SELECT 1 FROM "account" AS "_r1" WHERE "_r1"."id" = "_t"."account" AND "_r1"."industry" = $1)"#,
            r#"EXISTS(SELECT 1 FROM "account" AS "_r1" WHERE "_r1"."id" = "_t"."account" AND "_r1"."industry" = ?)"#,
        ),
        (
            json!({"$or": [{"status": "x"}, {"$not": {"urgent": true, "subject": null}}]}),
            r#""_t"."status" = $1 OR (NOT (COALESCE("_t"."urgent" = $2, FALSE) AND "_t"."subject" IS NULL))"#,
            r#""_t"."status" = ? OR (NOT (COALESCE("_t"."urgent" = ?, FALSE) AND "_t"."subject" IS NULL))"#,
        ),
        (
            json!({"tags": "a"}),
            r#""_t"."tags" @> jsonb_build_array(CAST($1 AS text))"#,
            r#"EXISTS (SELECT 1 FROM json_each("_t"."tags") AS m WHERE m.value = ?)"#,
        ),
    ] {
        let [actual_postgres, actual_sqlite] = wheres(&filter);
        assert_eq!(actual_postgres, postgres, "{filter}");
        assert_eq!(actual_sqlite, sqlite, "{filter}");
    }
}

#[test]
fn currency_is_scaled_on_sqlite_only() {
    let query = json!({"where": {"amount": {"$gte": "12.34"}}, "orderBy": "id"});
    assert_eq!(sql(&query, Dialect::Sqlite).1[0], Value::Int(Some(1234)));
    assert_eq!(
        sql(&query, Dialect::Postgres).1[0],
        Value::Decimal("12.34".parse().ok())
    );
}

#[test]
fn a22_user_text_is_never_in_the_sql() {
    let evil = "'; DROP TABLE ticket; --";
    let query = json!({"where": {"$or": [{"subject": evil}, {"subject": {"$contains": evil}}, {"subject": {"$like": evil}},
        {"tags": evil}, {"meta.color": evil}, {"account.name": {"$endsWith": evil}}]}});
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        assert!(!sql(&query, dialect).0.contains("DROP"));
    }
}

#[test]
fn batches_are_one_placeholder() {
    let grant = caller().grant("account");
    let ids = ["a".to_owned(), "b".to_owned()];
    let columns = &grant.schema.columns[..2];
    let Statement { sql, args, .. } =
        select::by_ids(&grant.schema, &grant.rows, &ids, columns, Dialect::Postgres);
    assert_eq!(
        sql,
        r#"SELECT "_t"."id", "_t"."name" FROM "account" AS "_t" WHERE "_t"."id" = ANY($1)"#
    );
    assert_eq!(args, [Value::TextArray(ids.to_vec())]);
}

#[test]
fn nullable_keys_page_by_branches_and_never_by_or() {
    let first = plan(&json!({"select": ["id"], "orderBy": "due_on", "limit": 2})).expect("planned");
    let cursor = first.next_cursor(&[
        crate::kernel::model::cell::Cell::Date(time::macros::date!(2026 - 01 - 01)),
        crate::kernel::model::cell::Cell::Text("x".to_owned()),
    ]);
    let (sql, _) = sql(
        &json!({"select": ["id"], "cursor": cursor, "limit": 2}),
        Dialect::Sqlite,
    );
    assert!(!sql.contains(" OR "), "{sql}");
    assert!(
        sql.contains(r#"("_t"."due_on", "_t"."id") > (?, ?)"#),
        "{sql}"
    );
    assert_eq!(sql.matches("UNION ALL").count(), 1, "{sql}");
}
