//! Decisions: approve, and reject.

use std::sync::Arc;

use mesh::{Ctx, Error, Result, audit::Entry, error::Reason};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::{
    changed, decided, digest,
    execute::{Done, claimed_until, execute},
    not_found,
    view::{VisibleFields, result, seen},
};
use crate::{
    app::{self, App, PENDING_ACTION},
    domain::{
        body::{known, object},
        message::{Message, Role, wrong},
    },
    store::{Pending, Status, Stored},
    tools,
};

/// Longest comment or reason, in characters.
const TEXT_MAX: usize = 2_000;

/// Approves a pending action and carries it out.
///
/// # Errors
/// NOT_FOUND; INVALID_STATE when it is decided; PERMISSION_DENIED for who cannot see all that
/// would change; CONCURRENT_UPDATE when it, its tool or its target is another by now; ACTION_FAILED
/// when it could not be carried out.
pub(crate) async fn approve(app: &Arc<App>, ctx: &Ctx, id: &str, body: &[u8]) -> Result<Value> {
    let decider = person(ctx)?;
    let body = decision(body, &["digest", "comment"])?;
    let (given, comment) = (text(&body, "digest")?, text(&body, "comment")?);
    let (row, visible_fields) = decidable(app, ctx, id).await?;
    check_visible(&row, visible_fields.as_ref())?;
    if given.is_some_and(|given| given != row.digest) || digest(&row) != row.digest {
        let message = "The pending action is another one than was shown";
        return Err(changed(id, "DIGEST_MISMATCH", message));
    }
    check_tool(app, ctx, &row).await?;
    check_target(app, ctx, &row).await?;
    let entry = Entry::of(ctx, "ai.pending_action.approved").on(PENDING_ACTION, id);
    let until = claimed_until(&row, ctx.now);
    if !app
        .store
        .claim(&row, decider, comment, until, entry)
        .await?
    {
        let now = app.store.pending(id).await?.ok_or_else(|| not_found(id))?;
        return Err(decided(id, now.status));
    }
    // From here on it is done, whether the approver waits or not.
    let (sender, done) = oneshot::channel();
    let (shared, claimed) = (Arc::clone(app), row.clone());
    let request_id = ctx.request_id.to_string();
    app.tasks.spawn(async move {
        let done = Box::pin(execute(&shared, &claimed, request_id)).await;
        let _nobody_waits = sender.send(done);
    });
    let lost = |_| Error::unavailable("The service that carries it out");
    match done.await.map_err(lost)?? {
        Done::Executed(made) => {
            let shown = result(&row, made, visible_fields.as_ref());
            Ok(json!({"id": id, "status": "executed", "result": shown}))
        }
        Done::Failed(error) => Err(Error::new(
            Reason::PendingActionFailed,
            format!(
                "What was approved could not be carried out: {}",
                error["message"].as_str().unwrap_or_default()
            ),
        )
        .with("id", id)
        .with("status", "failed")
        .with("error", error)),
    }
}

/// Discards a pending action.
///
/// # Errors
/// NOT_FOUND; INVALID_STATE when it is decided.
pub(crate) async fn reject(app: &App, ctx: &Ctx, id: &str, body: &[u8]) -> Result<Value> {
    let decider = person(ctx)?;
    let body = decision(body, &["reason", "comment"])?;
    let reason = match text(&body, "reason")? {
        Some(reason) => Some(reason),
        None => text(&body, "comment")?,
    };
    let (row, _) = decidable(app, ctx, id).await?;
    let entry = Entry::of(ctx, "ai.pending_action.rejected").on(PENDING_ACTION, id);
    let told = match &reason {
        Some(reason) => format!("was rejected: {reason}"),
        None => "was rejected.".to_owned(),
    };
    let note = note(&row, &told, ctx.now);
    if !app
        .store
        .reject(&row, decider, reason.clone(), entry, note)
        .await?
    {
        let now = app.store.pending(id).await?.ok_or_else(|| not_found(id))?;
        return Err(decided(id, now.status));
    }
    Ok(json!({"id": id, "status": "rejected", "reason": reason}))
}

/// A pending action that the caller may see and that is still to be decided.
async fn decidable(app: &App, ctx: &Ctx, id: &str) -> Result<(Pending, Option<VisibleFields>)> {
    app.store.expire(ctx.now).await?;
    let (row, visible_fields) = seen(app, ctx, id).await?;
    match row.status {
        Status::Pending => Ok((row, visible_fields)),
        status => Err(decided(id, status)),
    }
}

/// Who cannot see a field that would change cannot approve it; which one is not said.
fn check_visible(row: &Pending, visible_fields: Option<&VisibleFields>) -> Result<()> {
    let input = row.input();
    let mut fields = input["data"].as_object().into_iter().flat_map(Map::keys);
    let hidden = match visible_fields {
        Some(visible_fields) if row.kind.writes_record() => {
            fields.any(|field| !visible_fields.sees(field))
        }
        _ => false,
    };
    match hidden {
        false => Ok(()),
        true => Err(Error::denied("You cannot see all that this would change")
            .with("reason", "FIELDS_NOT_VISIBLE")
            .with("id", row.id.as_str())),
    }
}

/// The tool has to be the one that was proposed.
async fn check_tool(app: &App, ctx: &Ctx, row: &Pending) -> Result<()> {
    let snapshot = app::snapshot(app).await?;
    match tools::definition(&snapshot, &row.tool_name) {
        Some((_, hash)) if hash == row.tool_hash => Ok(()),
        _ => {
            tracing::info!(
                request.id = &*ctx.request_id,
                "the tool of a pending action changed"
            );
            let message = "The tool was changed since this was proposed";
            Err(changed(&row.id, "DIGEST_MISMATCH", message))
        }
    }
}

/// The target has to be as it was when the change was proposed.
async fn check_target(app: &App, ctx: &Ctx, row: &Pending) -> Result<()> {
    let (Some(object), Some(id)) = (&row.object_name, &row.record_id) else {
        return Ok(());
    };
    let moved = || {
        let message = "The record was changed since this was proposed";
        changed(&row.id, "TARGET_CHANGED", message)
            .with("object", object.as_str())
            .with("recordId", id.as_str())
    };
    match app.services.records.get(ctx, object, id).await {
        Ok(record) if Some(record.version) == row.record_version => {
            // Where the object keeps no versions, the values have to be those of then.
            match record.version > 0 || same(&record.value, row.before.as_deref()) {
                true => Ok(()),
                false => Err(moved()),
            }
        }
        Ok(_) => Err(moved()),
        Err(error) if error.reason() == Reason::NotFound => Err(moved()),
        Err(error) => Err(error),
    }
}

/// Whether a record has the values that it had, as far as they are seen.
fn same(record: &Value, before: Option<&str>) -> bool {
    let before = before.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let mut before = before.iter().flatten();
    before.all(|(field, value)| record.get(field).is_none_or(|now| now == value))
}

/// A person decides, and no agent for them.
fn person(ctx: &Ctx) -> Result<&str> {
    let identity = ctx.identity()?;
    match identity.actor {
        None => Ok(&identity.subject),
        Some(_) => {
            let refused = Error::denied("Only a person decides about this");
            Err(refused.with("reason", "AGENT_CANNOT_DECIDE"))
        }
    }
}

/// What a conversation is told of a decision.
pub(super) fn note(row: &Pending, what: &str, now: time::OffsetDateTime) -> Stored {
    let target = match (&row.object_name, &row.record_id) {
        (Some(object), Some(id)) => format!(" ({object}/{id})"),
        (Some(object), None) => format!(" ({object})"),
        (None, _) => String::new(),
    };
    let text = format!("The proposed {}{target} {what}", row.tool_name);
    Stored::new(Message::new(Role::System, text), None, now)
}

fn decision(body: &[u8], keys: &[&str]) -> Result<Map<String, Value>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let map = object(body)?;
    known(&map, &[keys])?;
    Ok(map)
}

fn text(map: &Map<String, Value>, key: &str) -> Result<Option<String>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() > TEXT_MAX => {
            Err(wrong(key, "too_long", "is too long"))
        }
        Some(Value::String(text)) => Ok(Some(text.replace('\0', ""))),
        Some(_) => Err(wrong(key, "type", "must be a text")),
    }
}
