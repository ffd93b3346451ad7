//! Conversations: their owner's, and nobody else's; who holds `ai:admin` may read them.

use mesh::{Ctx, Error, Result};
use serde_json::{Map, Value, json};

use crate::{
    agents,
    app::{self, App},
    domain::{
        body::{known, object},
        message::{self, wrong},
    },
    paging::{self, Page},
    store::{Conversation, Stored},
};

/// Most messages that one conversation shows.
const SHOWN_MAX: i64 = 5_000;
/// Longest title, in characters.
const TITLE_MAX: usize = 200;
/// Longest metadata, in bytes.
const METADATA_MAX: usize = 16 * 1024;

/// Which conversations are wanted.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Those with this agent.
    pub(crate) agent_id: String,
    /// So many.
    pub(crate) limit: Option<u32>,
    /// Behind that one.
    pub(crate) cursor: String,
    /// Of that user.
    pub(crate) user_id: String,
}

/// A conversation that is not there, or not the caller's.
pub(crate) fn not_found(id: &str) -> Error {
    Error::not_found("CONVERSATION_NOT_FOUND", "There is no such conversation").with("id", id)
}

/// A conversation of the caller.
///
/// # Errors
/// NOT_FOUND, also for somebody else's.
pub(crate) async fn own(app: &App, ctx: &Ctx, id: &str) -> Result<Conversation> {
    let caller = &ctx.identity()?.subject;
    let found = app.store.conversation(id).await?;
    found
        .filter(|conversation| conversation.user_id == *caller)
        .ok_or_else(|| not_found(id))
}

/// A page of conversations.
///
/// # Errors
/// VALIDATION_ERROR; PERMISSION_DENIED for somebody else's without `ai:admin`.
pub(crate) async fn list(app: &App, ctx: &Ctx, wanted: &Wanted) -> Result<Page> {
    let identity = ctx.identity()?;
    let user = match wanted.user_id.as_str() {
        "" => identity.subject.as_str(),
        user if user == identity.subject => user,
        user if identity.has_permission("ai:admin") => user,
        _ => {
            return Err(Error::denied("Only an administrator may list these")
                .with("permission", "ai:admin")
                .with("subject", "conversations"));
        }
    };
    let limit = paging::size(wanted.limit)?;
    let before = paging::cursor(&wanted.cursor)?;
    let agent = Some(wanted.agent_id.as_str()).filter(|agent| !agent.is_empty());
    let more = i64::from(limit) + 1;
    let found = app.store.conversations(user, agent, before, more).await?;
    let (mut found, total) = found;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let further = found.len() > size;
    found.truncate(size);
    Ok(Page {
        next_cursor: found.last().filter(|_| further).map(|one| one.id.clone()),
        items: found.iter().map(Conversation::to_json).collect(),
        total,
    })
}

/// Begins a conversation.
///
/// # Errors
/// VALIDATION_ERROR naming the field.
pub(crate) async fn create(app: &App, ctx: &Ctx, body: &[u8]) -> Result<Value> {
    let map = object(body)?;
    known(
        &map,
        &[&[
            "title",
            "agentId",
            "metadata",
            "messages",
            "userId",
            "id",
            "createdAt",
            "updatedAt",
        ]],
    )?;
    let identity = ctx.identity()?;
    let agent_id = match map.get("agentId") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => {
            let snapshot = app::snapshot(app).await?;
            agents::choose(&snapshot, identity, Some((name, "agentId")))?;
            Some(name.clone())
        }
        Some(_) => return Err(wrong("agentId", "type", "must be a text")),
    };
    let messages = match map.get("messages") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) if list.is_empty() => Vec::new(),
        list => message::list(list)?,
    };
    let conversation = Conversation {
        id: mesh::id::new(),
        user_id: identity.subject.clone(),
        organization_id: identity.organization_id.clone(),
        agent_id,
        title: title(&map)?.flatten(),
        metadata: metadata(&map)?.unwrap_or_default(),
        created_at: ctx.now,
        updated_at: ctx.now,
    };
    let messages: Vec<Stored> = messages
        .into_iter()
        .map(|message| Stored::new(message, None, ctx.now))
        .collect();
    let shown = shown(&conversation, &messages);
    app.store
        .create_conversation(conversation, messages)
        .await?;
    Ok(shown)
}

/// A conversation with its messages.
///
/// # Errors
/// NOT_FOUND, also for somebody else's, except to holders of `ai:admin`.
pub(crate) async fn show(app: &App, ctx: &Ctx, id: &str) -> Result<Value> {
    let conversation = match ctx.identity()?.has_permission("ai:admin") {
        true => app
            .store
            .conversation(id)
            .await?
            .ok_or_else(|| not_found(id))?,
        false => own(app, ctx, id).await?,
    };
    let messages = app.store.messages(id, SHOWN_MAX).await?;
    Ok(shown(&conversation, &messages))
}

/// Changes title or metadata.
///
/// # Errors
/// VALIDATION_ERROR naming the field; NOT_FOUND.
pub(crate) async fn change(app: &App, ctx: &Ctx, id: &str, body: &[u8]) -> Result<Value> {
    let map = object(body)?;
    known(&map, &[&["title", "metadata"]])?;
    let (title, metadata) = (title(&map)?, metadata(&map)?);
    own(app, ctx, id).await?;
    let metadata = metadata.as_ref();
    if !app
        .store
        .change_conversation(id, title, metadata, ctx.now)
        .await?
    {
        return Err(not_found(id));
    }
    show(app, ctx, id).await
}

/// Deletes a conversation.
///
/// # Errors
/// NOT_FOUND.
pub(crate) async fn delete(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    own(app, ctx, id).await?;
    app.store.delete_conversation(id).await
}

fn shown(conversation: &Conversation, messages: &[Stored]) -> Value {
    let mut shown = conversation.to_json();
    shown["messages"] = messages.iter().map(Stored::to_json).collect();
    shown
}

fn title(map: &Map<String, Value>) -> Result<Option<Option<String>>> {
    match map.get("title") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(title))
            if title.chars().count() <= TITLE_MAX && !title.contains('\0') =>
        {
            Ok(Some(Some(title.clone())))
        }
        Some(Value::String(_)) => Err(wrong("title", "too_long", "is too long")),
        Some(_) => Err(wrong("title", "type", "must be a text")),
    }
}

fn metadata(map: &Map<String, Value>) -> Result<Option<Map<String, Value>>> {
    match map.get("metadata") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(Map::new())),
        Some(Value::Object(metadata)) => match json!(metadata).to_string().len() <= METADATA_MAX {
            true => Ok(Some(metadata.clone())),
            false => Err(wrong("metadata", "too_long", "is too long")),
        },
        Some(_) => Err(wrong("metadata", "type", "must be an object")),
    }
}
