//! Writing: what is acknowledged is there, what failed left nothing, and nobody pays for others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use db::{DbError, Dialect, Statement, Tx};
use futures::future::join_all;
use tokio::sync::{Barrier, oneshot};

use crate::bed::{Bed, ENDLESS, count, insert, soon};

const UNIQUE: &str = "CREATE TABLE t (n BIGINT PRIMARY KEY)";

async fn add(tx: &mut Tx, n: i64) -> Result<u64, DbError> {
    tx.execute(Statement::new("INSERT INTO t (n) VALUES ($1)").bind(n))
        .await
}

/// The numbers in `t`.
async fn numbers(bed: &Bed) -> Vec<i64> {
    bed.db
        .query("SELECT n FROM t ORDER BY n", |row| row.req_int(0))
        .await
        .unwrap()
}

pub(crate) async fn a_failed_nested_part_is_undone_alone(bed: &Bed) {
    bed.batch(UNIQUE).await;
    let written = bed.db.write(|tx| {
        Box::pin(async move {
            add(tx, 1).await?;
            let refused = tx
                .nested(|tx| {
                    Box::pin(async move {
                        add(tx, 2).await?;
                        // A part within the part that succeeds goes with it.
                        tx.nested(|tx| Box::pin(async move { add(tx, 3).await }))
                            .await?;
                        add(tx, 1).await
                    })
                })
                .await;
            assert!(
                matches!(refused, Err(DbError::Unique { .. })),
                "{refused:?}"
            );
            let done = tx
                .nested(|tx| Box::pin(async move { add(tx, 4).await }))
                .await;
            assert_eq!(done?, 1);
            let own = tx
                .nested(|tx| {
                    Box::pin(async move {
                        add(tx, 5).await?;
                        Err::<(), _>(DbError::NoRow)
                    })
                })
                .await;
            assert!(matches!(own, Err(DbError::NoRow)));
            add(tx, 6).await
        })
    });
    assert_eq!(written.await.unwrap(), 1);
    assert_eq!(numbers(bed).await, [1, 4, 6]);
}

pub(crate) async fn a_swallowed_refusal_is_not_committed(bed: &Bed) {
    bed.batch("CREATE TABLE t (n BIGINT PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await;
    let swallowed = bed.db.write(|tx| {
        Box::pin(async move {
            add(tx, 2).await?;
            let _ = add(tx, 1).await;
            Ok::<_, DbError>(())
        })
    });
    let swallowed = swallowed.await;
    assert!(
        matches!(swallowed, Err(DbError::Unique { .. })),
        "{swallowed:?}"
    );
    let nested = bed.db.write(|tx| {
        Box::pin(async move {
            let part = tx.nested(|tx| {
                Box::pin(async move {
                    add(tx, 3).await?;
                    let _ = add(tx, 1).await;
                    // It says so again, rather than PostgreSQL's "transaction is aborted".
                    assert!(matches!(add(tx, 4).await, Err(DbError::Unique { .. })));
                    Ok::<_, DbError>(())
                })
            });
            assert!(matches!(part.await, Err(DbError::Unique { .. })));
            add(tx, 5).await
        })
    });
    assert_eq!(nested.await.unwrap(), 1);
    assert_eq!(numbers(bed).await, [1, 5]);
}

pub(crate) async fn parallel_writers_all_commit(bed: &Bed) {
    bed.batch("CREATE TABLE t (n BIGINT PRIMARY KEY); CREATE TABLE c (total BIGINT); INSERT INTO c VALUES (0)")
        .await;
    let writes = (0..64_i64).map(|n| {
        bed.db.write(move |tx| {
            Box::pin(async move {
                tx.execute("UPDATE c SET total = total + 1").await?;
                add(tx, n).await
            })
        })
    });
    for written in soon(join_all(writes)).await {
        assert_eq!(written.unwrap(), 1);
    }
    let total = bed
        .db
        .query_one("SELECT total FROM c", |row| row.req_int(0))
        .await;
    assert_eq!(total.unwrap(), 64);
    assert_eq!(numbers(bed).await, (0..64).collect::<Vec<_>>());
}

pub(crate) async fn a_failing_job_harms_nobody(bed: &Bed) {
    bed.batch("CREATE TABLE t (n BIGINT PRIMARY KEY); INSERT INTO t VALUES (1000)")
        .await;
    // Every third is refused by the database, after a statement that was not.
    let writes = (0..60_i64).map(|n| {
        bed.db.write(move |tx| {
            Box::pin(async move {
                add(tx, n).await?;
                if n % 3 == 0 {
                    add(tx, 1000).await?;
                }
                Ok::<_, DbError>(())
            })
        })
    });
    for (n, written) in soon(join_all(writes)).await.into_iter().enumerate() {
        assert_eq!(written.is_err(), n % 3 == 0, "{n}: {written:?}");
    }
    let expected: Vec<i64> = (0..60).filter(|n| n % 3 != 0).chain([1000]).collect();
    assert_eq!(numbers(bed).await, expected);
}

pub(crate) async fn a_panicking_job_harms_nobody(bed: &Bed) {
    bed.batch(UNIQUE).await;
    let writes = (0..30_i64).map(|n| {
        bed.db.write(move |tx| {
            Box::pin(async move {
                add(tx, n).await?;
                assert!(n % 10 != 5, "on purpose");
                Ok::<_, DbError>(())
            })
        })
    });
    for (n, written) in soon(join_all(writes)).await.into_iter().enumerate() {
        let panicked = matches!(written, Err(DbError::Panicked));
        assert_eq!(panicked, n % 10 == 5, "{n}: {written:?}");
    }
    assert_eq!(numbers(bed).await.len(), 27);
    soon(bed.db.write(insert(100))).await.unwrap();
}

pub(crate) async fn a_stopped_statement_harms_nobody(bed: &Bed) {
    bed.batch(UNIQUE).await;
    let db = bed.with_timeout(Duration::from_millis(300)).await;
    // Stopped while it writes: SQLite then rolls back the whole transaction, which others share.
    let writes = (0..9_i64).map(|n| {
        db.write(move |tx| {
            Box::pin(async move {
                add(tx, n).await?;
                if n == 4 {
                    let sql =
                        format!("INSERT INTO t SELECT n + 10 FROM ({ENDLESS}) AS e WHERE n < 0");
                    tx.execute(sql).await?;
                }
                Ok::<_, DbError>(())
            })
        })
    });
    for (n, written) in soon(join_all(writes)).await.into_iter().enumerate() {
        let stopped = matches!(written, Err(DbError::Timeout));
        assert_eq!(stopped, n == 4, "{n}: {written:?}");
    }
    assert_eq!(numbers(bed).await, [0, 1, 2, 3, 5, 6, 7, 8]);
    db.close().await;
}

pub(crate) async fn a_late_foreign_key_fails_only_its_job(bed: &Bed) {
    bed.batch(
        "CREATE TABLE t (n BIGINT PRIMARY KEY);
         CREATE TABLE r (n BIGINT REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)",
    )
    .await;
    let writes = (0..9_i64).map(|n| {
        bed.db.write(move |tx| {
            Box::pin(async move {
                let refer = Statement::new("INSERT INTO r VALUES ($1)").bind(n);
                tx.execute(refer).await?;
                if n != 4 {
                    add(tx, n).await?;
                }
                Ok::<_, DbError>(())
            })
        })
    });
    for (n, written) in soon(join_all(writes)).await.into_iter().enumerate() {
        let refused = matches!(written, Err(DbError::ForeignKey { .. }));
        assert_eq!(refused, n == 4, "{n}: {written:?}");
    }
    assert_eq!((bed.count("t").await, bed.count("r").await), (8, 8));
}

pub(crate) async fn a_caller_that_leaves_does_not_stop_its_write(bed: &Bed) {
    bed.batch(UNIQUE).await;
    let (began, has_begun) = oneshot::channel();
    let mut once = Some(began);
    let write = bed.db.write(move |tx| {
        let began = once.take();
        Box::pin(async move {
            if let Some(began) = began {
                let _ = began.send(());
            }
            for n in 0..50 {
                add(tx, n).await?;
            }
            Ok::<_, DbError>(())
        })
    });
    tokio::select! {
        biased;
        begun = has_begun => begun.unwrap(),
        _ = write => {}
    }
    // Closing waits for writes that nobody waits for any more.
    let db = bed.open_again().await;
    soon(bed.db.close()).await;
    assert_eq!(count(&db, "t").await, 50);
    db.close().await;
}

pub(crate) async fn two_writes_in_each_others_way_both_succeed(bed: &Bed) {
    bed.batch(
        "CREATE TABLE t (n BIGINT PRIMARY KEY, m BIGINT); INSERT INTO t VALUES (1, 0), (2, 0)",
    )
    .await;
    let (runs, both_hold_one) = (Arc::new(AtomicU32::new(0)), Arc::new(Barrier::new(2)));
    let write = |first: i64, second: i64| {
        let (runs, both_hold_one) = (Arc::clone(&runs), Arc::clone(&both_hold_one));
        bed.db.write(move |tx| {
            let meet = runs.fetch_add(1, Ordering::SeqCst) < 2;
            let both_hold_one = Arc::clone(&both_hold_one);
            Box::pin(async move {
                let bump = |n| Statement::new("UPDATE t SET m = m + 1 WHERE n = $1").bind(n);
                tx.execute(bump(first)).await?;
                // SQLite has one writer, so nobody can be in its way.
                if meet && tx.dialect() == Dialect::Postgres {
                    both_hold_one.wait().await;
                }
                tx.execute(bump(second)).await
            })
        })
    };
    let (one, other) = soon(async { futures::join!(write(1, 2), write(2, 1)) }).await;
    assert_eq!((one.unwrap(), other.unwrap()), (1, 1));
    let sum = bed
        .db
        .query_one("SELECT sum(m) FROM t", |row| row.req_int(0))
        .await;
    assert_eq!(sum.unwrap(), 4);
    let expected = if bed.is_sqlite() { 2 } else { 3 };
    assert_eq!(runs.load(Ordering::SeqCst), expected);
}

pub(crate) async fn execute_counts_rows(bed: &Bed) {
    bed.batch(UNIQUE).await;
    let three = "INSERT INTO t VALUES (1), (2), (3)";
    assert_eq!(bed.db.execute(three).await.unwrap(), 3);
    assert_eq!(
        bed.db
            .execute("UPDATE t SET n = n + 10 WHERE n > 1")
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        bed.db.execute("DELETE FROM t WHERE n = 99").await.unwrap(),
        0
    );
    let returned = bed.db.write(|tx| {
        Box::pin(async move {
            tx.query("DELETE FROM t RETURNING n", |row| row.req_int(0))
                .await
        })
    });
    let mut returned = returned.await.unwrap();
    returned.sort_unstable();
    assert_eq!(returned, [1, 12, 13]);
}

pub(crate) async fn a_changed_table_is_written_at_once(bed: &Bed) {
    bed.batch(UNIQUE).await;
    let runs = Arc::new(AtomicU32::new(0));
    let write = |n: i64| {
        let runs = Arc::clone(&runs);
        bed.db.write(move |tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                let back = Statement::new("INSERT INTO t (n) VALUES ($1) RETURNING *").bind(n);
                tx.query_one(back, |row| Ok(row.len())).await
            })
        })
    };
    for written in join_all((0..40).map(&write)).await {
        assert_eq!(written.unwrap(), 1);
    }
    bed.batch("ALTER TABLE t ADD COLUMN m BIGINT DEFAULT 2")
        .await;
    for written in join_all((40..80).map(&write)).await {
        assert_eq!(written.unwrap(), 2);
    }
    assert_eq!(numbers(bed).await.len(), 80);
}

pub(crate) async fn close_lets_writes_finish(bed: &Bed) {
    bed.batch(UNIQUE).await;
    let db = bed.open_again().await;
    let writes = join_all((0..20).map(|n| db.write(insert(n))));
    let closed = async {
        // Let the writes be handed over first.
        tokio::task::yield_now().await;
        soon(db.close()).await;
    };
    let (written, ()) = futures::join!(writes, closed);
    let acknowledged = written.iter().filter(|written| written.is_ok()).count();
    assert_eq!(bed.count("t").await, i64::try_from(acknowledged).unwrap());
    for refused in written.iter().filter_map(|written| written.as_ref().err()) {
        assert!(matches!(refused, DbError::Unavailable(_)), "{refused:?}");
    }
}
