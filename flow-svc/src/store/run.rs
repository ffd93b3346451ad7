//! Runs of flows. Ids and moments come from the callers.

use futures::FutureExt as _;
use mesh::db::{Db, DbError, Row, Statement, Tx};

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
    pub(crate) beginning: Option<String>,
    pub(crate) input: String,
    /// `record` and `previous` of a trigger.
    pub(crate) context: String,
    pub(crate) warnings: String,
    /// How many runs led here.
    pub(crate) depth: i64,
    /// Request id of all that it does.
    pub(crate) correlation_id: String,
    pub(crate) attempt: i64,
    pub(crate) fence: i64,
    /// Drivers since the last step that ended.
    pub(crate) claims: i64,
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
    /// Who drives it; nobody yet without one.
    pub(crate) driver: Option<String>,
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
         object_name, record_id, beginning, input, context, warnings, depth, trail, attempt, fence, \
         claims, output, error, started_at_ms, ended_at_ms"
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
        beginning: maybe(10)?,
        input: owned(11)?,
        context: owned(12)?,
        warnings: owned(13)?,
        depth: row.req_int(14)?,
        correlation_id: owned(15)?,
        attempt: row.req_int(16)?,
        fence: row.req_int(17)?,
        claims: row.req_int(18)?,
        output: maybe(19)?,
        error: maybe(20)?,
        started_at_ms: row.req_int(21)?,
        ended_at_ms: row.int(22)?,
    })
}

/// Keeps a new run, within a transaction. False when another has its key.
pub(crate) async fn insert(tx: &mut Tx, new: &NewRun) -> Result<bool, DbError> {
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
         trail, attempt, fence, claims, started_at_ms, next_at_ms, driver, start_principal, start_key, \
         start_hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
         $19, $20, $20, $21, $22, $23, $24) ON CONFLICT (start_principal, start_key) DO NOTHING",
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
    .bind(run.beginning.clone())
    .bind(&run.input)
    .bind(&run.context)
    .bind(&run.warnings)
    .bind(run.depth)
    .bind(&run.correlation_id)
    .bind(run.attempt)
    .bind(run.fence)
    .bind(run.claims)
    .bind(run.started_at_ms)
    .bind(new.driver.clone())
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

/// Ends a run. With a fence only as its driver, without one whoever drives it. False when it had
/// ended, or has another driver.
pub(crate) async fn end(
    db: &Db,
    id: &str,
    fence: Option<i64>,
    status: Status,
    output: Option<&str>,
    error: Option<&str>,
    at_ms: i64,
) -> Result<bool, DbError> {
    let statement = Statement::new(
        "UPDATE flow_run SET status = $1, output = $2, error = $3, ended_at_ms = $4, driver = NULL, \
         fence = fence + 1 WHERE id = $5 AND ($6 = 0 OR fence = $6) \
         AND status IN ('pending', 'running', 'retrying')",
    )
    .bind(status.as_str())
    .bind(output.map(str::to_owned))
    .bind(error.map(str::to_owned))
    .bind(at_ms)
    .bind(id)
    .bind(fence.unwrap_or(0));
    Ok(db.execute(statement).await? > 0)
}

/// Lets go of a run until that moment, as its driver. False when it has another one, or ended.
pub(crate) async fn park(db: &Db, id: &str, fence: i64, next_at_ms: i64) -> Result<bool, DbError> {
    let statement = Statement::new(
        "UPDATE flow_run SET next_at_ms = $1, driver = NULL, claims = 0 WHERE id = $2 \
         AND fence = $3 AND status IN ('pending', 'running', 'retrying')",
    )
    .bind(next_at_ms)
    .bind(id)
    .bind(fence);
    Ok(db.execute(statement).await? > 0)
}

/// Has a run begin again at that moment, as its driver. False when it has another one.
pub(crate) async fn repeat(
    db: &Db,
    id: &str,
    fence: i64,
    attempt: i64,
    next_at_ms: i64,
    error: &str,
) -> Result<bool, DbError> {
    let (id, error) = (id.to_owned(), error.to_owned());
    db.write::<_, DbError, _>(move |tx| {
        let statement = Statement::new(
            "UPDATE flow_run SET status = 'retrying', attempt = $1, next_at_ms = $2, error = $3, \
             driver = NULL, claims = 0 WHERE id = $4 AND fence = $5 \
             AND status IN ('pending', 'running', 'retrying')",
        )
        .bind(attempt)
        .bind(next_at_ms)
        .bind(&error)
        .bind(&id)
        .bind(fence);
        async move { Ok(tx.execute(statement).await? > 0) }.boxed()
    })
    .await
}
