//! Starts the flows that a change of a record triggers.
//!
//! One process follows the changes, under a lease. Which run made a change is told by its request
//! id: all that a run does carries the run's own.

use std::{sync::Arc, time::Duration};

use data_client::changes::{self, Change, ChangeBatch, Follower, Following, Objects, Operation};
use mesh::{
    Result, clock,
    db::{
        Dialect,
        lease::{Held, Lease},
    },
    delegation::DelegationGrant,
    watched::Watched,
};
use metadata::automation::flow::{ChangeKind, RunAs, Trigger};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::start::{DEPTH_MAX, New, new_run};
use crate::{
    app::App,
    catalog::{Catalog, Flow},
    store::{self, NewRun},
};

/// The consumer, and the lease under which it follows.
const NAME: &str = "flow triggers";
/// The process that follows is replaced when it is silent for so long.
const TERM: Duration = Duration::from_secs(2);
/// The same on SQLite, where no other process is there to replace it.
const TERM_ALONE: Duration = Duration::from_secs(60);
/// How often it is looked whether other objects are to be followed.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is kept how far changes have been looked at that start nothing.
const KEEP: Duration = Duration::from_secs(1);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts the task; it ends with the node.
pub(super) fn spawn(app: &Arc<App>) {
    let (weak, stop) = (Arc::downgrade(app), app.tasks.stop_token());
    let (db, tasks) = (app.db.clone(), app.tasks.clone());
    app.tasks.spawn(async move {
        let is_alone = db.dialect() == Dialect::Sqlite;
        if is_alone && let Err(error) = store::free(&db, NAME).await {
            tracing::debug!(%error, "the last lease of the triggers has to run out");
        }
        let term = if is_alone { TERM_ALONE } else { TERM };
        let lease = Lease::new(db, NAME, term);
        lease
            .keep(&stop, tasks.watched("flow_triggers_lease"), |held| {
                let (weak, tasks) = (weak.clone(), tasks.clone());
                async move {
                    let mut watched = tasks.watched("flow_triggers");
                    loop {
                        let Some(app) = weak.upgrade() else {
                            return sleep(LOOK).await;
                        };
                        match follow(&app, &held, &mut watched).await {
                            Ok(()) => {}
                            Err(error) => {
                                watched.failed(&error);
                                drop(app);
                                sleep(PAUSE).await;
                            }
                        }
                    }
                }
            })
            .await;
    });
}

/// Follows the changes until the stream ends, or other objects are to be followed.
async fn follow(app: &App, held: &Held, watched: &mut Watched) -> Result<()> {
    let objects = app.catalog.current()?.triggering();
    let following = Following {
        // What was written before there were flows starts none.
        after: store::followed(&app.db, NAME).await?,
        objects: Objects::Only(objects.clone()),
    };
    let mut follower = Follower::open(&app.data, &app.own, following).await?;
    watched.succeeded();
    let mut progress = Progress {
        kept: Instant::now(),
        unkept: None,
    };
    loop {
        let look_at = Instant::now() + LOOK;
        let event = match timeout_at(look_at, follower.next()).await {
            Ok(event) => Some(event?),
            Err(_) => None,
        };
        let catalog = app.catalog.current()?;
        if catalog.triggering() != objects {
            // What came before a flow does not start it.
            return progress.keep(app, held).await;
        }
        match event {
            None => progress.keep(app, held).await?,
            Some(changes::Event::Changes(told)) => {
                take_in(app, held, &catalog, told, &mut progress).await?;
            }
            Some(changes::Event::Gone { position }) => {
                tracing::warn!(
                    position,
                    "changes were missed; flows that they trigger did not start"
                );
                return Ok(store::jump(&app.db, held, NAME, position).await?);
            }
            Some(changes::Event::Ended) => return progress.keep(app, held).await,
        }
    }
}

/// How far changes have been looked at that start nothing. They may be looked at again, so that is not
/// kept each time.
struct Progress {
    kept: Instant,
    unkept: Option<i64>,
}

impl Progress {
    async fn keep(&mut self, app: &App, held: &Held) -> Result<()> {
        if let Some(position) = self.unkept.take() {
            store::follow_on(&app.db, held, NAME, position, Vec::new()).await?;
            self.kept = Instant::now();
        }
        Ok(())
    }
}

/// Keeps the runs that changes start, with how far they go.
async fn take_in(
    app: &App,
    held: &Held,
    catalog: &Catalog,
    told: ChangeBatch,
    progress: &mut Progress,
) -> Result<()> {
    let mut runs = Vec::new();
    for change in &told.changes {
        runs.extend(started(app, catalog, change).await?);
    }
    if runs.is_empty() {
        progress.unkept = Some(told.position);
        return match progress.kept.elapsed() < KEEP {
            true => Ok(()),
            false => progress.keep(app, held).await,
        };
    }
    progress.unkept = None;
    if store::follow_on(&app.db, held, NAME, told.position, runs).await? {
        app.driver.queue.wake();
    }
    Ok(())
}

/// The runs that a change starts.
async fn started(app: &App, catalog: &Catalog, change: &Change) -> Result<Vec<NewRun>> {
    let kind = match change.operation {
        Operation::Create => ChangeKind::Create,
        Operation::Update => ChangeKind::Update,
        Operation::Delete => ChangeKind::Delete,
        Operation::Unknown => return Ok(Vec::new()),
    };
    let mut runs = Vec::new();
    let mut read = None;
    let mut known_depth = None;
    for flow in catalog.flows() {
        let triggers = flow
            .triggers
            .iter()
            .filter(|_| flow.spec.disabled.is_none());
        let mut triggers =
            triggers.filter(|one| one.object == change.object && one.events.contains(&kind));
        let (record, previous) = match &mut read {
            Some(read) => read,
            None => match records(change) {
                Ok(records) => read.insert(records),
                Err(error) => {
                    let (object, record_id) = (&*change.object, &*change.record_id);
                    tracing::error!(%error, object, record_id, "a change starts no flows: it is no JSON");
                    return Ok(Vec::new());
                }
            },
        };
        if !triggers.any(|trigger| holds(flow, trigger, change, record, previous)) {
            continue;
        }
        // The platform's own writes have no user that a flow could run as.
        let user_id = change.user_id.as_deref();
        if user_id.is_none() && flow.spec.run_as == RunAs::User {
            continue;
        }
        // The same for every flow that the change starts.
        let depth = match known_depth {
            Some(depth) => depth,
            None => {
                let outer = store::depth_of(&app.db, &change.request_id).await?;
                *known_depth.insert(outer.map_or(0, |depth| depth + 1))
            }
        };
        if depth > DEPTH_MAX {
            tracing::warn!(
                flow = flow.name(),
                object = change.object,
                record.id = change.record_id,
                "flows trigger flows more than {DEPTH_MAX} deep; this one does not start"
            );
            continue;
        }
        let organization = record.get("organization_id").and_then(Value::as_str);
        let grant = user_id.map(|id| DelegationGrant::by_itself(id, organization));
        runs.push(new_run(
            flow,
            New {
                trigger: "record_change",
                user_id,
                grant: grant.as_ref(),
                object: Some(&change.object),
                record_id: Some(&change.record_id),
                input: Map::new(),
                context: json!({"record": record, "previous": previous}),
                warnings: Vec::new(),
                depth,
            },
        )?);
    }
    Ok(runs)
}

/// The record of a change, and what it was before. A record that was deleted is as it last was.
fn records(change: &Change) -> serde_json::Result<(Value, Value)> {
    let before = change.before::<Value>()?.unwrap_or_default();
    let after = change.after::<Value>()?;
    Ok((after.unwrap_or_else(|| before.clone()), before))
}

fn holds(
    flow: &Flow,
    trigger: &Trigger,
    change: &Change,
    record: &Value,
    previous: &Value,
) -> bool {
    let Some(condition) = &trigger.condition else {
        return true;
    };
    let at = clock::from_unix_ms(change.at_ms);
    let user = json!({"id": change.user_id});
    let scope = expr::Scope::new(at)
        .record(record)
        .previous(previous)
        .user(&user);
    flow.holds(condition, &scope).unwrap_or_else(|why| {
        tracing::warn!(
            flow = flow.name(),
            why,
            "the condition of a trigger cannot be told"
        );
        false
    })
}
