//! The SQL of the queue. No statement that changes rows reads a clock; the order of rows comes from the
//! moments at which they are due.

use std::{collections::HashSet, time::Duration};

use crate::{Db, DbError, Dialect, Row, Statement, Tx};

use super::{DeadLetter, Job, NewJob};

/// The table, as the migrations of each service that has a queue create it. `due_ms` of a claimed row is when
/// its claim ends.
pub const MIGRATION_SQL: &str = "CREATE TABLE om_queue (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    queue_key TEXT NOT NULL,
    payload TEXT NOT NULL,
    due_ms BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    error TEXT,
    dead_at_ms BIGINT,
    created_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX om_queue_key ON om_queue (kind ASC, queue_key ASC);
CREATE INDEX om_queue_due ON om_queue (kind ASC, due_ms ASC) WHERE dead_at_ms IS NULL;
CREATE INDEX om_queue_dead ON om_queue (kind ASC, dead_at_ms ASC) WHERE dead_at_ms IS NOT NULL;";

/// Longest error that is kept, in characters.
const ERROR_MAX: usize = 2_000;

/// Writes a job in the transaction of what asks for it. False when its key is there already. The caller
/// wakes the workers after the commit.
///
/// # Errors
/// Those of the database.
pub async fn push(tx: &mut Tx, job: &NewJob) -> Result<bool, DbError> {
    let now_ms = tx.clock_ms().await?;
    let statement = Statement::new(
        "INSERT INTO om_queue (id, kind, queue_key, payload, due_ms, attempt, fence, created_at_ms) \
         VALUES ($1, $2, $3, $4, $5, 0, 0, $6) ON CONFLICT (kind, queue_key) DO NOTHING",
    )
    .bind(crate::id::new())
    .bind(job.kind)
    .bind(&job.key)
    .bind(&job.payload)
    .bind(if job.due_ms == 0 { now_ms } else { job.due_ms })
    .bind(now_ms);
    Ok(tx.execute(statement).await? > 0)
}

/// Writes a job that this process has claimed for `term` before anybody else sees it, in the transaction of
/// what asks for it. `None` when its key is there already.
///
/// # Errors
/// Those of the database.
pub async fn push_claimed(
    tx: &mut Tx,
    job: &NewJob,
    term: Duration,
) -> Result<Option<Job>, DbError> {
    let now_ms = tx.clock_ms().await?;
    let claimed = Job {
        id: crate::id::new(),
        kind: job.kind.to_owned(),
        key: job.key.clone(),
        payload: job.payload.clone(),
        attempt: 1,
        fence: 1,
    };
    let statement = Statement::new(
        "INSERT INTO om_queue (id, kind, queue_key, payload, due_ms, attempt, fence, created_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (kind, queue_key) DO NOTHING",
    )
    .bind(&claimed.id)
    .bind(job.kind)
    .bind(&job.key)
    .bind(&job.payload)
    .bind(now_ms + milliseconds(term))
    .bind(claimed.attempt)
    .bind(claimed.fence)
    .bind(now_ms);
    Ok((tx.execute(statement).await? > 0).then_some(claimed))
}

/// Writes a job, or has the one of its key begin anew with this payload and due time: whoever works on that
/// one loses it, and a dead letter comes back to life.
///
/// # Errors
/// Those of the database.
pub async fn push_again(tx: &mut Tx, job: &NewJob) -> Result<(), DbError> {
    let now_ms = tx.clock_ms().await?;
    let statement = Statement::new(
        "INSERT INTO om_queue (id, kind, queue_key, payload, due_ms, attempt, fence, created_at_ms) \
         VALUES ($1, $2, $3, $4, $5, 0, 0, $6) ON CONFLICT (kind, queue_key) DO UPDATE SET \
         payload = excluded.payload, due_ms = excluded.due_ms, attempt = 0, \
         fence = om_queue.fence + 1, error = NULL, dead_at_ms = NULL",
    )
    .bind(crate::id::new())
    .bind(job.kind)
    .bind(&job.key)
    .bind(&job.payload)
    .bind(if job.due_ms == 0 { now_ms } else { job.due_ms })
    .bind(now_ms);
    tx.execute(statement).await?;
    Ok(())
}

/// Whether the job is still this claim's, kept so until the transaction ends; `progressed` says that it came
/// further, so that its attempts count anew. False when the claim was lost: then the transaction must change
/// nothing.
///
/// # Errors
/// Those of the database.
pub async fn hold_in(tx: &mut Tx, job: &Job, progressed: bool) -> Result<bool, DbError> {
    let sql = match progressed {
        true => "UPDATE om_queue SET attempt = 0 WHERE id = $1 AND fence = $2",
        false => "UPDATE om_queue SET fence = fence WHERE id = $1 AND fence = $2",
    };
    let statement = Statement::new(sql).bind(&job.id).bind(job.fence);
    Ok(tx.execute(statement).await? > 0)
}

/// Lets go of a job for that long, in the transaction of what it waits for; its attempts count anew from
/// then on. False when the claim was lost: then the transaction must change nothing. The caller has the
/// workers look then ([`Queue::wake_in`](super::Queue::wake_in)), after the commit.
///
/// # Errors
/// Those of the database.
pub async fn put_off_in(tx: &mut Tx, job: &Job, pause: Duration) -> Result<bool, DbError> {
    let due_ms = tx.clock_ms().await? + milliseconds(pause);
    let statement = Statement::new(
        "UPDATE om_queue SET due_ms = $1, attempt = 0, fence = fence + 1 \
         WHERE id = $2 AND fence = $3",
    )
    .bind(due_ms)
    .bind(&job.id)
    .bind(job.fence);
    Ok(tx.execute(statement).await? > 0)
}

/// Ends a job in the transaction of its effect. False when the claim was lost: then the transaction must
/// change nothing.
///
/// # Errors
/// Those of the database.
pub async fn finish_in(tx: &mut Tx, job: &Job) -> Result<bool, DbError> {
    let statement = Statement::new("DELETE FROM om_queue WHERE id = $1 AND fence = $2")
        .bind(&job.id)
        .bind(job.fence);
    Ok(tx.execute(statement).await? > 0)
}

/// Takes a job back in the transaction that makes it pointless, whoever has claimed it.
///
/// # Errors
/// Those of the database.
pub async fn forget(tx: &mut Tx, kind: &'static str, key: &str) -> Result<(), DbError> {
    let statement = Statement::new("DELETE FROM om_queue WHERE kind = $1 AND queue_key = $2")
        .bind(kind)
        .bind(key);
    tx.execute(statement).await?;
    Ok(())
}

/// Has jobs of those keys go, which were done by whoever pushed them, before a worker came to it.
pub(super) async fn strike(db: &Db, kind: &'static str, keys: Vec<String>) -> Result<(), DbError> {
    let statement = Statement::new(format!(
        "DELETE FROM om_queue WHERE kind = $1 AND queue_key {}",
        one_of(db, 2)
    ));
    db.execute(statement.bind(kind).bind(keys)).await?;
    Ok(())
}

/// Whether a column is one of the texts that are bound there.
fn one_of(db: &Db, parameter: u32) -> String {
    match db.dialect() {
        Dialect::Sqlite => format!("IN (SELECT value FROM json_each(${parameter}))"),
        Dialect::Postgres => format!("= ANY(${parameter})"),
    }
}

pub(super) async fn hasten(
    db: &Db,
    kind: &'static str,
    key: &str,
    pause: Duration,
) -> Result<(), DbError> {
    let due_ms = db.clock_ms().await? + milliseconds(pause);
    let statement = Statement::new(
        "UPDATE om_queue SET due_ms = $1 WHERE kind = $2 AND queue_key = $3 AND due_ms > $1 \
         AND attempt = 0 AND dead_at_ms IS NULL",
    )
    .bind(due_ms)
    .bind(kind)
    .bind(key);
    db.execute(statement).await?;
    Ok(())
}

pub(super) async fn claim(
    db: &Db,
    kind: &'static str,
    limit: usize,
    term: Duration,
) -> Result<Vec<Job>, DbError> {
    let now_ms = db.clock_ms().await?;
    let due = Statement::new(
        "SELECT id, queue_key, payload, attempt, fence FROM om_queue \
         WHERE kind = $1 AND dead_at_ms IS NULL AND due_ms <= $2 ORDER BY due_ms LIMIT $3",
    )
    .bind(kind)
    .bind(now_ms)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let found = db.query(due, move |row| read(row, kind)).await?;
    let until_ms = now_ms + milliseconds(term);
    let mut claimed = Vec::new();
    for job in found {
        // Another worker may have been first; then its fence is another one.
        let statement = Statement::new(
            "UPDATE om_queue SET due_ms = $1, attempt = attempt + 1, fence = fence + 1 \
             WHERE id = $2 AND fence = $3 AND dead_at_ms IS NULL",
        )
        .bind(until_ms)
        .bind(&job.id)
        .bind(job.fence);
        if db.execute(statement).await? > 0 {
            claimed.push(Job {
                attempt: job.attempt + 1,
                fence: job.fence + 1,
                ..job
            });
        }
    }
    Ok(claimed)
}

pub(super) async fn renew(db: &Db, job: &Job, term: Duration) -> Result<bool, DbError> {
    let until_ms = db.clock_ms().await? + milliseconds(term);
    let statement = Statement::new("UPDATE om_queue SET due_ms = $1 WHERE id = $2 AND fence = $3")
        .bind(until_ms)
        .bind(&job.id)
        .bind(job.fence);
    Ok(db.execute(statement).await? > 0)
}

/// Keeps several claims for another `term`; gives the keys of those that are lost.
pub(super) async fn renew_all(
    db: &Db,
    jobs: &[Job],
    term: Duration,
) -> Result<Vec<String>, DbError> {
    let until_ms = db.clock_ms().await? + milliseconds(term);
    let claim = |job: &Job| format!("{} {}", job.id, job.fence);
    let ids: Vec<String> = jobs.iter().map(|job| job.id.clone()).collect();
    let claims: Vec<String> = jobs.iter().map(claim).collect();
    let renew = Statement::new(format!(
        "UPDATE om_queue SET due_ms = $1 WHERE id {} AND id || ' ' || CAST(fence AS TEXT) {}",
        one_of(db, 2),
        one_of(db, 3)
    ));
    db.execute(renew.bind(until_ms).bind(ids.clone()).bind(claims))
        .await?;
    let select = Statement::new(format!(
        "SELECT id || ' ' || CAST(fence AS TEXT) FROM om_queue WHERE id {}",
        one_of(db, 1)
    ));
    let kept = db.query(select.bind(ids), |row| Ok(row.req_text(0)?.to_owned()));
    let kept: HashSet<String> = kept.await?.into_iter().collect();
    let lost = jobs.iter().filter(|job| !kept.contains(&claim(job)));
    Ok(lost.map(|job| job.key.clone()).collect())
}

pub(super) async fn retry(
    db: &Db,
    job: &Job,
    pause: Duration,
    attempts: i64,
    error: &str,
) -> Result<bool, DbError> {
    let due_ms = db.clock_ms().await? + milliseconds(pause);
    // The fence rises, so that a claim that was given back cannot be used any more.
    let statement = Statement::new(
        "UPDATE om_queue SET due_ms = $1, error = $2, attempt = $5, fence = fence + 1 \
         WHERE id = $3 AND fence = $4",
    )
    .bind(due_ms)
    .bind(cut(error))
    .bind(&job.id)
    .bind(job.fence)
    .bind(attempts);
    Ok(db.execute(statement).await? > 0)
}

pub(super) async fn bury(db: &Db, job: &Job, error: &str) -> Result<bool, DbError> {
    let now_ms = db.clock_ms().await?;
    let statement = Statement::new(
        "UPDATE om_queue SET dead_at_ms = $1, error = $2, fence = fence + 1 \
         WHERE id = $3 AND fence = $4",
    )
    .bind(now_ms)
    .bind(cut(error))
    .bind(&job.id)
    .bind(job.fence);
    Ok(db.execute(statement).await? > 0)
}

pub(super) async fn release(db: &Db, job: &Job) -> Result<bool, DbError> {
    let now_ms = db.clock_ms().await?;
    let statement = Statement::new(
        "UPDATE om_queue SET due_ms = $1, attempt = attempt - 1, fence = fence + 1 \
         WHERE id = $2 AND fence = $3",
    )
    .bind(now_ms)
    .bind(&job.id)
    .bind(job.fence);
    Ok(db.execute(statement).await? > 0)
}

pub(super) async fn dead_letters(
    db: &Db,
    kind: &'static str,
    limit: usize,
) -> Result<Vec<DeadLetter>, DbError> {
    let statement = Statement::new(
        "SELECT id, queue_key, payload, attempt, error, dead_at_ms FROM om_queue \
         WHERE kind = $1 AND dead_at_ms IS NOT NULL ORDER BY dead_at_ms DESC LIMIT $2",
    )
    .bind(kind)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX));
    db.query(statement, |row| {
        Ok(DeadLetter {
            id: row.req_text(0)?.to_owned(),
            key: row.req_text(1)?.to_owned(),
            payload: row.req_text(2)?.to_owned(),
            attempts: row.req_int(3)?,
            error: row.text(4)?.unwrap_or_default().to_owned(),
            dead_at_ms: row.req_int(5)?,
        })
    })
    .await
}

pub(super) async fn revive(db: &Db, id: &str) -> Result<bool, DbError> {
    let now_ms = db.clock_ms().await?;
    let statement = Statement::new(
        "UPDATE om_queue SET dead_at_ms = NULL, due_ms = $1, attempt = 0, fence = fence + 1 \
         WHERE id = $2 AND dead_at_ms IS NOT NULL",
    )
    .bind(now_ms)
    .bind(id);
    Ok(db.execute(statement).await? > 0)
}

pub(super) async fn backlog(db: &Db, kind: &'static str) -> Result<(i64, i64), DbError> {
    let now_ms = db.clock_ms().await?;
    let statement = Statement::new(
        "SELECT count(*), COALESCE(min(due_ms), $2) FROM om_queue \
         WHERE kind = $1 AND dead_at_ms IS NULL",
    )
    .bind(kind)
    .bind(now_ms);
    db.query_one(statement, move |row| {
        Ok((row.req_int(0)?, (now_ms - row.req_int(1)?).max(0)))
    })
    .await
}

fn read(row: &Row<'_>, kind: &str) -> Result<Job, DbError> {
    Ok(Job {
        id: row.req_text(0)?.to_owned(),
        kind: kind.to_owned(),
        key: row.req_text(1)?.to_owned(),
        payload: row.req_text(2)?.to_owned(),
        attempt: row.req_int(3)?,
        fence: row.req_int(4)?,
    })
}

fn cut(error: &str) -> String {
    error.chars().take(ERROR_MAX).collect()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
