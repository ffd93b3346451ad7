//! What only SQLite has: one writer, its thread, and a file.

use std::{sync::mpsc, time::Duration};

use db::{Db, DbConfig, DbError, Tx};
use futures::future::{BoxFuture, join_all};
use tokio::sync::oneshot;

use crate::bed::{Bed, ENDLESS, count, insert, soon};

/// A job that keeps the writer until told to go on, so that what follows shares its group.
fn hold(
    until: mpsc::Receiver<()>,
) -> impl for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<(), DbError>> + Send {
    move |_| {
        // Told once; run again, it goes on at once.
        let _ = until.recv_timeout(Duration::from_secs(20));
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn jobs_that_wait_share_a_commit() {
    let bed = Bed::sqlite().await;
    bed.batch("CREATE TABLE t (n BIGINT); CREATE TABLE seen (total BIGINT)")
        .await;
    let (go, until) = mpsc::channel();
    let held = bed.db.write(hold(until));
    let writes = join_all((0..100).map(|n| bed.db.write(insert(n))));
    let release = async {
        // Not one of them is visible before the commit they share.
        assert_eq!(count(&bed.db, "t").await, 0);
        go.send(()).unwrap();
    };
    let all = async { futures::join!(held, writes, release) };
    let (held, written, ()) = soon(all).await;
    held.unwrap();
    assert!(written.iter().all(Result::is_ok));
    assert_eq!(bed.count("t").await, 100);
}

#[tokio::test]
async fn a_caller_that_leaves_the_queue_does_not_stop_its_write() {
    let bed = Bed::sqlite().await;
    bed.batch("CREATE TABLE t (n BIGINT)").await;
    let (go, until) = mpsc::channel();
    let mut held = Box::pin(bed.db.write(hold(until)));
    assert!(futures::poll!(&mut held).is_pending());
    {
        let mut left = Box::pin(bed.db.write(insert(1)));
        assert!(futures::poll!(&mut left).is_pending());
    }
    go.send(()).unwrap();
    soon(held).await.unwrap();
    // The queue is in order: when this is done, so is the one before.
    soon(bed.db.write(insert(2))).await.unwrap();
    assert_eq!(bed.count("t").await, 2);
}

#[tokio::test]
async fn a_job_that_waits_for_others_fails() {
    let bed = Bed::sqlite().await;
    bed.batch("CREATE TABLE t (n BIGINT)").await;
    let waiting = bed.db.write(|tx| {
        Box::pin(async move {
            tx.execute("INSERT INTO t VALUES (1)").await?;
            tokio::task::yield_now().await;
            Ok::<_, DbError>(())
        })
    });
    assert!(matches!(soon(waiting).await, Err(DbError::Unfinished)));
    assert_eq!(bed.count("t").await, 0);
    soon(bed.db.write(insert(2))).await.unwrap();
}

#[tokio::test]
async fn a_job_alone_shares_nothing() {
    let bed = Bed::sqlite().await;
    bed.batch("CREATE TABLE t (n BIGINT)").await;
    let (go, until) = mpsc::channel();
    let held = bed.db.write(hold(until));
    let before = bed.db.write(insert(1));
    // Runs behind the commit of those before it, so another connection sees them.
    let path = bed.config.url.strip_prefix("sqlite:").unwrap().to_owned();
    let alone = bed.db.write_alone(move |_| {
        let other = rusqlite::Connection::open(&path).unwrap();
        let seen = other.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
        Box::pin(async move { Ok::<_, DbError>(seen.unwrap()) })
    });
    let release = async { go.send(()).unwrap() };
    let all = async { futures::join!(held, before, alone, release) };
    let (held, before, alone, ()) = soon(all).await;
    held.and(before).unwrap();
    assert_eq!(alone.unwrap(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_stops_its_query() {
    let bed = Bed::sqlite_with(|config| {
        config.readers = 1;
        config.statement_timeout = Duration::from_secs(600);
    })
    .await;
    for in_transaction in [false, true] {
        let (running, is_running) = oneshot::channel();
        let mut once = Some(running);
        let mut map = move |_: &db::Row<'_>| {
            once.take().map(|running| running.send(()));
            Ok(())
        };
        let endless = async {
            if in_transaction {
                let mut map = Some(map);
                let job = bed.db.read(move |tx| {
                    let map = map.take().unwrap();
                    Box::pin(async move { tx.query(ENDLESS, map).await })
                });
                job.await.map(drop)
            } else {
                bed.db.query(ENDLESS, move |row| map(row)).await.map(drop)
            }
        };
        tokio::select! {
            started = is_running => started.unwrap(),
            ended = endless => panic!("{ended:?}"),
        }
        // The only reader is free again, long before the statement's own limit.
        soon(bed.db.ping()).await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_leaves_its_snapshot_behind() {
    let bed = Bed::sqlite_with(|config| config.readers = 1).await;
    bed.batch("CREATE TABLE t (n BIGINT)").await;
    for (n, how) in (1_i64..).zip(["succeeds", "fails", "panics"]) {
        let read = bed.db.read(move |tx| {
            Box::pin(async move {
                let seen = tx
                    .query_one("SELECT count(*) FROM t", |row| row.req_int(0))
                    .await?;
                match how {
                    "succeeds" => Ok(seen),
                    "fails" => Err(DbError::NoRow),
                    _ => panic!("on purpose"),
                }
            })
        });
        let read = soon(read).await;
        assert_eq!(read.is_ok(), how == "succeeds", "{read:?}");
        bed.db.write(insert(n)).await.unwrap();
        assert_eq!(bed.count("t").await, n);
    }
}

#[tokio::test]
async fn a_file_taken_in_the_middle_has_what_was_acknowledged() {
    let bed = Bed::sqlite().await;
    bed.batch("CREATE TABLE t (n BIGINT)").await;
    for n in 0..10 {
        bed.db.write(insert(n)).await.unwrap();
    }
    // What a killed process would leave: the file and its log, not closed.
    let folder = bed.folder.as_ref().unwrap().path();
    for name in ["demand.db", "demand.db-wal"] {
        std::fs::copy(folder.join("made/on").join(name), folder.join(name)).unwrap();
    }
    let copy = format!("sqlite:{}", folder.join("demand.db").display());
    let copy = Db::open(&DbConfig::new(copy)).await.unwrap();
    assert_eq!(count(&copy, "t").await, 10);
}

#[tokio::test]
async fn closing_folds_the_log_into_the_file() {
    let bed = Bed::sqlite().await;
    bed.batch("CREATE TABLE t (n BIGINT)").await;
    bed.db.write(insert(1)).await.unwrap();
    soon(bed.db.close()).await;
    let log = bed
        .folder
        .as_ref()
        .unwrap()
        .path()
        .join("made/on/demand.db-wal");
    assert_eq!(std::fs::metadata(log).map_or(0, |log| log.len()), 0);
    let again = bed.open_again().await;
    assert_eq!(count(&again, "t").await, 1);
}

#[tokio::test]
async fn the_connection_is_set_up_for_durability() {
    let bed = Bed::sqlite().await;
    let settings = bed.db.write(|tx| {
        Box::pin(async move {
            let mut found = Vec::new();
            for pragma in [
                "PRAGMA synchronous",
                "PRAGMA foreign_keys",
                "PRAGMA busy_timeout",
            ] {
                found.push(tx.query_one(pragma, |row| row.req_int(0)).await?);
            }
            let journal = "PRAGMA journal_mode";
            let journal = tx
                .query_one(journal, |row| Ok(row.req_text(0)?.to_owned()))
                .await?;
            Ok::<_, DbError>((found, journal))
        })
    });
    // FULL, on, milliseconds.
    assert_eq!(
        settings.await.unwrap(),
        (vec![2, 1, 5000], "wal".to_owned())
    );
}

#[tokio::test]
async fn only_files_and_servers_are_opened() {
    for url in ["sqlite::memory:", "sqlite:", "mysql://x", ""] {
        let refused = Db::open(&DbConfig::new(url)).await;
        assert!(matches!(refused, Err(DbError::Config(_))), "{url}");
    }
    let shown = format!("{:?}", DbConfig::new("postgres://u:secret@h/d"));
    assert!(!shown.contains("secret"), "{shown}");
    let config = DbConfig {
        schema: Some("a; DROP".to_owned()),
        ..DbConfig::new("postgres://u@127.0.0.1:1/d")
    };
    assert!(matches!(Db::open(&config).await, Err(DbError::Config(_))));
}

/// Turning a new file's log on takes a lock that SQLite does not wait for.
#[tokio::test]
async fn a_new_file_is_opened_by_many_at_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.db");
        let config = DbConfig::new(format!("sqlite:{}", path.display()));
        for opened in soon(join_all((0..12).map(|_| Db::open(&config)))).await {
            opened.unwrap().close().await;
        }
    }
}
