//! Steps of runs. Every write is fenced by the job that drives the run: it changes nothing once the job is
//! another driver's, or the run has ended.

use futures::FutureExt as _;
use mesh::db::{
    Db, DbError, Statement,
    queue::{self, Job},
};

/// A step as it is kept. What is JSON is kept as text.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The path on which the run came to it.
    pub(crate) visit: String,
    /// Attempts before this one.
    pub(crate) retry: i64,
    /// Its place among the steps of the run.
    pub(crate) seq: i64,
    /// How many subflows it lies in.
    pub(crate) level: i64,
    /// The attempt of the whole run.
    pub(crate) attempt: i64,
    pub(crate) node_id: String,
    pub(crate) node_type: String,
    pub(crate) label: Option<String>,
    pub(crate) iteration: Option<i64>,
    pub(crate) status: String,
    /// What it was going to do.
    pub(crate) plan: Option<String>,
    /// What came of it.
    pub(crate) result: Option<String>,
    pub(crate) started_at_ms: i64,
    pub(crate) completed_at_ms: Option<i64>,
}

/// Keeps that a step begins. False when the run is another driver's.
pub(crate) async fn begin(db: &Db, job: &Job, step: Step) -> Result<bool, DbError> {
    write(db, job, step, false).await
}

/// Keeps what came of a step: the run came further. False when the run is another driver's.
pub(crate) async fn finish(db: &Db, job: &Job, step: Step) -> Result<bool, DbError> {
    write(db, job, step, true).await
}

async fn write(db: &Db, job: &Job, step: Step, ends_step: bool) -> Result<bool, DbError> {
    let job = job.clone();
    db.write::<_, DbError, _>(move |tx| {
        let (job, step) = (job.clone(), step.clone());
        async move {
            if !queue::hold_in(tx, &job, ends_step).await? {
                return Ok(false);
            }
            let statement = Statement::new(
                "INSERT INTO flow_step (run_id, visit, retry, seq, level, attempt, node_id, \
                 node_type, label, iteration, status, plan, result, started_at_ms, \
                 completed_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                 $14, $15) ON CONFLICT (run_id, visit, retry) DO UPDATE SET \
                 status = excluded.status, result = excluded.result, \
                 completed_at_ms = excluded.completed_at_ms WHERE flow_step.result IS NULL",
            )
            .bind(job.key)
            .bind(step.visit)
            .bind(step.retry)
            .bind(step.seq)
            .bind(step.level)
            .bind(step.attempt)
            .bind(step.node_id)
            .bind(step.node_type)
            .bind(step.label)
            .bind(step.iteration)
            .bind(step.status)
            .bind(step.plan)
            .bind(step.result)
            .bind(step.started_at_ms)
            .bind(step.completed_at_ms);
            tx.execute(statement).await?;
            Ok(true)
        }
        .boxed()
    })
    .await
}

/// The steps of a run, in the order in which they began.
pub(crate) async fn steps(db: &Db, run_id: &str) -> Result<Vec<Step>, DbError> {
    let statement = Statement::new(
        "SELECT visit, retry, seq, level, attempt, node_id, node_type, label, iteration, status, \
         plan, result, started_at_ms, completed_at_ms FROM flow_step WHERE run_id = $1 \
         ORDER BY seq",
    );
    db.query(statement.bind(run_id), |row| {
        let maybe = |column| Ok::<_, DbError>(row.text(column)?.map(str::to_owned));
        Ok(Step {
            visit: row.req_text(0)?.to_owned(),
            retry: row.req_int(1)?,
            seq: row.req_int(2)?,
            level: row.req_int(3)?,
            attempt: row.req_int(4)?,
            node_id: row.req_text(5)?.to_owned(),
            node_type: row.req_text(6)?.to_owned(),
            label: maybe(7)?,
            iteration: row.int(8)?,
            status: row.req_text(9)?.to_owned(),
            plan: maybe(10)?,
            result: maybe(11)?,
            started_at_ms: row.req_int(12)?,
            completed_at_ms: row.int(13)?,
        })
    })
    .await
}
