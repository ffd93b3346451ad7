//! Drives runs: claims those that nobody drives, and takes each to its end.

use std::{
    sync::{
        Arc, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mesh::{
    Error, Result, clock,
    db::{Db, Dialect},
    delegation::Beginning,
    tasks::Tasks,
};
use serde_json::Value;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    Flows,
    fault::{Fault, Stop},
    interpreter::{Interpreter, Place},
    journal::{Journal, path},
    state::{Env, State},
    triggers,
    who::Who,
};
use crate::{
    app::App,
    domain::flow::{self, Flow, OnFailure, RunAs},
    store::{self, Run, Status},
};

/// A driver that is silent for so long has ended, in milliseconds.
const TERM_MS: i64 = 2_000;
/// How often a driver says that it lives, and looks for runs.
const BEAT: Duration = Duration::from_millis(400);
/// Runs that a process drives at once.
const ACTIVE_MAX: usize = 64;
/// Drivers of a run that do not end a single step, before it is given up.
const CLAIMS_MAX: i64 = 10;

/// A run that this process drives.
pub(super) struct Active {
    abort: Arc<Notify>,
    /// Closed at its end.
    ending: watch::Receiver<()>,
}

/// Starts what runs beside the calls; it ends with the node.
pub(crate) fn spawn(app: &Arc<App>) {
    let (weak, stop) = (Arc::downgrade(app), app.tasks.stop_token());
    let (db, driver) = (app.db.clone(), app.flows.driver.clone());
    app.tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = beat(weak) => return,
        }
        // What it drove need not wait for the end of its term.
        if let Err(error) = store::leave(&db, &driver).await {
            tracing::debug!(%error, "the driver of flows did not sign off");
        }
    });
    triggers::spawn(app);
}

async fn beat(app: Weak<App>) {
    let mut is_first = true;
    loop {
        // The task does not keep a node alive that nobody holds any more.
        let Some(app) = app.upgrade() else { return };
        let done = look(&app, is_first).await;
        app.flows.alive.store(done.is_ok(), Ordering::Relaxed);
        match done {
            Ok(()) => is_first = false,
            Err(error) => tracing::debug!(%error, "flows cannot be driven now"),
        }
        let _woken = timeout(BEAT, app.flows.wake.notified()).await;
    }
}

/// Says that this driver lives, lets go of runs that are others' by now, and claims what is free.
async fn look(app: &Arc<App>, is_first: bool) -> Result<()> {
    let (db, flows) = (&app.db, &app.flows);
    // On SQLite one process has the file: those that drove before have ended, and nobody else asks
    // whether this one lives.
    if db.dialect() == Dialect::Postgres {
        if is_first {
            store::forget_silent(db).await?;
        }
        store::extend(db, &flows.driver, TERM_MS).await?;
    }
    let active = flows.ids();
    if !active.is_empty() {
        for lost in store::superseded(db, &flows.driver, active).await? {
            flows.abort(&lost);
        }
    }
    let room = ACTIVE_MAX.saturating_sub(flows.ids().len());
    // Its own active runs are among them.
    let limit = i64::try_from(ACTIVE_MAX + room).unwrap_or(i64::MAX);
    if room == 0 {
        return Ok(());
    }
    for id in store::claimable(db, &flows.driver, limit).await? {
        if flows.is_active(&id) || flows.ids().len() >= ACTIVE_MAX {
            continue;
        }
        let seat = seat(app, &id);
        if store::claim(db, &flows.driver, &id).await?
            && let Some(run) = store::find(db, &id).await?
        {
            drive(seat, run, None);
        }
    }
    Ok(())
}

/// Puts a run on the list of those that this process drives: before it is claimed or kept, lest the
/// next look takes it for one that nobody drives.
pub(super) fn seat(app: &Arc<App>, run_id: &str) -> Seat {
    let (ended, ending) = watch::channel(());
    let abort = Arc::new(Notify::new());
    let active = Active {
        abort: Arc::clone(&abort),
        ending,
    };
    app.flows.active().insert(run_id.to_owned(), active);
    Seat {
        app: Arc::clone(app),
        id: run_id.to_owned(),
        abort,
        _ended: ended,
    }
}

/// Drives a run that this process has claimed, in a task of its own.
pub(super) fn drive(seat: Seat, run: Run, who: Option<Who>) {
    let app = Arc::clone(&seat.app);
    let stop = app.tasks.stop_token();
    let tasks: &Tasks = &app.tasks;
    tasks.spawn(async move {
        let abort = Arc::clone(&seat.abort);
        tokio::select! {
            () = stop.cancelled() => {}
            () = abort.notified() => {}
            () = to_its_end(&seat.app, run, who) => {}
        }
        drop(seat);
    });
}

/// A run's place on the list. Dropped with the task, also when that panicked, it takes the run off.
pub(super) struct Seat {
    app: Arc<App>,
    id: String,
    abort: Arc<Notify>,
    /// Dropped last, when the run is off the list.
    _ended: watch::Sender<()>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.app.flows.active().remove(&self.id);
    }
}

async fn to_its_end(app: &Arc<App>, run: Run, who: Option<Who>) {
    let (id, fence, attempt) = (run.id.clone(), run.fence, run.attempt);
    let ended = match go(app, run, who).await {
        Ok(ended) => ended,
        Err(Stop::Failed(fault)) => Ended::failed(*fault),
        Err(Stop::Lost) => return,
        Err(Stop::Later(error)) => {
            tracing::warn!(run.id = id, %error, "a run of a flow cannot go on now");
            return;
        }
    };
    if let Err(error) = keep_end(&app.db, &id, fence, attempt, ended).await {
        tracing::warn!(run.id = id, %error, "the end of a run of a flow cannot be kept now");
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
async fn go(app: &Arc<App>, run: Run, who: Option<Who>) -> Result<Ended, Stop> {
    if run.claims > CLAIMS_MAX {
        tracing::error!(run.id = run.id, run.flow, "a run of a flow is given up");
        let message = format!("The run stopped {CLAIMS_MAX} times at the same step");
        return Ok(Ended::failed(Fault::execution(message)));
    }
    let flow = flow_of(app, &run).await?;
    let who = match who {
        Some(who) => who,
        None => match who_of(app, &run) {
            Ok(who) => who,
            Err(fault) => return Ok(Ended::failed(fault)),
        },
    };
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let mut state = State::new(&flow, parse(&run.input), parse(&run.context));
    let journal = Journal::open(&app.db, &run.id, run.fence, run.attempt);
    let journal = journal.await.map_err(Stop::Later)?;
    let (user, organization) = who.shown(run.user_id.as_deref()).await?;
    let place = Place {
        flow: Arc::clone(&flow),
        who,
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
        journal,
        steps: AtomicU32::new(0),
    };
    let went = interpreter.graph(&place, &flow.graph, &seed, &mut state);
    match went.await {
        Ok(()) => Ok(Ended {
            output: state.output(&flow),
            fault: None,
            again_in_ms: None,
        }),
        Err(Stop::Failed(fault)) => {
            let backoff = match &flow.on_failure {
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
        && let Some(flow) = catalog.flows.get(&run.flow)
        && flow.hash == run.definition_hash
    {
        return Ok(Arc::clone(flow));
    }
    let kept = store::definition(&app.db, &run.definition_hash).await;
    let kept = kept.map_err(|error| Stop::Later(error.into()))?;
    let source = kept.and_then(|text| serde_json::from_str(&text).ok());
    let source: Value = source.ok_or_else(|| {
        Stop::Later(Error::internal(anyhow::anyhow!(
            "the definition of a flow is gone"
        )))
    })?;
    Ok(Arc::new(flow::compile(
        &run.flow,
        &run.definition_hash,
        &source,
    )))
}

fn who_of(app: &App, run: &Run) -> Result<Who, Fault> {
    if RunAs::parse(&run.run_as) == RunAs::System {
        return Ok(Who::system(app, &run.trail));
    }
    let beginning = run.beginning.as_deref().unwrap_or_default();
    let beginning: Beginning = serde_json::from_str(beginning)
        .map_err(|_| Fault::execution("The flow runs as a user, and no user began this run"))?;
    Ok(Who::user(app, beginning, &run.id, &run.trail))
}

impl Flows {
    fn active(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<String, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ids(&self) -> Vec<String> {
        self.active().keys().cloned().collect()
    }

    fn is_active(&self, run: &str) -> bool {
        self.active().contains_key(run)
    }

    /// Whether this process can drive another run.
    pub(super) fn has_room(&self) -> bool {
        self.alive.load(Ordering::Relaxed) && self.active().len() < ACTIVE_MAX
    }

    /// Stops driving a run.
    pub(super) fn abort(&self, run: &str) {
        if let Some(active) = self.active().get(run) {
            // Kept for the task if it is just beginning.
            active.abort.notify_one();
        }
    }

    /// Resolves when a run is driven here no more; nothing when it is not driven here.
    pub(super) fn ending(&self, run: &str) -> Option<impl Future<Output = ()> + use<>> {
        let mut ending = self.active().get(run)?.ending.clone();
        Some(async move {
            // Nothing is ever sent: the end is that the sender is gone.
            let _closed = ending.changed().await;
        })
    }
}
