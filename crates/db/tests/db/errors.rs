//! What is wrong is told in the same words by both databases.

use std::time::Duration;

use db::{DbError, Statement};

use crate::bed::{Bed, ENDLESS, soon};

const TABLES: &str = "
    CREATE TABLE parent (id BIGINT PRIMARY KEY);
    CREATE TABLE child (
        id BIGINT PRIMARY KEY, org TEXT NOT NULL, email TEXT,
        age BIGINT CONSTRAINT grown CHECK (age >= 18),
        parent BIGINT REFERENCES parent (id),
        CONSTRAINT child_email UNIQUE (org, email)
    );
    CREATE UNIQUE INDEX child_lower ON child (lower(email));
    INSERT INTO child (id, org, email) VALUES (1, 'o', 'secret@x')";

async fn refusal(bed: &Bed, sql: &'static str) -> DbError {
    bed.db.execute(sql).await.unwrap_err()
}

pub(crate) async fn constraints_are_told_apart(bed: &Bed) {
    bed.batch(TABLES).await;

    let error = refusal(bed, "INSERT INTO child (id, org) VALUES (1, 'p')").await;
    assert!(
        matches!(&error, DbError::Unique { columns, .. } if columns == &["id"]),
        "{error:?}"
    );

    let error = refusal(
        bed,
        "INSERT INTO child (id, org, email) VALUES (2, 'o', 'secret@x')",
    )
    .await;
    let told = matches!(&error, DbError::Unique { columns, .. } if columns == &["org", "email"]);
    // Which of two violated indexes is told is the database's choice.
    let other = matches!(&error, DbError::Unique { constraint: Some(c), .. } if c == "child_lower");
    assert!(told || other, "{error:?}");

    let error = refusal(
        bed,
        "INSERT INTO child (id, org, email) VALUES (2, 'p', 'SECRET@x')",
    )
    .await;
    let by_name =
        matches!(&error, DbError::Unique { constraint: Some(c), .. } if c == "child_lower");
    assert!(by_name, "{error:?}");

    let error = refusal(bed, "INSERT INTO child (id) VALUES (2)").await;
    assert!(
        matches!(&error, DbError::NotNull { column: Some(c) } if c == "org"),
        "{error:?}"
    );

    let error = refusal(bed, "INSERT INTO child (id, org, age) VALUES (2, 'p', 17)").await;
    assert!(
        matches!(&error, DbError::Check { constraint: Some(c) } if c == "grown"),
        "{error:?}"
    );

    let error = refusal(
        bed,
        "INSERT INTO child (id, org, parent) VALUES (2, 'p', 9)",
    )
    .await;
    assert!(matches!(&error, DbError::ForeignKey { .. }), "{error:?}");

    let error = refusal(bed, "INSERT INTO nowhere VALUES (1)").await;
    assert!(matches!(&error, DbError::Sql(_)), "{error:?}");
    assert_eq!(bed.count("child").await, 1);
}

pub(crate) async fn wrong_columns_and_missing_rows(bed: &Bed) {
    let asked = bed.db.query_one("SELECT 'x'", |row| row.int(0)).await;
    let expected = "column 0 does not hold an integer";
    assert_eq!(asked.unwrap_err().to_string(), expected);
    let asked = bed
        .db
        .query_one("SELECT 1", |row| row.req_text(1).map(str::to_owned))
        .await;
    assert!(
        matches!(asked, Err(DbError::Decode { column: 1, .. })),
        "{asked:?}"
    );
    let asked = bed.db.query_one("SELECT NULL", |row| row.req_int(0)).await;
    assert!(
        matches!(asked, Err(DbError::Decode { column: 0, .. })),
        "{asked:?}"
    );

    let none = "SELECT 1 WHERE 1 = 2";
    assert!(matches!(
        bed.db.query_one(none, |_| Ok(())).await,
        Err(DbError::NoRow)
    ));
    assert!(bed.db.query_opt(none, |_| Ok(())).await.unwrap().is_none());
    let two = "SELECT 1 UNION SELECT 2 ORDER BY 1";
    assert_eq!(
        bed.db.query_opt(two, |row| row.req_int(0)).await.unwrap(),
        Some(1)
    );
    assert_eq!(
        bed.db.query(two, |row| row.req_int(0)).await.unwrap(),
        [1, 2]
    );
}

pub(crate) async fn a_slow_statement_is_stopped(bed: &Bed) {
    let db = bed.with_timeout(Duration::from_millis(100)).await;
    let sql = format!("SELECT count(*) FROM ({ENDLESS}) AS endless");
    let stopped = soon(db.query_one(sql.clone(), |row| row.int(0))).await;
    assert!(matches!(stopped, Err(DbError::Timeout)), "{stopped:?}");
    let stopped = soon(db.read(move |tx| {
        let sql = Statement::new(sql.clone());
        Box::pin(async move { tx.query_one(sql, |row| row.int(0)).await })
    }))
    .await;
    assert!(matches!(stopped, Err(DbError::Timeout)), "{stopped:?}");
    db.ping().await.unwrap();
    db.close().await;
}

pub(crate) async fn a_closed_database_is_unavailable(bed: &Bed) {
    let db = bed.open_again().await;
    db.ping().await.unwrap();
    soon(db.close()).await;
    soon(db.close()).await;
    assert!(matches!(db.ping().await, Err(DbError::Unavailable(_))));
    let read = db.query("SELECT 1", |_| Ok(())).await;
    assert!(matches!(read, Err(DbError::Unavailable(_))), "{read:?}");
    let written = db.execute("CREATE TABLE late (n BIGINT)").await;
    assert!(
        matches!(written, Err(DbError::Unavailable(_))),
        "{written:?}"
    );
    bed.db.ping().await.unwrap();
}

pub(crate) async fn display_holds_no_values(bed: &Bed) {
    bed.batch(TABLES).await;
    let sqls = [
        "INSERT INTO child (id, org, email) VALUES (2, 'o', 'secret@x')",
        "INSERT INTO child (id, org, email) VALUES (2, NULL, 'secret@x')",
        "SELECT secret FROM child",
        "SELECT CAST('secret' AS BIGINT) / 0 FROM child WHERE id = 'secret'",
    ];
    for sql in sqls {
        let error = bed.db.query(sql, |row| row.int(0)).await.err();
        let shown = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(!shown.contains("secret"), "{shown}");
    }
}
