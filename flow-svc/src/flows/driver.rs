//! Drives runs: claims those that nobody drives, and takes each to its end.

use std::{
    sync::{Arc, Weak, atomic::AtomicU32},
    time::Duration,
};

use mesh::{
    Result, clock,
    db::{Db, Dialect},
    watched::Watched,
};
use metadata::{
    Item, ItemType,
    automation::flow::{OnFailure, RunAs},
};
use serde_json::{Map, Value};
use tokio::time::timeout;

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
    slots::{ACTIVE_MAX, RunSlot},
    store::{self, Run, Status},
};

/// A driver that is silent for so long has ended, in milliseconds.
const TERM_MS: i64 = 2_000;
/// How often a driver says that it lives, and looks for runs.
const BEAT: Duration = Duration::from_millis(400);
/// Longest pause of a run at whose end the driver is woken; it looks at the others often enough.
const WAKE_MAX: Duration = Duration::from_secs(10);
/// Drivers of a run that do not end a single step, before it is given up.
const CLAIMS_MAX: i64 = 10;

/// Starts what runs beside the calls; it ends with the node.
pub(crate) fn spawn(app: &Arc<App>) {
    let (weak, stop) = (Arc::downgrade(app), app.tasks.stop_token());
    let watched = app.tasks.watched("flow_driver");
    let (db, driver) = (app.db.clone(), app.slots.driver.clone());
    app.tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = beat(weak, watched) => return,
        }
        // What it drove need not wait for the end of its term.
        if let Err(error) = store::leave(&db, &driver).await {
            tracing::debug!(%error, "the driver of flows did not sign off");
        }
    });
    triggers::spawn(app);
}

async fn beat(app: Weak<App>, mut watched: Watched) {
    let mut is_first = true;
    loop {
        // The task does not keep a node alive that nobody holds any more.
        let Some(app) = app.upgrade() else { return };
        let done = look(&app, is_first).await;
        app.slots.set_alive(done.is_ok());
        match done {
            Ok(()) => {
                watched.succeeded();
                is_first = false;
            }
            Err(error) => watched.failed(&error),
        }
        let _woken = timeout(BEAT, app.slots.wake.notified()).await;
    }
}

/// Says that this driver lives, lets go of runs that are others' by now, and claims what is free.
async fn look(app: &Arc<App>, is_first: bool) -> Result<()> {
    let (db, slots) = (&app.db, &app.slots);
    // On SQLite one process has the file: those that drove before have ended, and nobody else asks
    // whether this one lives.
    if db.dialect() == Dialect::Postgres {
        if is_first {
            store::forget_silent(db).await?;
        }
        store::extend(db, &slots.driver, TERM_MS).await?;
    }
    let active = slots.run_ids();
    if !active.is_empty() {
        for lost in store::superseded(db, &slots.driver, active).await? {
            slots.abort(&lost);
        }
    }
    let room = slots.free();
    // Its own active runs are among them.
    let limit = i64::try_from(ACTIVE_MAX + room).unwrap_or(i64::MAX);
    if room == 0 {
        return Ok(());
    }
    for id in store::claimable(db, &slots.driver, limit).await? {
        if slots.is_active(&id) || slots.free() == 0 {
            continue;
        }
        let slot = slots.take(&id);
        if store::claim(db, &slots.driver, &id).await?
            && let Some(run) = store::find(db, &id).await?
        {
            drive(app, slot, run, None);
        }
    }
    Ok(())
}

/// Drives a run that this process has claimed, in a task of its own.
pub(super) fn drive(app: &Arc<App>, slot: RunSlot, run: Run, actor: Option<Actor>) {
    let (app, stop) = (Arc::clone(app), app.tasks.stop_token());
    let tasks = app.tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = slot.abort.notified() => {}
            () = to_its_end(&app, run, actor) => {}
        }
        drop(slot);
    });
}

async fn to_its_end(app: &Arc<App>, run: Run, actor: Option<Actor>) {
    let (id, fence, attempt) = (run.id.clone(), run.fence, run.attempt);
    let ended = match go(app, run, actor).await {
        Ok(ended) => ended,
        Err(Stop::Failed(fault)) => Ended::failed(*fault),
        Err(Stop::Lost) => return,
        Err(Stop::Parked(due_ms)) => return park(app, &id, fence, due_ms).await,
        Err(Stop::Later(error)) => {
            tracing::warn!(run.id = id, %error, "a run of a flow cannot go on now");
            return;
        }
    };
    if let Err(error) = keep_end(&app.db, &id, fence, attempt, ended).await {
        tracing::warn!(run.id = id, %error, "the end of a run of a flow cannot be kept now");
    }
}

/// Lets go of a run that has nothing to do before that moment, so that others have its slot.
async fn park(app: &Arc<App>, id: &str, fence: i64, due_ms: i64) {
    match store::park(&app.db, id, fence, due_ms).await {
        Ok(false) => {}
        Ok(true) => {
            let pause = due_ms.saturating_sub(clock::unix_ms());
            let pause = Duration::from_millis(pause.try_into().unwrap_or_default());
            // Longer ones are found by the next look in time.
            if pause < WAKE_MAX {
                let (slots, stop) = (Arc::clone(&app.slots), app.tasks.stop_token());
                app.tasks.spawn(async move {
                    let _stopped = timeout(pause, stop.cancelled()).await;
                    slots.wake.notify_one();
                });
            }
        }
        // The next driver finds out by the journal.
        Err(error) => tracing::warn!(run.id = id, %error, "a run of a flow cannot be parked now"),
    }
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

async fn keep_end(db: &Db, id: &str, fence: i64, attempt: i64, ended: Ended) -> Result<()> {
    let error = ended.fault.as_ref().map(|fault| fault.shown().to_string());
    if let Some(pause_ms) = ended.again_in_ms {
        let at_ms = clock::unix_ms() + pause_ms;
        let error = error.unwrap_or_default();
        store::repeat(db, id, fence, attempt + 1, at_ms, &error).await?;
        return Ok(());
    }
    let status = match ended.fault {
        Some(_) => Status::Failed,
        None => Status::Completed,
    };
    let output = ended.output.to_string();
    let output = ended.fault.is_none().then_some(output.as_str());
    let now_ms = clock::unix_ms();
    store::end(
        db,
        id,
        Some(fence),
        status,
        output,
        error.as_deref(),
        now_ms,
    )
    .await?;
    Ok(())
}

/// Goes through the run's flow, from its beginning: what was done before is in the journal.
async fn go(app: &Arc<App>, run: Run, actor: Option<Actor>) -> Result<Ended, Stop> {
    if run.claims > CLAIMS_MAX {
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
    let journal = Journal::open(&app.db, &run.id, run.fence, run.attempt).await?;
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
        beginning: origin.beginning,
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
    let beginning = origin.beginning.clone();
    let beginning = beginning
        .ok_or_else(|| Fault::execution("The flow runs as a user, and no user began this run"))?;
    Ok(Actor::user(app, beginning, &run.id, &run.correlation_id))
}

#[cfg(test)]
mod tests;
