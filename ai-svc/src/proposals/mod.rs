//! Mutations that a model proposed (docs/reference/ai.md §9): kept until a person decides, then carried out once
//! as the user who asked for them.
//!
//! Invariant: `pending → approved` is one conditional update; what is approved is carried out under the
//! idempotency key of its row, by whoever claimed it or, after a crash, by the queue.

mod decide;
mod digest;
mod execute;
mod resume;
mod view;

use mesh::{Ctx, Error, Result, audit::Entry, delegation::DelegationGrant, error::Reason};
use metadata::canonical;
use serde_json::{Value, json};

pub(crate) use decide::{approve, reject};
pub(crate) use resume::start as resume;
pub(crate) use view::{Which, list, show};

use crate::{
    app::{App, PENDING_ACTION},
    store::{Pending, Status, moment},
    tools::{Change, Tool},
};
use digest::{Bound, values};

/// Longest input that is kept, in bytes.
const INPUT_MAX: usize = 64 * 1024;

/// Where a proposal comes from.
pub(crate) struct Origin {
    /// The conversation, where one is kept.
    pub(crate) conversation_id: Option<String>,
    /// Id of the answer that it is part of.
    pub(crate) message_id: String,
    /// Name of the agent; none for the built-in assistant.
    pub(crate) agent: Option<String>,
    /// How the work of the user began: it is carried out as this.
    pub(crate) grant: DelegationGrant,
}

/// Keeps a proposal; gives its id, and the row as its user sees it.
///
/// # Errors
/// Those of data-svc for a target that the user may not read; VALIDATION_ERROR for a field that
/// is not there.
pub(crate) async fn propose(
    app: &App,
    ctx: &Ctx,
    origin: Origin,
    tool: &Tool,
    change: &Change,
    input: &Value,
) -> Result<(String, Value)> {
    let text = |key: &str| input[key].as_str().map(str::to_owned);
    let tool_input = canonical::to_string(input);
    if tool_input.len() > INPUT_MAX {
        return Err(Error::validation("TOO_LARGE", "The input is too large"));
    }
    let (object_name, record_id) = match change {
        Change::Action { object, .. } => (object.clone(), text("recordId")),
        Change::Flow { .. } => (None, None),
        Change::CreateRecord | Change::UpdateRecord | Change::DeleteRecord => {
            (text("objectName"), text("recordId"))
        }
    };
    let data = input["data"].as_object();
    if let (Some(data), Some(object), true) = (data, &object_name, change.kind().writes_record()) {
        let fields = app.services.metadata.fields(ctx, object).await?;
        if let Some(field) = data.keys().find(|field| !fields.contains(*field)) {
            let message = format!("There is no field {field} in {object}");
            return Err(Error::validation("INVALID_FIELD", message));
        }
    }
    let (mut before, mut record_version) = (None, None);
    if let (Some(object), Some(id)) = (&object_name, &record_id) {
        let record = app.services.records.get(ctx, object, id).await?;
        record_version = Some(record.version);
        before = match (change, data) {
            (Change::UpdateRecord, Some(data)) => Some(values(&record.value, data.keys())),
            (Change::DeleteRecord, _) => Some(record.value),
            (
                Change::UpdateRecord
                | Change::CreateRecord
                | Change::Action { .. }
                | Change::Flow { .. },
                _,
            ) => None,
        };
    }
    let now = ctx.now;
    let mut pending = Pending {
        id: mesh::id::new(),
        conversation_id: origin.conversation_id,
        message_id: Some(origin.message_id),
        tool_name: tool.spec.name.clone(),
        tool_hash: tool.hash.clone(),
        tool_input,
        kind: change.kind(),
        object_name,
        record_id,
        record_version,
        action_name: change.action_name().to_owned(),
        before: before.map(|before| before.to_string()),
        status: Status::Pending,
        result: None,
        error: None,
        rejection_reason: None,
        comment: None,
        proposed_by: origin.agent.unwrap_or_else(|| "assistant".to_owned()),
        requested_by: origin.grant.user_id.clone(),
        grant: origin.grant,
        decided_by: None,
        proposed_at: now,
        decided_at: None,
        expires_at: now + app.lifetime,
        digest: String::new(),
    };
    pending.digest = digest(&pending);
    let id = pending.id.clone();
    let entry = Entry::of(ctx, "ai.pending_action.queued").on(PENDING_ACTION, &id);
    let shown = view::shown(&pending, None);
    app.store.propose(pending, entry).await?;
    Ok((id, shown))
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
