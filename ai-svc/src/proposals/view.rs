//! Who sees which pending actions, and what of them: the user for whom it would be done, who decided
//! it, and who may read its target, each masked by their own rights. The rest is not there.

use std::collections::{HashMap, HashSet};

use mesh::{Ctx, Result, error::Reason};
use metadata::ItemType;
use serde_json::{Value, json};

use super::digest::masked;
use super::not_found;
use crate::{
    app::App,
    domain::{change::ChangeKind, message::wrong},
    paging::{self, Page},
    store::{Filter, Pending, Status, moment},
};

/// Rows that a list looks at, the newest first.
const LOOKED_AT: i64 = 5_000;
/// Ids that one query asks for.
const ASKED: usize = 200;

/// Which pending actions are wanted.
#[derive(Debug, Default)]
pub(crate) struct Which {
    pub(crate) status: String,
    pub(crate) conversation_id: String,
    pub(crate) object_name: String,
    pub(crate) limit: Option<u32>,
    pub(crate) cursor: String,
}

/// What a viewer may know of an object.
#[derive(Clone, Default)]
pub(super) struct VisibleFields {
    /// The fields, if the object may be read at all.
    fields: Option<HashSet<String>>,
}

impl VisibleFields {
    pub(super) fn sees(&self, field: &str) -> bool {
        self.fields
            .as_ref()
            .is_some_and(|fields| fields.contains(field))
    }
}

/// A page of the pending actions that the caller may see, newest first.
///
/// # Errors
/// VALIDATION_ERROR naming the parameter.
pub(crate) async fn list(app: &App, ctx: &Ctx, which: &Which) -> Result<Page> {
    let stated = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let status = match which.status.as_str() {
        "" => None,
        word => {
            let status = Status::parse(word);
            Some(status.ok_or_else(|| wrong("status", "invalid_option", "is no state"))?)
        }
    };
    let limit = usize::try_from(paging::size(which.limit)?).unwrap_or(usize::MAX);
    let before = paging::cursor(&which.cursor)?;
    // What is over counts as such, also before the sweep has been there.
    app.store.expire(ctx.now).await?;
    let filter = Filter {
        status,
        conversation_id: stated(&which.conversation_id),
        object_name: stated(&which.object_name),
    };
    let rows = app.store.all_pending(&filter, LOOKED_AT).await?;
    let rows = visible(app, ctx, rows).await?;
    let total = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let behind = rows
        .into_iter()
        .filter(|row| before.is_none_or(|before| row.id.as_str() < before));
    let mut page: Vec<Pending> = behind.take(limit.saturating_add(1)).collect();
    let further = page.len() > limit;
    page.truncate(limit);
    let mut known: HashMap<String, VisibleFields> = HashMap::new();
    let mut items = Vec::with_capacity(page.len());
    for row in &page {
        let visible_fields = match &row.object_name {
            Some(object) => {
                if !known.contains_key(object) {
                    known.insert(object.clone(), visible_fields(app, ctx, object).await?);
                }
                known.get(object)
            }
            None => None,
        };
        items.push(shown(row, visible_fields));
    }
    Ok(Page {
        next_cursor: page.last().filter(|_| further).map(|row| row.id.clone()),
        items,
        total,
    })
}

/// A pending action as the caller sees it.
///
/// # Errors
/// NOT_FOUND, also for one that the caller may not see.
pub(crate) async fn show(app: &App, ctx: &Ctx, id: &str) -> Result<Value> {
    app.store.expire(ctx.now).await?;
    let (row, visible_fields) = seen(app, ctx, id).await?;
    Ok(shown(&row, visible_fields.as_ref()))
}

/// A pending action that the caller may see, and what they see of its object.
///
/// # Errors
/// NOT_FOUND.
pub(super) async fn seen(
    app: &App,
    ctx: &Ctx,
    id: &str,
) -> Result<(Pending, Option<VisibleFields>)> {
    let row = app.store.pending(id).await?.ok_or_else(|| not_found(id))?;
    let mut seen = visible(app, ctx, vec![row]).await?;
    let row = seen.pop().ok_or_else(|| not_found(id))?;
    let visible_fields = match &row.object_name {
        Some(object) => Some(visible_fields(app, ctx, object).await?),
        None => None,
    };
    Ok((row, visible_fields))
}

async fn visible_fields(app: &App, ctx: &Ctx, object: &str) -> Result<VisibleFields> {
    match app.services.metadata.fields(ctx, object).await {
        Ok(fields) => Ok(VisibleFields {
            fields: Some(fields),
        }),
        Err(error) if is_hidden(error.reason()) => Ok(VisibleFields::default()),
        Err(error) => Err(error),
    }
}

/// The rows that the caller may see, in their order.
async fn visible(app: &App, ctx: &Ctx, rows: Vec<Pending>) -> Result<Vec<Pending>> {
    let caller = ctx.identity()?.subject.clone();
    let own =
        |row: &Pending| row.requested_by == caller || row.decided_by.as_ref() == Some(&caller);
    let mut records: HashMap<&str, HashSet<&str>> = HashMap::new();
    let mut targets: HashSet<(ItemType, &str)> = HashSet::new();
    for row in rows.iter().filter(|row| !own(row)) {
        match (&row.object_name, &row.record_id) {
            (Some(object), Some(id)) => {
                records.entry(object).or_default().insert(id);
            }
            (Some(object), None) => {
                targets.insert((ItemType::Object, object));
            }
            (None, _) => {
                targets.insert((item_type(row), &row.action_name));
            }
        }
    }
    let mut readable: HashSet<(String, String)> = HashSet::new();
    for (object, ids) in records {
        let ids: Vec<&str> = ids.into_iter().collect();
        for some in ids.chunks(ASKED) {
            let query = json!({"where": {"id": {"$in": some}}, "fields": ["id"], "limit": ASKED, "count": false});
            let found = match app.services.records.query(ctx, object, &query).await {
                Ok(found) => found,
                Err(error) if is_hidden(error.reason()) => continue,
                Err(error) => return Err(error),
            };
            let ids = found.items.into_iter().map(|record| record.id);
            readable.extend(ids.map(|id| (object.to_owned(), id)));
        }
    }
    let mut known: HashSet<(ItemType, String)> = HashSet::new();
    for (item_type, name) in targets {
        match app.services.metadata.item(ctx, item_type, name).await {
            Ok(_) => {
                known.insert((item_type, name.to_owned()));
            }
            Err(error) if is_hidden(error.reason()) => {}
            Err(error) => return Err(error),
        }
    }
    let sees = |row: &Pending| {
        own(row)
            || match (&row.object_name, &row.record_id) {
                (Some(object), Some(id)) => readable.contains(&(object.clone(), id.clone())),
                (Some(object), None) => known.contains(&(ItemType::Object, object.clone())),
                (None, _) => known.contains(&(item_type(row), row.action_name.clone())),
            }
    };
    let seen: HashSet<String> = rows
        .iter()
        .filter(|row| sees(row))
        .map(|row| row.id.clone())
        .collect();
    Ok(rows
        .into_iter()
        .filter(|row| seen.contains(&row.id))
        .collect())
}

/// What kind of metadata a row without an object is about.
fn item_type(row: &Pending) -> ItemType {
    match row.kind {
        ChangeKind::Flow => ItemType::Flow,
        ChangeKind::Action
        | ChangeKind::CreateRecord
        | ChangeKind::UpdateRecord
        | ChangeKind::DeleteRecord => ItemType::Action,
    }
}

/// Whether a refusal means that there is nothing to see.
fn is_hidden(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NotFound
            | Reason::PermissionDenied
            | Reason::MethodNotAllowed
            | Reason::ValidationError
    )
}

/// A row as the API shows it; with a sight, without the fields that it does not reach.
pub(super) fn shown(row: &Pending, visible_fields: Option<&VisibleFields>) -> Value {
    let sees = |field: &str| visible_fields.is_none_or(|visible_fields| visible_fields.sees(field));
    let parsed = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or("null");
        serde_json::from_str::<Value>(text).unwrap_or_default()
    };
    let mut input = row.input();
    let mut diff = Value::Null;
    if row.kind.writes_record() {
        if !input["data"].is_null() {
            input["data"] = masked(&input["data"], sees);
        }
        diff = json!({
            "before": masked(&parsed(&row.before), sees),
            "after": masked(input.get("data").unwrap_or(&Value::Null), sees),
        });
    }
    let made = result(row, parsed(&row.result), visible_fields);
    json!({
        "id": row.id,
        "conversation_id": row.conversation_id,
        "message_id": row.message_id,
        "object_name": row.object_name,
        "record_id": row.record_id,
        "record_version": row.record_version,
        "action_name": row.action_name,
        "tool_name": row.tool_name,
        "tool_input": input,
        "diff": diff,
        "status": row.status.as_str(),
        "result": made,
        "error": parsed(&row.error),
        "rejection_reason": row.rejection_reason,
        "comment": row.comment,
        "proposed_by": row.proposed_by,
        "requested_by": row.requested_by,
        "decided_by": row.decided_by,
        "proposed_at": moment(row.proposed_at),
        "decided_at": row.decided_at.map(moment),
        "expires_at": moment(row.expires_at),
        "digest": row.digest,
    })
}

/// What came of a change as a viewer may see it: a record without the fields that their sight does not
/// reach, and what an action or a flow put out as it is.
pub(super) fn result(
    row: &Pending,
    result: Value,
    visible_fields: Option<&VisibleFields>,
) -> Value {
    match visible_fields {
        Some(visible_fields) if row.kind.writes_record() => masked(&result, |field| {
            visible_fields.sees(field) || matches!(field, "object" | "success")
        }),
        Some(_) | None => result,
    }
}
