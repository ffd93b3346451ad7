//! Reading beside others.

use db::{DbError, Dialect};
use futures::future::join_all;
use tokio::{sync::oneshot, task::JoinSet};

use crate::bed::{Bed, count, insert, soon};

const COUNT: &str = "SELECT count(*) FROM t";

pub(crate) async fn a_read_sees_one_snapshot(bed: &Bed) {
    bed.batch("CREATE TABLE t (n BIGINT)").await;
    bed.db.write(insert(1)).await.unwrap();
    let (began, has_begun) = oneshot::channel();
    let (go, may_go) = oneshot::channel::<()>();
    // A job waits for nothing but its transaction. This one does, to let a write pass in its
    // middle: on SQLite it may block the thread that it has for itself.
    let mut once = Some((began, may_go));
    let db = bed.db.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        db.read(move |tx| {
            let (began, may_go) = once.take().unwrap();
            Box::pin(async move {
                let before = tx.query_one(COUNT, |row| row.req_int(0)).await?;
                began.send(()).unwrap();
                match tx.dialect() {
                    Dialect::Sqlite => may_go.blocking_recv().unwrap(),
                    Dialect::Postgres => may_go.await.unwrap(),
                }
                let after = tx.query_one(COUNT, |row| row.req_int(0)).await?;
                Ok::<_, DbError>((before, after))
            })
        })
        .await
    });
    soon(has_begun).await.unwrap();
    soon(bed.db.write(insert(2))).await.unwrap();
    assert_eq!(bed.count("t").await, 2);
    go.send(()).unwrap();
    let read = soon(task.join_next()).await.unwrap().unwrap();
    assert_eq!(read.unwrap(), (1, 1));
}

pub(crate) async fn a_read_cannot_write(bed: &Bed) {
    bed.batch("CREATE TABLE t (n BIGINT)").await;
    let refused = bed.db.read(insert(1)).await;
    // In the words of a database that takes no writes now, which is not told apart.
    let is_read_only = matches!(refused, Err(DbError::Unavailable(_)));
    assert!(is_read_only, "{refused:?}");
    assert_eq!(bed.count("t").await, 0);
}

pub(crate) async fn a_panicking_mapper_costs_nobody_a_connection(bed: &Bed) {
    for _ in 0..20 {
        let db = bed.db.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            db.query("SELECT 1", |_| -> Result<(), _> { panic!("on purpose") })
                .await
        });
        // SQLite's thread turns it into an error; PostgreSQL's mapper runs in the caller's task.
        let ended = task.join_next().await.unwrap();
        assert!(matches!(ended, Err(_) | Ok(Err(DbError::Panicked))));
        let job = bed
            .db
            .read(|_| -> futures::future::BoxFuture<'_, Result<(), DbError>> {
                Box::pin(async { Err(DbError::NoRow) })
            });
        assert!(job.await.is_err());
    }
    soon(bed.db.ping()).await.unwrap();
}

pub(crate) async fn more_readers_than_connections(bed: &Bed) {
    bed.batch("CREATE TABLE t (n BIGINT)").await;
    for n in 0..10 {
        bed.db.write(insert(n)).await.unwrap();
    }
    let counts = soon(join_all((0..200).map(|_| count(&bed.db, "t")))).await;
    assert!(counts.iter().all(|&count| count == 10));
}

pub(crate) async fn a_changed_table_is_read_at_once(bed: &Bed) {
    bed.batch("CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (1)")
        .await;
    // Every connection has prepared it before the table changes.
    let all = "SELECT * FROM t";
    let ask = || bed.db.query_one(all, |row| Ok(row.len()));
    for asked in join_all((0..40).map(|_| ask())).await {
        assert_eq!(asked.unwrap(), 1);
    }
    bed.batch("ALTER TABLE t ADD COLUMN m BIGINT DEFAULT 2")
        .await;
    for asked in join_all((0..40).map(|_| ask())).await {
        assert_eq!(asked.unwrap(), 2);
    }
}
