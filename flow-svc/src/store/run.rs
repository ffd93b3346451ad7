//! Runs of flows. Ids and moments come from the callers.

use std::time::Duration;

use futures::FutureExt as _;
use mesh::db::{
    Db, DbError, Row, Statement, Tx,
    queue::{self, Job, NewJob},
};

/// The jobs of the queue that drive runs; their key is the run's id.
pub(crate) const DRIVE: &str = "flow_run";

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Running,
    Retrying,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    /// The word in the API and in the journal.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Pending,
            Self::Running,
            Self::Retrying,
            Self::Completed,
            Self::Failed,
            Self::Cancelled,
        ];
        all.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether it goes on.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Running | Self::Retrying)
    }
}

/// A run as it is kept. What is JSON is kept as text.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) flow: String,
    pub(crate) definition_hash: String,
    pub(crate) flow_version: i64,
    pub(crate) status: Status,
    pub(crate) run_as: String,
    pub(crate) trigger_type: String,
    /// Who started it.
    pub(crate) user_id: Option<String>,
    pub(crate) object: Option<String>,
    pub(crate) record_id: Option<String>,
    /// How it began, for tokens.
    pub(crate) grant: Option<String>,
    pub(crate) input: String,
    /// `record` and `previous` of a trigger.
    pub(crate) context: String,
    pub(crate) warnings: String,
    /// How many runs led here.
    pub(crate) depth: i64,
    /// Request id of all that it does.
    pub(crate) correlation_id: String,
    pub(crate) attempt: i64,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) started_at_ms: i64,
    pub(crate) ended_at_ms: Option<i64>,
}

/// A run to be kept, with what only its beginning knows.
#[derive(Clone, Debug)]
pub(crate) struct NewRun {
    pub(crate) run: Run,
    /// The flow's item.
    pub(crate) definition: String,
    /// The key under which it was started.
    pub(crate) key: Option<StartKey>,
}

/// The Idempotency-Key of a start.
#[derive(Clone, Debug)]
pub(crate) struct StartKey {
    /// Whose key it is.
    pub(crate) principal: String,
    pub(crate) key: String,
    /// Of what was asked.
    pub(crate) hash: String,
}

/// The columns that [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "id, flow, definition_hash, flow_version, status, run_as, trigger_type, user_id, \
         object_name, record_id, beginning, input, context, warnings, depth, trail, attempt, output, \
         error, started_at_ms, ended_at_ms"
    };
}

fn read(row: &Row<'_>) -> Result<Run, DbError> {
    let owned = |column| Ok::<_, DbError>(row.req_text(column)?.to_owned());
    let maybe = |column| Ok::<_, DbError>(row.text(column)?.map(str::to_owned));
    Ok(Run {
        id: owned(0)?,
        flow: owned(1)?,
        definition_hash: owned(2)?,
        flow_version: row.req_int(3)?,
        status: Status::parse(row.req_text(4)?).ok_or(DbError::Decode {
            column: 4,
            expected: "a status",
        })?,
        run_as: owned(5)?,
        trigger_type: owned(6)?,
        user_id: maybe(7)?,
        object: maybe(8)?,
        record_id: maybe(9)?,
        grant: maybe(10)?,
        input: owned(11)?,
        context: owned(12)?,
        warnings: owned(13)?,
        depth: row.req_int(14)?,
        correlation_id: owned(15)?,
        attempt: row.req_int(16)?,
        output: maybe(17)?,
        error: maybe(18)?,
        started_at_ms: row.req_int(19)?,
        ended_at_ms: row.int(20)?,
    })
}

/// What became of a run that was to be kept.
pub(crate) enum Inserted {
    /// Another has its key.
    Already,
    /// Some process drives it.
    Waiting,
    /// This process drives it.
    Claimed(Job),
}

/// Keeps a new run and the job that drives it, within a transaction; claimed for `claim`, where this process
/// is going to drive it.
pub(crate) async fn insert(
    tx: &mut Tx,
    new: &NewRun,
    claim: Option<Duration>,
) -> Result<Inserted, DbError> {
    if !insert_row(tx, new).await? {
        return Ok(Inserted::Already);
    }
    let job = NewJob::new(DRIVE, new.run.id.as_str(), "");
    let claimed = match claim {
        Some(term) => queue::push_claimed(tx, &job, term).await?,
        None => {
            queue::push(tx, &job).await?;
            None
        }
    };
    Ok(claimed.map_or(Inserted::Waiting, Inserted::Claimed))
}

async fn insert_row(tx: &mut Tx, new: &NewRun) -> Result<bool, DbError> {
    let run = &new.run;
    let definition = Statement::new(
        "INSERT INTO flow_definition (hash, flow, definition) VALUES ($1, $2, $3) \
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind(&run.definition_hash)
    .bind(&run.flow)
    .bind(&new.definition);
    tx.execute(definition).await?;
    let key = new.key.as_ref();
    let statement = Statement::new(
        "INSERT INTO flow_run (id, flow, definition_hash, flow_version, status, run_as, \
         trigger_type, user_id, object_name, record_id, beginning, input, context, warnings, depth, \
         trail, attempt, started_at_ms, start_principal, start_key, start_hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
         $19, $20, $21) ON CONFLICT (start_principal, start_key) DO NOTHING",
    )
    .bind(&run.id)
    .bind(&run.flow)
    .bind(&run.definition_hash)
    .bind(run.flow_version)
    .bind(run.status.as_str())
    .bind(&run.run_as)
    .bind(&run.trigger_type)
    .bind(run.user_id.clone())
    .bind(run.object.clone())
    .bind(run.record_id.clone())
    .bind(run.grant.clone())
    .bind(&run.input)
    .bind(&run.context)
    .bind(&run.warnings)
    .bind(run.depth)
    .bind(&run.correlation_id)
    .bind(run.attempt)
    .bind(run.started_at_ms)
    .bind(key.map(|key| key.principal.clone()))
    .bind(key.map(|key| key.key.clone()))
    .bind(key.map(|key| key.hash.clone()));
    Ok(tx.execute(statement).await? > 0)
}

/// The run that was started with this key, no earlier than `since_ms`, and the hash of what was
/// asked. An older one gives the key up.
pub(crate) async fn started_by_key(
    db: &Db,
    key: &StartKey,
    since_ms: i64,
) -> Result<Option<(String, String)>, DbError> {
    let select = Statement::new(
        "SELECT id, start_hash, started_at_ms FROM flow_run WHERE start_principal = $1 \
         AND start_key = $2",
    )
    .bind(&key.principal)
    .bind(&key.key);
    let found = db
        .query_opt(select, |row| {
            let hash = row.text(1)?.unwrap_or_default();
            Ok((
                row.req_text(0)?.to_owned(),
                hash.to_owned(),
                row.req_int(2)?,
            ))
        })
        .await?;
    match found {
        Some((id, hash, at_ms)) if at_ms >= since_ms => Ok(Some((id, hash))),
        Some((id, ..)) => {
            let forget = Statement::new("UPDATE flow_run SET start_key = NULL WHERE id = $1");
            db.execute(forget.bind(id)).await?;
            Ok(None)
        }
        None => Ok(None),
    }
}

/// The run of that id.
pub(crate) async fn find(db: &Db, id: &str) -> Result<Option<Run>, DbError> {
    let sql = concat!("SELECT ", columns!(), " FROM flow_run WHERE id = $1");
    db.query_opt(Statement::new(sql).bind(id), read).await
}

/// Runs of a flow, newest first, older than `before`; those of one user, or everybody's.
pub(crate) async fn list(
    db: &Db,
    flow: &str,
    user_id: Option<&str>,
    before: &str,
    limit: i64,
) -> Result<Vec<Run>, DbError> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM flow_run WHERE flow = $1 AND ($2 = '' OR user_id = $2) AND ($3 = '' OR id < $3) \
         ORDER BY id DESC LIMIT $4"
    );
    let statement = Statement::new(sql).bind(flow).bind(user_id.unwrap_or(""));
    db.query(statement.bind(before).bind(limit), read).await
}

/// How many there are of them.
pub(crate) async fn total(db: &Db, flow: &str, user_id: Option<&str>) -> Result<i64, DbError> {
    let statement = Statement::new(
        "SELECT count(*) FROM flow_run WHERE flow = $1 AND ($2 = '' OR user_id = $2)",
    )
    .bind(flow)
    .bind(user_id.unwrap_or(""));
    db.query_one(statement, |row| row.req_int(0)).await
}

/// The item of a flow as it was when runs of it began.
pub(crate) async fn definition(db: &Db, hash: &str) -> Result<Option<String>, DbError> {
    let statement = Statement::new("SELECT definition FROM flow_definition WHERE hash = $1");
    db.query_opt(statement.bind(hash), |row| Ok(row.req_text(0)?.to_owned()))
        .await
}

/// Depth of the run that did that: its request id tells.
pub(crate) async fn depth_of(db: &Db, correlation_id: &str) -> Result<Option<i64>, DbError> {
    let statement = Statement::new("SELECT depth FROM flow_run WHERE trail = $1");
    db.query_opt(statement.bind(correlation_id), |row| row.req_int(0))
        .await
}

/// The run that a job drives, running from now on; `None` when it has ended or is another's by now.
pub(crate) async fn take_up(db: &Db, job: &Job) -> Result<Option<Run>, DbError> {
    let Some(run) = find(db, &job.key).await? else {
        return Ok(None);
    };
    match run.status {
        Status::Running => return Ok(Some(run)),
        Status::Pending | Status::Retrying => {}
        Status::Completed | Status::Failed | Status::Cancelled => return Ok(None),
    }
    let job = job.clone();
    let is_mine = db.write::<_, DbError, _>(move |tx| {
        let job = job.clone();
        async move {
            if !queue::hold_in(tx, &job, false).await? {
                return Ok(false);
            }
            let statement = Statement::new(
                "UPDATE flow_run SET status = 'running' WHERE id = $1 \
                 AND status IN ('pending', 'retrying')",
            );
            Ok(tx.execute(statement.bind(&job.key)).await? > 0)
        }
        .boxed()
    });
    Ok(is_mine.await?.then_some(Run {
        status: Status::Running,
        ..run
    }))
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) at_ms: i64,
}

/// Ends a run, and the job that drives it. False when the job is another's, or the run had ended.
pub(crate) async fn end(db: &Db, job: &Job, end: End) -> Result<bool, DbError> {
    let job = job.clone();
    db.write::<_, DbError, _>(move |tx| {
        let (job, end) = (job.clone(), end.clone());
        async move {
            if !queue::finish_in(tx, &job).await? {
                return Ok(false);
            }
            write_end(tx, &job.key, end).await
        }
        .boxed()
    })
    .await
}

/// Cancels a run, whoever drives it. False when it had ended.
pub(crate) async fn cancel(db: &Db, id: &str, at_ms: i64) -> Result<bool, DbError> {
    let id = id.to_owned();
    db.write::<_, DbError, _>(move |tx| {
        let id = id.clone();
        async move {
            // In the order in which its driver writes: the job, then the run.
            queue::forget(tx, DRIVE, &id).await?;
            let end = End {
                status: Status::Cancelled,
                output: None,
                error: None,
                at_ms,
            };
            write_end(tx, &id, end).await
        }
        .boxed()
    })
    .await
}

async fn write_end(tx: &mut Tx, id: &str, end: End) -> Result<bool, DbError> {
    let statement = Statement::new(
        "UPDATE flow_run SET status = $1, output = $2, error = $3, ended_at_ms = $4 WHERE id = $5 \
         AND status IN ('pending', 'running', 'retrying')",
    )
    .bind(end.status.as_str())
    .bind(end.output)
    .bind(end.error)
    .bind(end.at_ms)
    .bind(id);
    Ok(tx.execute(statement).await? > 0)
}

/// Lets go of a run for that long. False when its job is another's.
pub(crate) async fn park(db: &Db, job: &Job, pause: Duration) -> Result<bool, DbError> {
    let job = job.clone();
    db.write::<_, DbError, _>(move |tx| {
        let job = job.clone();
        async move { queue::put_off_in(tx, &job, pause).await }.boxed()
    })
    .await
}

/// Has a run begin again after that pause. False when its job is another's.
pub(crate) async fn repeat(
    db: &Db,
    job: &Job,
    attempt: i64,
    pause: Duration,
    error: &str,
) -> Result<bool, DbError> {
    let (job, error) = (job.clone(), error.to_owned());
    db.write::<_, DbError, _>(move |tx| {
        let (job, error) = (job.clone(), error.clone());
        async move {
            if !queue::put_off_in(tx, &job, pause).await? {
                return Ok(false);
            }
            let statement = Statement::new(
                "UPDATE flow_run SET status = 'retrying', attempt = $1, error = $2 WHERE id = $3 \
                 AND status IN ('pending', 'running', 'retrying')",
            );
            let statement = statement.bind(attempt).bind(&error).bind(&job.key);
            Ok(tx.execute(statement).await? > 0)
        }
        .boxed()
    })
    .await
}
