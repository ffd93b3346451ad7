//! Starts the flows that a change of a record triggers.
//!
//! One process follows the changes, under a lease. Which run made a change is told by its request
//! id: all that a run does carries the run's own.

use std::{sync::Arc, time::Duration};

use mesh::{
    Error, Result, clock,
    db::{
        Dialect,
        lease::{Held, Lease},
    },
    delegation::Beginning,
    identity::Purpose,
};
use proto::data::v1::{
    Change, WatchChangesRequest, WatchChangesResponse, change_service_client::ChangeServiceClient,
};
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::start::{New, new_run};
use crate::{
    app::App,
    catalog::Catalog,
    domain::flow::{Event, Flow, RunAs, Trigger},
    store::{self, NewRun},
};

/// The consumer, and the lease under which it follows.
const NAME: &str = "flow triggers";
/// The process that follows is replaced when it is silent for so long.
const TERM: Duration = Duration::from_secs(2);
/// The same on SQLite, where no other process is there to replace it.
const TERM_ALONE: Duration = Duration::from_secs(60);
/// data-svc says something every five seconds.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long opening the stream may take.
const OPENING_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether other objects are to be followed.
const LOOK: Duration = Duration::from_millis(200);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// Runs that lead to a run at most.
pub(super) const DEPTH_MAX: i64 = 10;
/// No object has this name: it is followed where no flow has a trigger, so that the position moves.
const NOTHING: &str = "-";

/// Starts the task; it ends with the node.
pub(super) fn spawn(app: &Arc<App>) {
    let (weak, stop) = (Arc::downgrade(app), app.tasks.stop_token());
    let db = app.db.clone();
    app.tasks.spawn(async move {
        let is_alone = db.dialect() == Dialect::Sqlite;
        if is_alone && let Err(error) = store::free(&db, NAME).await {
            tracing::debug!(%error, "the last lease of the triggers has to run out");
        }
        let term = if is_alone { TERM_ALONE } else { TERM };
        let lease = Lease::new(db, NAME, term);
        lease
            .keep(&stop, |held| {
                let weak = weak.clone();
                async move {
                    let Some(app) = weak.upgrade() else {
                        return sleep(LOOK).await;
                    };
                    if let Err(error) = follow(&app, &held).await {
                        tracing::debug!(%error, "changes of records cannot be followed now");
                        sleep(PAUSE).await;
                    }
                }
            })
            .await;
    });
}

/// Follows the changes until the stream ends, or other objects are to be followed.
async fn follow(app: &App, held: &Held) -> Result<()> {
    let catalog = app.catalog.current()?;
    let objects = catalog.triggering();
    let known = store::followed(&app.db, NAME).await?;
    let message = WatchChangesRequest {
        after_position: known.unwrap_or_default(),
        objects: match objects.is_empty() {
            true => vec![NOTHING.to_owned()],
            false => objects.clone(),
        },
        // What was written before there were flows starts none.
        from_now: known.is_none(),
    };
    let request = app.own.stream_request(Purpose::FollowChanges, message);
    let request = request.await?;
    let mut client = ChangeServiceClient::new(app.data.clone())
        .max_decoding_message_size(mesh::node::MESSAGE_MAX);
    let opened = timeout(OPENING_MAX, client.watch_changes(request)).await;
    let mut changes = match opened.map_err(|_| silent())? {
        Ok(answer) => answer.into_inner(),
        Err(status) => return refused(app, held, &status).await,
    };
    let mut heard_ms = clock::unix_ms();
    loop {
        let told = match timeout(LOOK, changes.message()).await {
            Ok(Ok(Some(told))) => told,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(status)) => return refused(app, held, &status).await,
            Err(_) => {
                if app.catalog.current()?.triggering() != objects {
                    return Ok(());
                }
                let silent_ms = clock::unix_ms() - heard_ms;
                if u128::try_from(silent_ms).unwrap_or_default() > SILENCE_MAX.as_millis() {
                    return Err(silent());
                }
                continue;
            }
        };
        heard_ms = clock::unix_ms();
        let catalog = app.catalog.current()?;
        if catalog.triggering() != objects {
            return Ok(());
        }
        take_in(app, held, &catalog, told).await?;
    }
}

async fn take_in(
    app: &App,
    held: &Held,
    catalog: &Catalog,
    told: WatchChangesResponse,
) -> Result<()> {
    let mut runs = Vec::new();
    for change in &told.changes {
        runs.extend(started(app, catalog, change).await?);
    }
    let is_any = !runs.is_empty();
    if store::follow_on(&app.db, held, NAME, told.position, runs).await? && is_any {
        app.flows.wake.notify_one();
    }
    Ok(())
}

/// The changes after our position are gone, or data-svc has another database than before.
async fn refused(app: &App, held: &Held, status: &tonic::Status) -> Result<()> {
    let error = Error::from_status(status);
    if status.code() != Code::OutOfRange {
        return Err(error);
    }
    let position = error.detail("position").and_then(|position| {
        // As a number in our own details, as text where only the standard ones came across.
        position
            .as_i64()
            .or_else(|| position.as_str()?.parse().ok())
    });
    let Some(position) = position else {
        return Err(error);
    };
    tracing::warn!(
        position,
        "changes were missed; flows that they trigger did not start"
    );
    Ok(store::jump(&app.db, held, NAME, position).await?)
}

/// The runs that a change starts.
async fn started(app: &App, catalog: &Catalog, change: &Change) -> Result<Vec<NewRun>> {
    let Some(event) = Event::of_operation(&change.operation) else {
        return Ok(Vec::new());
    };
    let mut runs = Vec::new();
    let mut read = None;
    let mut known_depth = None;
    for flow in catalog.flows.values() {
        let triggers = flow.triggers.iter().filter(|_| flow.disabled.is_none());
        let mut triggers =
            triggers.filter(|one| one.object == change.object && one.events.contains(&event));
        let (record, previous) = read.get_or_insert_with(|| records(change));
        if !triggers.any(|trigger| holds(flow, trigger, change, record, previous)) {
            continue;
        }
        // The platform's own writes have no user that a flow could run as.
        if change.user_id.is_empty() && flow.run_as == RunAs::User {
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
                flow = flow.name,
                object = change.object,
                record.id = change.record_id,
                "flows trigger flows more than {DEPTH_MAX} deep; this one does not start"
            );
            continue;
        }
        let user_id = Some(change.user_id.as_str()).filter(|id| !id.is_empty());
        let organization = record.get("organization_id").and_then(Value::as_str);
        let beginning = user_id.map(|id| Beginning::by_itself(id, organization));
        runs.push(new_run(
            flow,
            New {
                trigger: "record_change",
                user_id,
                beginning: beginning.as_ref(),
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
fn records(change: &Change) -> (Value, Value) {
    let parse = |json: &[u8]| serde_json::from_slice(json).unwrap_or(Value::Null);
    let (before, after) = (parse(&change.before), parse(&change.after));
    match after {
        Value::Null => (before.clone(), before),
        after => (after, before),
    }
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
    condition.holds(&scope).unwrap_or_else(|why| {
        tracing::warn!(
            flow = flow.name,
            why,
            "the condition of a trigger cannot be told"
        );
        false
    })
}

fn silent() -> Error {
    Error::unavailable("The service that tells changes of records")
}
