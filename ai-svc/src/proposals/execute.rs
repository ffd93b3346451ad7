//! Carrying out what was approved: as the user who asked for it, with the rights they have now, and
//! once, also when whoever began it is killed on the way.

use std::{sync::Arc, time::Duration};

use mesh::{Error, Result, audit::Entry, clock, delegation::Task, error::Reason};
use serde_json::Value;
use time::OffsetDateTime;

use super::{decide::note, kept};
use crate::{
    app::{self, App, PENDING_ACTION},
    store::{Outcome, Pending},
    tools::{self, Kind},
};

/// Why ai-svc acts for the user.
const REASON: &str = "pending_action";
/// The longest a write of a record may take.
const WRITE: Duration = Duration::from_secs(8);
/// The longest an action or flow may take.
const RUN: Duration = Duration::from_secs(30);
/// How much longer whoever carries it out is left alone.
const MARGIN: Duration = Duration::from_secs(2);
/// How often it is tried with another token, and how soon.
const ATTEMPTS: u32 = 4;
const RENEW: Duration = Duration::from_millis(250);
/// When it is not tried any more: long before the keys of what was done are forgotten.
const GIVEN_UP: Duration = Duration::from_secs(60 * 60);

/// What came of it.
pub(super) enum Done {
    /// It was carried out.
    Executed(Value),
    /// It could not be.
    Failed(Value),
}

fn limit(row: &Pending) -> Duration {
    match row.kind.writes_record() {
        true => WRITE,
        false => RUN,
    }
}

/// Until when whoever claims it now is left alone.
pub(super) fn claimed_until(row: &Pending, now: OffsetDateTime) -> OffsetDateTime {
    now + limit(row) + MARGIN
}

/// Carries out an approved action and writes down what came of it.
///
/// # Errors
/// When it cannot be said whether it was done: it stays approved, and is done again ([`resume`](super::resume))
/// under the same key.
pub(super) async fn execute(app: &Arc<App>, row: &Pending, request_id: String) -> Result<Done> {
    let outcome = match Box::pin(carry_out(app, row)).await {
        Ok(result) => Outcome::Executed(result.to_string()),
        Err(error) if is_open(&error) && !is_late(row) => {
            tracing::warn!(pending_action.id = row.id, %error, "an approved action is tried again");
            let stays = error.with("id", row.id.as_str()).with("status", "approved");
            return Err(stays);
        }
        Err(error) => {
            if let Some(cause) = error.cause() {
                tracing::error!(
                    pending_action.id = row.id,
                    error = format!("{cause:#}"),
                    "an approved action failed"
                );
            }
            Outcome::Failed(kept(&error).to_string())
        }
    };
    let (action, told) = match &outcome {
        Outcome::Executed(_) => (
            "ai.pending_action.executed",
            "was approved and carried out.".to_owned(),
        ),
        Outcome::Failed(error) => (
            "ai.pending_action.failed",
            format!("was approved and failed: {error}"),
        ),
    };
    let now = clock::now();
    let actor = app::delegate(&row.grant, &row.id, REASON);
    let entry = Entry {
        at: now,
        organization_id: row.grant.organization_id.clone(),
        ..Entry::new(action, actor, &request_id).on(PENDING_ACTION, &row.id)
    };
    let note = note(row, &told, now);
    app.store
        .conclude(row, outcome.clone(), entry, note)
        .await?;
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or_default();
    Ok(match outcome {
        Outcome::Executed(result) => Done::Executed(parsed(&result)),
        Outcome::Failed(error) => Done::Failed(parsed(&error)),
    })
}

async fn carry_out(app: &App, row: &Pending) -> Result<Value> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match Box::pin(attempt(app, row)).await {
            // The rights of the user changed in this moment, and the token is one of before: it
            // was refused before anything was done.
            Err(error) if error.reason() == Reason::Unauthenticated && attempts < ATTEMPTS => {
                tokio::time::sleep(RENEW).await;
            }
            done => return done,
        }
    }
}

async fn attempt(app: &App, row: &Pending) -> Result<Value> {
    let task = Task {
        run_id: row.id.clone(),
        reason: REASON.to_owned(),
        while_waiting: false,
    };
    let delegated = app.delegation.act(row.grant.clone(), task);
    let ctx = delegated.ctx(limit(row)).await?;
    let snapshot = app::snapshot(app).await?;
    let Some((Kind::Change(change), _)) = tools::definition(&snapshot, &row.tool_name) else {
        let gone = "The tool is not there any more";
        return Err(Error::new(Reason::NotFound, gone));
    };
    let key = format!("pending-action:{}", row.id);
    let input = row.input();
    let (services, version) = (&app.services, row.record_version);
    tools::carry_out(services, &ctx, &change, &input, version, &key).await
}

/// Whether it was approved so long ago that it is not tried any more.
fn is_late(row: &Pending) -> bool {
    row.decided_at
        .is_some_and(|decided| clock::now() - decided > GIVEN_UP)
}

/// Whether it cannot be said that it was not done, or it may well be done in a moment.
fn is_open(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::ServiceUnavailable
            | Reason::Timeout
            | Reason::RateLimited
            | Reason::Unauthenticated
    )
}
