//! Schemas are brought up to date once, whoever comes first.

use db::{DbError, Migration};

use crate::bed::{Bed, count, soon};

const FIRST: Migration = Migration {
    version: 1,
    name: "create_lead",
    sql: "-- A comment; with a semicolon.
        CREATE TABLE lead (id TEXT PRIMARY KEY, doc JSONB, price NUMERIC, at TIMESTAMPTZ);
        INSERT INTO lead (id) VALUES ('a;b');",
};
const SECOND: Migration = Migration {
    version: 7,
    name: "add_stage",
    sql: "ALTER TABLE lead ADD COLUMN stage TEXT; INSERT INTO lead (id, stage) VALUES ('c', 'new')",
};

pub(crate) async fn run_once_and_only_once(bed: &Bed) {
    bed.db.migrate(&[FIRST]).await.unwrap();
    bed.db.migrate(&[FIRST]).await.unwrap();
    assert_eq!(bed.count("lead").await, 1);
    bed.db.migrate(&[FIRST, SECOND]).await.unwrap();
    // An older process beside a newer one leaves the schema alone.
    bed.db.migrate(&[FIRST]).await.unwrap();
    assert_eq!(bed.count("lead").await, 2);
    let noted =
        "SELECT version, name, applied_at FROM om_migration WHERE version > 0 ORDER BY version";
    let noted = bed
        .db
        .query(noted, |row| {
            row.req_datetime(2)?;
            Ok((row.req_int(0)?, row.req_text(1)?.to_owned()))
        })
        .await;
    let expected = [(1, "create_lead".to_owned()), (7, "add_stage".to_owned())];
    assert_eq!(noted.unwrap(), expected);
    let text = "INSERT INTO lead (id, doc, price) VALUES ('d', '1.0', '0.12345678901234567890')";
    bed.db.execute(text).await.unwrap();
    let row = bed
        .db
        .query_one("SELECT doc, price FROM lead WHERE id = 'd'", |row| {
            Ok((
                row.req_json(0)?.into_owned(),
                row.decimal(1)?.map(|d| d.to_string()),
            ))
        })
        .await
        .unwrap();
    assert_eq!(
        row,
        ("1.0".to_owned(), Some("0.1234567890123456789".to_owned()))
    );
}

pub(crate) async fn an_edited_migration_is_refused(bed: &Bed) {
    bed.db.migrate(&[FIRST]).await.unwrap();
    let edited = Migration {
        sql: "CREATE TABLE lead (id TEXT)",
        ..FIRST
    };
    let refused = bed.db.migrate(&[edited, SECOND]).await;
    assert!(
        matches!(refused, Err(DbError::Migration { version: 1, .. })),
        "{refused:?}"
    );
    let disordered = bed.db.migrate(&[SECOND, FIRST]).await;
    assert!(
        matches!(disordered, Err(DbError::Migration { version: 1, .. })),
        "{disordered:?}"
    );
    assert_eq!(bed.count("lead").await, 1);
}

pub(crate) async fn a_refused_migration_leaves_nothing(bed: &Bed) {
    let broken = Migration {
        version: 2,
        name: "break",
        sql: "CREATE TABLE half (id TEXT); INSERT INTO nowhere VALUES (1)",
    };
    let refused = bed.db.migrate(&[FIRST, broken]).await;
    assert!(
        matches!(refused, Err(DbError::Migration { version: 2, .. })),
        "{refused:?}"
    );
    assert_eq!(bed.count("lead").await, 1);
    assert!(
        bed.db
            .query("SELECT id FROM half", |_| Ok(()))
            .await
            .is_err()
    );
    let mended = Migration {
        sql: "CREATE TABLE half (id TEXT)",
        ..broken
    };
    bed.db.migrate(&[FIRST, mended]).await.unwrap();
    assert_eq!(bed.count("half").await, 0);
}

/// Takes long enough for others to come meanwhile.
const LONG: Migration = Migration {
    version: 9,
    name: "fill_many",
    sql: "CREATE TABLE many AS WITH RECURSIVE c(n) AS (
            SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000
        ) SELECT n FROM c",
};

pub(crate) async fn two_processes_at_once(bed: &Bed) {
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(bed.open_again().await);
    }
    let all = others.iter().map(|db| db.migrate(&[FIRST, SECOND, LONG]));
    for migrated in soon(futures::future::join_all(all)).await {
        migrated.unwrap();
    }
    assert_eq!(bed.count("lead").await, 2);
    assert_eq!(count(&bed.db, "om_migration").await, 4);
    for db in others {
        db.close().await;
    }
}
