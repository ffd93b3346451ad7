//! Drives runs: each is a job of the durable queue, which one process claims and takes to its end. A run that
//! waits puts its job off, and holds nothing.

use std::{
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use mesh::{
    Result, clock,
    db::{
        Db,
        queue::{Backoff, Handled, Job, Queue, Slot, Slots, Worker},
    },
};
use metadata::{
    Item, ItemType,
    automation::flow::{OnFailure, RunAs},
};
use serde_json::{Map, Value};

use super::{
    actor::Actor,
    fault::{Fault, Stop},
    interpreter::{Frame, Interpreter},
    journal::{Journal, path},
    kept::{self, Origin},
    state::{Env, State},
    triggers,
};
use crate::{
    app::App,
    catalog::Flow,
    store::{self, DRIVE, End, Run, Status},
};

/// Runs that a process drives at once.
const ACTIVE_MAX: usize = 64;
/// A driver that is silent for so long has ended.
const TERM: Duration = Duration::from_secs(2);
/// How often a driver looks for runs that others began.
const LOOK: Duration = Duration::from_millis(400);
/// Before a run goes on that could not go on now.
const AGAIN: Duration = Duration::from_secs(1);
/// Drivers of a run that do not end a single step, before it is given up.
const CLAIMS_MAX: i64 = 10;

/// What drives the runs of a process: a worker of the durable queue.
pub(crate) fn driver(db: &Db) -> Worker {
    Worker {
        kind: DRIVE,
        queue: Queue::new(db.clone()),
        slots: Slots::new(ACTIVE_MAX),
        term: TERM,
        look: LOOK,
        backoff: Backoff {
            first: AGAIN,
            factor: 1.0,
            longest: AGAIN,
            // A run that is given up fails, and says why.
            attempts: i64::MAX,
        },
    }
}

/// Starts what runs beside the calls; it ends with the node.
pub(crate) fn spawn(app: &Arc<App>) {
    let (weak, stop) = (Arc::downgrade(app), app.tasks.stop_token());
    let (worker, watched) = (app.driver.clone(), app.tasks.watched("flow_driver"));
    app.tasks.spawn(async move {
        let go_on = move |job: Job| {
            // The task does not keep a node alive that nobody holds any more.
            let app = weak.upgrade();
            async move {
                match app {
                    Some(app) => claimed(&app, &job).await,
                    None => Handled::Later(AGAIN, "the node ends".to_owned()),
                }
            }
        };
        worker.run(&stop, watched, go_on).await;
    });
    triggers::spawn(app);
}

/// Drives a run that this process has begun, in a task of its own.
pub(super) fn drive(app: &Arc<App>, slot: Slot, job: Job, run: Run, actor: Option<Actor>) {
    let (app, stop) = (Arc::clone(app), app.tasks.stop_token());
    let tasks = app.tasks.clone();
    tasks.spawn(async move {
        let handling = to_its_end(&app, &job, run, actor);
        app.driver.work_on(slot, &stop, job.clone(), handling).await;
    });
}

/// Drives a run that this process has claimed.
async fn claimed(app: &Arc<App>, job: &Job) -> Handled {
    match store::take_up(&app.db, job).await {
        Ok(Some(run)) => to_its_end(app, job, run, None).await,
        Ok(None) => Handled::Done,
        Err(error) => Handled::Later(AGAIN, error.to_string()),
    }
}

async fn to_its_end(app: &Arc<App>, job: &Job, run: Run, actor: Option<Actor>) -> Handled {
    let (id, attempt) = (run.id.clone(), run.attempt);
    let kept = match Box::pin(go(app, job, run, actor)).await {
        Ok(ended) => keep_end(app, job, attempt, ended).await,
        Err(Stop::Failed(fault)) => keep_end(app, job, attempt, Ended::failed(*fault)).await,
        Err(Stop::Lost) => return Handled::Kept,
        Err(Stop::Parked(due_ms)) => park(app, job, due_ms).await,
        Err(Stop::Later(error)) => Err(error),
    };
    match kept {
        Ok(()) => Handled::Kept,
        Err(error) => {
            tracing::warn!(run.id = id, %error, "a run of a flow cannot go on now");
            Handled::Later(AGAIN, error.to_string())
        }
    }
}

/// Lets go of a run that has nothing to do before that moment, so that others have its slot.
async fn park(app: &App, job: &Job, due_ms: i64) -> Result<()> {
    let pause = milliseconds(due_ms.saturating_sub(clock::unix_ms()));
    if store::park(&app.db, job, pause).await? {
        app.driver.queue.wake_in(pause);
    }
    Ok(())
}

fn milliseconds(count: i64) -> Duration {
    Duration::from_millis(count.try_into().unwrap_or_default())
}

/// How a run ended.
struct Ended {
    output: Value,
    fault: Option<Fault>,
    /// After this pause it is run again, in milliseconds.
    again_in_ms: Option<i64>,
}

impl Ended {
    fn failed(fault: Fault) -> Self {
        Self {
            output: Value::Null,
            fault: Some(fault),
            again_in_ms: None,
        }
    }
}

async fn keep_end(app: &App, job: &Job, attempt: i64, ended: Ended) -> Result<()> {
    let error = ended.fault.as_ref().map(|fault| fault.shown().to_string());
    if let Some(pause_ms) = ended.again_in_ms {
        let (pause, error) = (milliseconds(pause_ms), error.unwrap_or_default());
        if store::repeat(&app.db, job, attempt + 1, pause, &error).await? {
            app.driver.queue.wake_in(pause);
        }
        return Ok(());
    }
    let end = End {
        status: match ended.fault {
            Some(_) => Status::Failed,
            None => Status::Completed,
        },
        output: (ended.fault.is_none()).then(|| ended.output.to_string()),
        error,
        at_ms: clock::unix_ms(),
    };
    store::end(&app.db, job, end).await?;
    Ok(())
}

/// Goes through the run's flow, from its beginning: what was done before is in the journal.
async fn go(app: &Arc<App>, job: &Job, run: Run, actor: Option<Actor>) -> Result<Ended, Stop> {
    if job.attempt > CLAIMS_MAX {
        tracing::error!(run.id = run.id, run.flow, "a run of a flow is given up");
        let message = format!("The run stopped {CLAIMS_MAX} times at the same step");
        return Ok(Ended::failed(Fault::execution(message)));
    }
    let origin = Origin::of(&run)?;
    let flow = flow_of(app, &run).await?;
    let actor = match actor {
        Some(actor) => actor,
        None => actor_of(app, &run, &origin)?,
    };
    let mut state = State::new(&flow, origin.input, origin.context);
    let journal = Journal::open(&app.db, job, run.attempt).await?;
    let (user, organization) = actor.shown(run.user_id.as_deref()).await?;
    let frame = Frame {
        flow: Arc::clone(&flow),
        actor,
        env: Env { user, organization },
        level: 0,
        is_outermost: true,
        iteration: None,
    };
    let seed = path("", &run.attempt.to_string());
    let attempt = run.attempt;
    let interpreter = Interpreter {
        app: Arc::clone(app),
        run,
        grant: origin.grant,
        journal,
        steps: AtomicU32::new(0),
    };
    let went = interpreter.graph(&frame, &flow.spec.graph, &seed, &mut state);
    match went.await {
        Ok(()) => Ok(Ended {
            output: state.output(&flow),
            fault: None,
            again_in_ms: None,
        }),
        Err(Stop::Failed(fault)) => {
            let backoff = match &flow.spec.on_failure {
                OnFailure::Retry(backoff) if !fault.fatal => Some(backoff),
                _ => None,
            };
            let backoff = backoff.filter(|backoff| attempt <= backoff.retries);
            Ok(Ended {
                again_in_ms: backoff.map(|backoff| backoff.pause_ms(attempt)),
                ..Ended::failed(*fault)
            })
        }
        Err(other) => Err(other),
    }
}

/// The flow as it was when the run began.
async fn flow_of(app: &App, run: &Run) -> Result<Arc<Flow>, Stop> {
    if let Ok(catalog) = app.catalog.current()
        && let Some(flow) = catalog.flow(&run.flow)
        && flow.item.hash == run.definition_hash
    {
        return Ok(Arc::clone(flow));
    }
    let definition = store::definition(&app.db, &run.definition_hash).await;
    let definition = definition.map_err(|error| Stop::Later(error.into()))?;
    let damaged = |why: &str| Fault::damaged("definition", &why);
    let definition = definition.ok_or_else(|| damaged("it is gone"))?;
    let value: Map<String, Value> = kept::read("definition", &definition)?;
    let (value, hash) = (Value::Object(value), run.definition_hash.as_str());
    let item = Item::parsed(ItemType::Flow, &run.flow, value, hash);
    let flow = Flow::compile(&Arc::new(item)).ok_or_else(|| damaged("it is no flow"))?;
    Ok(Arc::new(flow))
}

fn actor_of(app: &App, run: &Run, origin: &Origin) -> Result<Actor, Fault> {
    if RunAs::parse(&run.run_as) == RunAs::System {
        return Ok(Actor::system(app, &run.correlation_id));
    }
    let grant = origin.grant.clone();
    let grant = grant
        .ok_or_else(|| Fault::execution("The flow runs as a user, and no user began this run"))?;
    Ok(Actor::user(app, grant, &run.id, &run.correlation_id))
}

#[cfg(test)]
mod tests;
