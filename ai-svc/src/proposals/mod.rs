//! Mutations that a model proposed (spec/ai.md §9): kept until a person decides, then carried out once
//! as the user who asked for them.
//!
//! Invariant: `pending → approved` is one conditional update; what is approved is carried out under the
//! idempotency key of its row, by whoever claimed it or, after a crash, by the sweep.

mod decide;
mod execute;
mod view;

use mesh::{Ctx, Error, Result, error::Reason};
use metadata::canonical;
use serde_json::{Value, json};

pub(crate) use view::Which;

use crate::{
    agent::Run,
    app::App,
    domain::proposal::{Bound, values},
    store::{Pending, Status, moment},
    tools::{Kind, Tool},
};

/// Longest input that is kept, in bytes.
const INPUT_MAX: usize = 64 * 1024;

/// Keeps a proposal; gives its id, and the row as its user sees it.
///
/// # Errors
/// Those of data-svc for a target that the user may not read; VALIDATION_ERROR for a field that
/// is not there.
pub(crate) async fn propose(
    app: &App,
    ctx: &Ctx,
    run: &Run,
    tool: &Tool,
    input: &Value,
) -> Result<(String, Value)> {
    let text = |key: &str| input[key].as_str().map(str::to_owned);
    let tool_input = canonical::to_string(input);
    if tool_input.len() > INPUT_MAX {
        return Err(Error::validation("TOO_LARGE", "The input is too large"));
    }
    let (object_name, record_id) = match &tool.kind {
        Kind::Action { object, .. } => (object.clone(), text("recordId")),
        Kind::Flow { .. } => (None, None),
        _ => (text("objectName"), text("recordId")),
    };
    let data = input["data"].as_object();
    if let (Some(data), Some(object)) = (data, &object_name) {
        let fields = self.fields(ctx, object).await?;
        if let Some(field) = data.keys().find(|field| !fields.contains(*field)) {
            let message = format!("There is no field {field} in {object}");
            return Err(Error::validation("INVALID_FIELD", message));
        }
    }
    let (mut before, mut record_version) = (None, None);
    if let (Some(object), Some(id)) = (&object_name, &record_id) {
        let (record, version) = self.services.get(ctx, object, id, "").await?;
        record_version = Some(version);
        before = match (&tool.kind, data) {
            (Kind::UpdateRecord, Some(data)) => Some(values(&record, data.keys())),
            (Kind::DeleteRecord, _) => Some(record),
            _ => None,
        };
    }
    let now = ctx.now;
    let beginning = run.acting.beginning().clone();
    let mut pending = Pending {
        id: mesh::id::new(),
        conversation_id: run.conversation_id.clone(),
        message_id: Some(run.message_id.clone()),
        tool_name: tool.spec.name.clone(),
        tool_hash: tool.hash.clone(),
        tool_input,
        object_name,
        record_id,
        record_version,
        action_name: tool.kind.action_name().to_owned(),
        before: before.map(|before| before.to_string()),
        status: Status::Pending,
        result: None,
        error: None,
        rejection_reason: None,
        comment: None,
        proposed_by: run
            .agent
            .name
            .clone()
            .unwrap_or_else(|| "assistant".to_owned()),
        requested_by: beginning.user_id.clone(),
        beginning,
        decided_by: None,
        proposed_at: now,
        decided_at: None,
        expires_at: now + self.lifetime,
        digest: String::new(),
    };
    pending.digest = digest(&pending);
    let id = pending.id.clone();
    let event = Self::event(ctx, "ai.pending_action.queued", Some(id.clone()))?;
    let shown = view::shown(&pending, None);
    self.store.propose(pending, event).await?;
    Ok((id, shown))
}

/// Names of the fields of an object that the caller may see.
async fn fields(app: &App, ctx: &Ctx, object: &str) -> Result<std::collections::HashSet<String>> {
    let item = self.services.item(ctx, "object", object).await?;
    let fields = item["fields"].as_object();
    Ok(fields
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default())
}

/// The digest of a proposal as its row stands.
fn digest(pending: &Pending) -> String {
    let input = pending.input();
    let expires_at = moment(pending.expires_at);
    let bound = Bound {
        id: &pending.id,
        tool: &pending.tool_name,
        tool_hash: &pending.tool_hash,
        input: &input,
        target: (
            pending.object_name.as_deref(),
            pending.record_id.as_deref(),
            pending.record_version,
        ),
        proposed_by: &pending.proposed_by,
        requested_by: &pending.requested_by,
        expires_at: &expires_at,
    };
    bound.digest()
}

fn not_found(id: &str) -> Error {
    Error::not_found(
        "PENDING_ACTION_NOT_FOUND",
        "There is no such pending action",
    )
    .with("id", id)
}

/// The state of the row does not allow a decision.
fn decided(id: &str, status: Status) -> Error {
    let message = format!("The pending action is {} already", status.as_str());
    Error::new(Reason::InvalidState, message)
        .with("reason", "NOT_PENDING")
        .with("id", id)
        .with("status", status.as_str())
}

/// What is to be approved is not what it was.
fn changed(id: &str, reason: &str, message: &str) -> Error {
    Error::new(Reason::ConcurrentUpdate, message)
        .with("reason", reason)
        .with("id", id)
}

/// An error as a row keeps it and an approver is told of it.
fn kept(error: &Error) -> Value {
    json!({"code": error.reason().rest_code(), "message": error.message()})
}
