//! What is left of pending actions when nobody attends to them: an approved one whose carrier was killed is
//! carried out, and one that nobody decided in time expires. Both are jobs of the durable queue, written with
//! the proposal and with its approval.

use std::{sync::Arc, time::Duration};

use mesh::{
    Result, clock,
    db::queue::{Backoff, Handled, Job, Queue, Slots, Worker},
    tasks::Tasks,
};

use super::execute::execute;
use crate::{
    app::App,
    store::{CARRY_OUT, EXPIRE, Status},
};

/// How often it is looked for jobs that are due.
const LOOK: Duration = Duration::from_secs(1);
/// How long a worker that fell silent keeps its job.
const TERM: Duration = Duration::from_secs(10);
/// Before an action is tried again of which nobody can say whether it was done.
const AGAIN: Duration = Duration::from_secs(10);
/// Actions that a process resumes at once.
const CONCURRENCY: usize = 4;

/// Starts the workers; they end with the node.
pub(crate) fn start(app: &Arc<App>, tasks: &Tasks) {
    let queue = Queue::new(app.store.db.clone());
    let of = |kind| Worker {
        kind,
        queue: queue.clone(),
        slots: Slots::new(CONCURRENCY),
        term: TERM,
        look: LOOK,
        backoff: Backoff {
            first: AGAIN,
            factor: 1.0,
            longest: AGAIN,
            // An action is given up by its age, and expiring one is a single statement.
            attempts: i64::MAX,
        },
    };
    let (resumed, watched) = (Arc::clone(app), tasks.watched("pending_actions"));
    let (worker, stop) = (of(CARRY_OUT), tasks.stop_token());
    tasks.spawn(async move {
        let carry_out = move |job: Job| {
            let app = Arc::clone(&resumed);
            async move {
                let carried = Box::pin(carry_out(&app, &job)).await;
                carried.unwrap_or_else(|error| Handled::Later(AGAIN, error.to_string()))
            }
        };
        worker.run(&stop, watched, carry_out).await;
    });
    let (app, watched) = (Arc::clone(app), tasks.watched("pending_actions_expiry"));
    let (worker, stop) = (of(EXPIRE), tasks.stop_token());
    tasks.spawn(async move {
        let expire = move |job: Job| {
            let app = Arc::clone(&app);
            async move {
                let expired = expire(&app, &job).await;
                expired.unwrap_or_else(|error| Handled::Later(AGAIN, error.to_string()))
            }
        };
        worker.run(&stop, watched, expire).await;
    });
}

/// Carries out what was approved, unless it was.
async fn carry_out(app: &Arc<App>, job: &Job) -> Result<Handled> {
    let Some(row) = app.store.pending(&job.key).await? else {
        return Ok(Handled::Done);
    };
    if row.status != Status::Approved {
        return Ok(Handled::Done);
    }
    tracing::info!(
        pending_action.id = row.id,
        "an approved action was left behind; doing it"
    );
    // What came of it is written down together with the end of the job.
    execute(app, &row, mesh::id::new()).await?;
    Ok(Handled::Kept)
}

/// Ends what nobody decided in time.
async fn expire(app: &App, job: &Job) -> Result<Handled> {
    let now = clock::now();
    app.store.expire(now).await?;
    let Some(row) = app.store.pending(&job.key).await? else {
        return Ok(Handled::Done);
    };
    let left = row.expires_at - now;
    Ok(match Duration::try_from(left) {
        Ok(left) if row.status == Status::Pending => Handled::Later(left, "not yet".to_owned()),
        _ => Handled::Done,
    })
}
