//! One of several processes does a thing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use db::{
    Db, DbError, Migration, Statement,
    lease::{Held, Lease, LeaseError},
};
use tokio_util::sync::CancellationToken;

use crate::bed::{Bed, soon};

const LEASES: Migration = Migration {
    version: 1,
    name: "create_lease",
    sql: db::lease::TABLE,
};
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);

/// Two processes on one database, with a table that the lease protects.
async fn two(bed: &Bed) -> (Db, Db) {
    bed.db.migrate(&[LEASES]).await.unwrap();
    bed.batch("CREATE TABLE t (n BIGINT)").await;
    (bed.db.clone(), bed.open_again().await)
}

/// Writes one row under the lease; false when it is not the holder's any more.
async fn fenced_write(db: &Db, held: &Held) -> bool {
    let held = held.clone();
    let written = db.write::<_, DbError, _>(move |tx| {
        let held = held.clone();
        Box::pin(async move {
            if !held.confirm(tx).await? {
                return Ok(false);
            }
            let row = Statement::new("INSERT INTO t (n) VALUES ($1)").bind(held.fence);
            tx.execute(row).await?;
            Ok(true)
        })
    });
    written.await.unwrap()
}

/// Waits until a claim succeeds.
async fn taken(lease: &Lease) -> Held {
    soon(async {
        loop {
            if let Some(held) = lease.acquire().await.unwrap() {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

pub(crate) async fn one_of_two_holds_it(bed: &Bed) {
    let (db, other_db) = two(bed).await;
    let (first, second) = (
        Lease::new(db.clone(), "job", LONG),
        Lease::new(other_db.clone(), "job", LONG),
    );
    let held = first.acquire().await.unwrap().expect("it is free");
    assert!(held.is_live());
    assert!(second.acquire().await.unwrap().is_none());
    // Another name is another lease.
    let elsewhere = Lease::new(other_db.clone(), "other", LONG);
    assert!(elsewhere.acquire().await.unwrap().is_some());
    // Renewing is no change of holder.
    let renewed = first.acquire().await.unwrap().expect("it is ours");
    assert_eq!(renewed.fence, held.fence);
    assert!(fenced_write(&db, &held).await);
    // Letting go of what another holds changes nothing.
    second.release().await.unwrap();
    assert!(second.acquire().await.unwrap().is_none());
    first.release().await.unwrap();
    assert!(second.acquire().await.unwrap().is_some());
    other_db.close().await;
}

pub(crate) async fn the_fence_rises_with_each_change_of_holder(bed: &Bed) {
    let (db, other_db) = two(bed).await;
    let mut last = 0;
    for turn in 0..6 {
        let at = if turn % 2 == 0 { &db } else { &other_db };
        let lease = Lease::new(at.clone(), "job", LONG);
        let held = lease.acquire().await.unwrap().expect("it is free");
        assert!(held.fence > last, "{} after {last}", held.fence);
        last = held.fence;
        lease.release().await.unwrap();
    }
    other_db.close().await;
}

pub(crate) async fn many_race_and_one_wins(bed: &Bed) {
    let (db, other_db) = two(bed).await;
    let claims = (0..12).map(|n| {
        let at = if n % 2 == 0 { &db } else { &other_db };
        let lease = Lease::new(at.clone(), "job", LONG);
        async move { lease.acquire().await.unwrap().is_some() }
    });
    let winners = soon(futures::future::join_all(claims)).await;
    assert_eq!(winners.into_iter().filter(|won| *won).count(), 1);
    other_db.close().await;
}

pub(crate) async fn a_holder_paused_beyond_its_lease_changes_nothing(bed: &Bed) {
    let (db, other_db) = two(bed).await;
    let paused = Lease::new(db.clone(), "job", SHORT);
    let old = paused.acquire().await.unwrap().expect("it is free");
    // It renews nothing from here on, so another gets it.
    let next = taken(&Lease::new(other_db.clone(), "job", LONG)).await;
    assert!(next.fence > old.fence);
    assert!(!old.is_live());
    assert!(!fenced_write(&db, &old).await);
    assert!(paused.acquire().await.unwrap().is_none());
    assert!(fenced_write(&other_db, &next).await);
    assert_eq!(bed.count("t").await, 1);
    other_db.close().await;
}

pub(crate) async fn work_is_stopped_when_its_lease_is_lost(bed: &Bed) {
    let (db, other_db) = two(bed).await;
    let lease = Lease::new(db.clone(), "job", LONG / 100);
    let stolen = async {
        // As if the term had ended in the database: its clock decides, not ours.
        let end = "UPDATE om_lease SET until_ms = 0 WHERE name = 'job'";
        while other_db.execute(end).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        taken(&Lease::new(other_db.clone(), "job", LONG)).await
    };
    let work = lease.run::<(), LeaseError, _>(LONG, |_| std::future::pending());
    let (done, _) = soon(futures::future::join(work, stolen)).await;
    assert!(matches!(done, Err(LeaseError::Lost(_))), "{done:?}");
    let third = Lease::new(db, "job", LONG);
    let busy = third.run(SHORT, |_| async { Ok::<(), LeaseError>(()) });
    let busy = soon(busy).await;
    assert!(matches!(busy, Err(LeaseError::Busy(_))), "{busy:?}");
    other_db.close().await;
}

pub(crate) async fn another_takes_over(bed: &Bed) {
    let (db, other_db) = two(bed).await;
    let working = Arc::new(AtomicUsize::new(0));
    let mut stops = Vec::new();
    let keepers = tokio_util::task::TaskTracker::new();
    for db in [&db, &other_db] {
        let (stop, working) = (CancellationToken::new(), Arc::clone(&working));
        let watched = db::watched::Watched::new("job", db::watched::Failing::default());
        let lease = Lease::new(db.clone(), "job", LONG);
        stops.push(stop.clone());
        keepers.spawn(async move {
            let work = |_| async {
                let others = working.fetch_add(1, Ordering::SeqCst);
                assert_eq!(others, 0, "two hold the lease");
                let _ended = Ended(&working);
                std::future::pending::<()>().await;
            };
            lease.keep(&stop, watched, work).await;
        });
    }
    let mut fences = Vec::new();
    for stop in stops {
        soon(async {
            while working.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let fence = "SELECT fence FROM om_lease WHERE name = 'job'";
        fences.push(db.query_one(fence, |row| row.req_int(0)).await.unwrap());
        stop.cancel();
    }
    keepers.close();
    soon(keepers.wait()).await;
    assert_eq!(working.load(Ordering::SeqCst), 0);
    other_db.close().await;
}

struct Ended<'a>(&'a AtomicUsize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
