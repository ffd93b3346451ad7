//! The durable queue, on both databases.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use db::{
    BoxFuture, Db, DbError, Statement, Tx,
    queue::{
        Backoff, Handled, Job, MIGRATION_SQL, NewJob, Queue, Slots, Worker, finish_in, hold_in,
        push, push_again, push_claimed, put_off_in,
    },
    watched::{Failing, Watched},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::bed::{Bed, count, soon};

const KIND: &str = "greet";

fn worker(queue: &Queue) -> Worker {
    Worker {
        kind: KIND,
        queue: queue.clone(),
        slots: Slots::new(4),
        term: Duration::from_secs(1),
        look: Duration::from_millis(50),
        backoff: Backoff {
            first: Duration::from_millis(1),
            factor: 1.0,
            longest: Duration::from_millis(1),
            attempts: 3,
        },
    }
}

async fn queue(bed: &Bed) -> Queue {
    bed.batch(MIGRATION_SQL).await;
    Queue::new(bed.db.clone())
}

async fn claim_one(queue: &Queue) -> Option<Job> {
    let claimed = queue.claim(KIND, 1, Duration::from_secs(60)).await;
    claimed.unwrap().pop()
}

/// Runs a worker in a task, until the token says otherwise.
fn spawn<F>(
    tasks: &TaskTracker,
    worker: Worker,
    handle: impl Fn(Job) -> F + Send + Sync + 'static,
) -> CancellationToken
where
    F: Future<Output = Handled> + Send + 'static,
{
    let stop = CancellationToken::new();
    let (stopping, watched) = (stop.clone(), Watched::new("queue", Failing::default()));
    tasks.spawn(async move { worker.run(&stopping, watched, handle).await });
    stop
}

pub(crate) async fn a_job_is_claimed_by_one_and_gone_when_it_is_done(bed: &Bed) {
    let queue = queue(bed).await;
    assert!(queue.push(NewJob::new(KIND, "a", "hello")).await.unwrap());
    assert!(!queue.push(NewJob::new(KIND, "a", "again")).await.unwrap());
    assert!(queue.push(NewJob::new("other", "a", "")).await.unwrap());
    let later = bed.db.clock_ms().await.unwrap() + 3_600_000;
    let job = NewJob::new(KIND, "later", "").due_at(later);
    assert!(queue.push(job).await.unwrap());

    let job = claim_one(&queue).await.unwrap();
    assert_eq!((&*job.key, &*job.payload, job.attempt), ("a", "hello", 1));
    assert_eq!(claim_one(&queue).await, None);
    assert!(queue.renew(&job, Duration::from_secs(60)).await.unwrap());
    assert!(queue.finish(&job).await.unwrap());
    assert!(!queue.finish(&job).await.unwrap());
    assert_eq!(queue.backlog(KIND).await.unwrap(), (1, 0));
}

pub(crate) async fn a_claim_that_was_lost_changes_nothing(bed: &Bed) {
    let queue = queue(bed).await;
    queue.push(NewJob::new(KIND, "a", "")).await.unwrap();
    let old = queue.claim(KIND, 1, Duration::ZERO).await.unwrap();
    // Its term is over at once.
    let new = claim_one(&queue).await.unwrap();
    assert_eq!(new.attempt, 2);
    let (old, minute) = (&old[0], Duration::from_secs(60));
    assert!(!queue.renew(old, minute).await.unwrap());
    assert!(!queue.retry(old, minute, 1, "late").await.unwrap());
    assert!(!queue.bury(old, "late").await.unwrap());
    assert!(!queue.finish(old).await.unwrap());
    assert!(queue.release(&new).await.unwrap());
    let again = claim_one(&queue).await.unwrap();
    assert_eq!(again.attempt, 2, "what was let go was no attempt");
    assert!(queue.finish(&again).await.unwrap());
}

/// Does something to a job in a transaction of its own.
macro_rules! in_tx {
    ($bed:expr, $job:expr, |$tx:ident, $held:ident| $call:expr) => {{
        let job = $job.clone();
        let done = $bed.db.write::<_, DbError, _>(move |$tx| {
            let $held = job.clone();
            Box::pin(async move { $call.await })
        });
        done.await.unwrap()
    }};
}

pub(crate) async fn a_job_is_claimed_held_and_put_off_in_transactions(bed: &Bed) {
    let queue = queue(bed).await;
    let minute = Duration::from_secs(60);
    let new = NewJob::new(KIND, "a", "one");
    let job = in_tx!(bed, new, |tx, new| push_claimed(tx, &new, minute)).unwrap();
    assert_eq!((&*job.payload, job.attempt), ("one", 1));
    assert_eq!(claim_one(&queue).await, None, "nobody else sees it");
    let second = in_tx!(bed, new, |tx, new| push_claimed(tx, &new, minute));
    assert_eq!(second, None, "its key is there");

    assert!(in_tx!(bed, job, |tx, job| hold_in(tx, &job, false)));
    bed.batch("UPDATE om_queue SET due_ms = 0").await;
    let again = claim_one(&queue).await.unwrap();
    assert_eq!(again.attempt, 2);
    assert!(!in_tx!(bed, job, |tx, lost| hold_in(tx, &lost, true)));
    assert!(!in_tx!(bed, job, |tx, lost| put_off_in(tx, &lost, minute)));
    // A claim that came further counts its attempts anew.
    assert!(in_tx!(bed, again, |tx, job| hold_in(tx, &job, true)));
    bed.batch("UPDATE om_queue SET due_ms = 0").await;
    let third = claim_one(&queue).await.unwrap();
    assert_eq!(third.attempt, 1);
    assert!(in_tx!(bed, third, |tx, job| put_off_in(
        tx,
        &job,
        Duration::ZERO
    )));
    assert!(!queue.finish(&third).await.unwrap(), "it was let go of");
    let fourth = claim_one(&queue).await.unwrap();
    assert_eq!(fourth.attempt, 1);

    // What is pushed again is another job under the same key.
    let newer = NewJob::new(KIND, "a", "two");
    in_tx!(bed, newer, |tx, new| push_again(tx, &new));
    assert!(
        !queue.finish(&fourth).await.unwrap(),
        "that was the older one"
    );
    let job = claim_one(&queue).await.unwrap();
    assert_eq!((&*job.payload, job.attempt), ("two", 1));
    assert!(queue.bury(&job, "no").await.unwrap());
    in_tx!(bed, newer, |tx, new| push_again(tx, &new));
    assert!(queue.dead_letters(KIND, 9).await.unwrap().is_empty());
    let job = claim_one(&queue).await.unwrap();
    assert!(queue.finish(&job).await.unwrap());

    // What was done by whoever pushed it is struck; what failed there is due sooner.
    let later = bed.db.clock_ms().await.unwrap() + 3_600_000;
    for key in ["done", "failed", "waiting"] {
        let job = NewJob::new(KIND, key, "").due_at(later);
        queue.push(job).await.unwrap();
    }
    queue.strike(KIND, vec!["done".to_owned()]).await.unwrap();
    queue.hasten(KIND, "failed", Duration::ZERO).await.unwrap();
    assert_eq!(queue.backlog(KIND).await.unwrap().0, 2);
    assert_eq!(claim_one(&queue).await.unwrap().key, "failed");
    assert_eq!(claim_one(&queue).await, None);
}

pub(crate) async fn long_work_keeps_its_claim_and_ends_when_it_is_lost(bed: &Bed) {
    let queue = queue(bed).await;
    let tasks = TaskTracker::new();
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let worker = Worker {
        term: Duration::from_millis(150),
        ..worker(&queue)
    };
    let slots = worker.slots.clone();
    let stop = spawn(&tasks, worker, move |job| {
        let _sent = begun.send(job.attempt);
        std::future::pending()
    });
    queue.push(NewJob::new(KIND, "a", "")).await.unwrap();
    assert_eq!(soon(begins.recv()).await, Some(1));
    // Several terms on, nobody else has it.
    let renewed = async {
        let sql = "SELECT max(due_ms) FROM om_queue";
        let first: i64 = bed.db.query_one(sql, |row| row.req_int(0)).await.unwrap();
        loop {
            let now: i64 = bed.db.query_one(sql, |row| row.req_int(0)).await.unwrap();
            if now > first + 450 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(renewed).await;
    assert!(begins.try_recv().is_err(), "it is still the first attempt");
    let ending = slots.ending("a").unwrap();
    bed.batch("DELETE FROM om_queue").await;
    soon(ending).await;
    stop.cancel();
    tasks.close();
    soon(tasks.wait()).await;
}

pub(crate) async fn a_job_that_is_put_off_is_done_when_it_is_due(bed: &Bed) {
    let queue = queue(bed).await;
    let tasks = TaskTracker::new();
    let worker = Worker {
        // Nobody looks by itself as long as the test lasts.
        look: Duration::from_secs(3600),
        ..worker(&queue)
    };
    let stop = spawn(&tasks, worker, |job| async move {
        match job.payload.as_str() {
            "twice" if job.attempt == 1 => Handled::Failed("once".to_owned()),
            _ => Handled::Done,
        }
    });
    queue.push(NewJob::new(KIND, "a", "twice")).await.unwrap();
    soon(async {
        while bed.count("om_queue").await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    stop.cancel();
    tasks.close();
    soon(tasks.wait()).await;
}

pub(crate) async fn what_fails_is_tried_again_then_kept_as_a_dead_letter(bed: &Bed) {
    let queue = queue(bed).await;
    let (tasks, tries) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&tries);
    let stop = spawn(&tasks, worker(&queue), move |job| {
        let tried = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match (job.payload.as_str(), tried) {
                ("panic", _) => panic!("on purpose"),
                ("never", _) => Handled::Dead("never".to_owned()),
                // Waiting is no attempt.
                ("work", 0..5) => Handled::Later(Duration::ZERO, "not yet".to_owned()),
                _ => Handled::Failed(format!("no {}", job.attempt)),
            }
        }
    });
    queue.push(NewJob::new(KIND, "a", "work")).await.unwrap();
    let dead = soon(dead_letter(&queue)).await;
    assert_eq!((dead.attempts, &*dead.error), (3, "no 3"));
    assert_eq!(tries.load(Ordering::SeqCst), 5 + 3);
    assert!(queue.revive(&dead.id).await.unwrap());
    assert!(!queue.revive("nobody").await.unwrap());
    let dead = soon(dead_letter(&queue)).await;
    assert_eq!((dead.attempts, tries.load(Ordering::SeqCst)), (3, 11));
    bed.batch("DELETE FROM om_queue").await;

    queue.push(NewJob::new(KIND, "b", "never")).await.unwrap();
    let dead = soon(dead_letter(&queue)).await;
    assert_eq!((dead.attempts, &*dead.error), (1, "never"));
    bed.batch("DELETE FROM om_queue").await;

    // A worker that panics has its job end, too.
    let short = Worker {
        term: Duration::from_millis(50),
        ..worker(&queue)
    };
    stop.cancel();
    let stop = spawn(&tasks, short, |_| async { panic!("on purpose") });
    queue.push(NewJob::new(KIND, "c", "")).await.unwrap();
    let dead = soon(dead_letter(&queue)).await;
    assert!(dead.error.contains("No end after 3"), "{dead:?}");
    stop.cancel();
    tasks.close();
    soon(tasks.wait()).await;
}

async fn dead_letter(queue: &Queue) -> db::queue::DeadLetter {
    loop {
        let mut dead = queue.dead_letters(KIND, 10).await.unwrap();
        if let Some(dead) = dead.pop() {
            return dead;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Notes in the transaction that ends a job that it was done.
fn note_and_finish(
    job: Job,
) -> impl for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<(), DbError>> + Send {
    move |tx| {
        let job = job.clone();
        Box::pin(async move {
            if finish_in(tx, &job).await? {
                let note = Statement::new("INSERT INTO done (queue_key) VALUES ($1)");
                tx.execute(note.bind(&job.key)).await?;
            }
            Ok(())
        })
    }
}

pub(crate) async fn ten_workers_that_are_killed_do_each_job_once(bed: &Bed) {
    const JOBS: usize = 300;
    let queue = queue(bed).await;
    bed.batch("CREATE TABLE done (queue_key TEXT NOT NULL)")
        .await;
    let pushed = bed.db.write::<_, DbError, _>(|tx| {
        Box::pin(async move {
            for number in 0..JOBS {
                push(tx, &NewJob::new(KIND, format!("{number}"), "")).await?;
            }
            Ok(())
        })
    });
    pushed.await.unwrap();
    let begin = |killed: bool| {
        let (db, queue) = (bed.db.clone(), queue.clone());
        let handle = move |job: Job| {
            let db: Db = db.clone();
            async move {
                // A kill is sure to come in the middle of some.
                tokio::time::sleep(Duration::from_millis(2)).await;
                match db.write(note_and_finish(job)).await {
                    Ok(()) => Handled::Kept,
                    Err(error) => Handled::Failed(error.to_string()),
                }
            }
        };
        let worker = Worker {
            term: Duration::from_millis(300),
            backoff: Backoff {
                attempts: 1000,
                ..worker(&queue).backoff
            },
            ..worker(&queue)
        };
        async move {
            let stop = CancellationToken::new();
            let work = worker.run(&stop, Watched::new("queue", Failing::default()), handle);
            match killed {
                // Dropped where it stands, with all that it has claimed.
                true => drop(tokio::time::timeout(Duration::from_millis(40), work).await),
                false => work.await,
            }
        }
    };
    let killed = async {
        for _ in 0..5 {
            futures::future::join_all((0..8).map(|_| begin(true))).await;
        }
    };
    let all_done = async {
        while count(&bed.db, "done").await < JOBS as i64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(async {
        tokio::select! {
            ((), _) = async { futures::join!(killed, futures::future::join_all((0..2).map(|_| begin(false)))) } => {}
            () = all_done => {}
        }
    })
    .await;
    let rows = bed.db.query("SELECT queue_key FROM done", |row| {
        Ok(row.req_text(0)?.to_owned())
    });
    let mut times = BTreeMap::new();
    for key in rows.await.unwrap() {
        *times.entry(key).or_insert(0) += 1;
    }
    assert_eq!(times.len(), JOBS);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    assert_eq!(count(&bed.db, "om_queue").await, 0);
}

pub(crate) async fn claims_scan_an_index_however_much_is_due(bed: &Bed) {
    let queue = queue(bed).await;
    let filled = bed.db.write::<_, DbError, _>(|tx| {
        Box::pin(async move {
            for number in 0..10_000_i64 {
                let row = Statement::new(
                    "INSERT INTO om_queue (id, kind, queue_key, payload, due_ms, attempt, fence, \
                     created_at_ms) VALUES ($1, $2, $1, '', $3, 0, 0, 0)",
                );
                let kind = ["greet", "mail", "webhook"][usize::try_from(number).unwrap() % 3];
                let row = row.bind(format!("{number}")).bind(kind).bind(number);
                tx.execute(row).await?;
            }
            Ok(())
        })
    });
    filled.await.unwrap();
    bed.batch("ANALYZE om_queue").await;
    let explain = match bed.is_sqlite() {
        true => "EXPLAIN QUERY PLAN",
        false => "EXPLAIN",
    };
    let sql = format!(
        "{explain} SELECT id, queue_key, payload, attempt, fence FROM om_queue \
         WHERE kind = 'greet' AND dead_at_ms IS NULL AND due_ms <= 9999999 ORDER BY due_ms LIMIT 8"
    );
    let column = if bed.is_sqlite() { 3 } else { 0 };
    let plan = bed
        .db
        .query(sql, move |row| Ok(row.req_text(column)?.to_owned()));
    let plan = plan.await.unwrap().join("\n");
    assert!(plan.contains("om_queue_due"), "{plan}");
    assert!(
        !plan.contains("Sort") && !plan.contains("TEMP B-TREE"),
        "{plan}"
    );
    let jobs = queue.claim(KIND, 8, Duration::from_secs(60)).await.unwrap();
    let keys: Vec<_> = jobs.iter().map(|job| job.key.as_str()).collect();
    assert_eq!(keys, ["0", "3", "6", "9", "12", "15", "18", "21"]);
}
