//! Conversations and their messages.

use futures::FutureExt as _;
use mesh::{
    Result,
    db::{DbError, Row, Statement, Tx},
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{Store, is_id, opt_text, text};
use crate::domain::{
    message::{Message, Role, ToolCall},
    usage::Usage,
};

/// A conversation without its messages.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    /// Its id.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) user_id: String,
    /// The organisation in which it was begun.
    pub(crate) organization_id: Option<String>,
    /// The agent it is with.
    pub(crate) agent_id: Option<String>,
    /// What it is about.
    pub(crate) title: Option<String>,
    /// What the client keeps with it.
    pub(crate) metadata: Map<String, Value>,
    /// When it was begun.
    pub(crate) created_at: OffsetDateTime,
    /// When something was last said.
    pub(crate) updated_at: OffsetDateTime,
}

/// A message that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Its id.
    pub(crate) id: String,
    /// The message.
    pub(crate) message: Message,
    /// What the model used for it.
    pub(crate) usage: Option<Usage>,
    /// When it was said.
    pub(crate) created_at: OffsetDateTime,
}

const COLUMNS: &str =
    "id, user_id, organization_id, agent_id, title, metadata, created_at, updated_at";

impl Store {
    /// Keeps a new conversation with its first messages.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn create_conversation(
        &self,
        conversation: Conversation,
        messages: Vec<Stored>,
    ) -> Result<()> {
        self.db
            .write::<_, mesh::Error, _>(move |tx| {
                let (conversation, messages) = (conversation.clone(), messages.clone());
                async move {
                    let insert = Statement::new(
                        "INSERT INTO ai_conversations (id, user_id, organization_id, agent_id, title, \
                         metadata, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    )
                    .bind(&conversation.id)
                    .bind(&conversation.user_id)
                    .bind(conversation.organization_id.clone())
                    .bind(conversation.agent_id.clone())
                    .bind(conversation.title.clone())
                    .bind(Value::Object(conversation.metadata.clone()).to_string())
                    .bind(conversation.created_at)
                    .bind(conversation.updated_at);
                    tx.execute(insert).await?;
                    insert_messages(tx, &conversation.id, 0, &messages).await?;
                    Ok(())
                }
                .boxed()
            })
            .await
    }

    /// The conversation of an id, whoever owns it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn conversation(&self, id: &str) -> Result<Option<Conversation>> {
        if !is_id(id) {
            return Ok(None);
        }
        let sql = format!("SELECT {COLUMNS} FROM ai_conversations WHERE id = $1");
        let found = self
            .db
            .query_opt(Statement::new(sql).bind(id), conversation);
        Ok(found.await?)
    }

    /// A page of somebody's conversations, newest first, and how many there are in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn conversations(
        &self,
        user_id: &str,
        agent_id: Option<&str>,
        before: Option<&str>,
        limit: i64,
    ) -> Result<(Vec<Conversation>, i64)> {
        let whose = "user_id = $1 AND ($2 IS NULL OR agent_id = $2)";
        let whose = whose.replace("$2 IS", "CAST($2 AS TEXT) IS");
        let page = Statement::new(format!(
            "SELECT {COLUMNS} FROM ai_conversations WHERE {whose} \
             AND (CAST($3 AS TEXT) IS NULL OR id < $3) ORDER BY id DESC LIMIT $4"
        ))
        .bind(user_id)
        .bind(agent_id)
        .bind(before)
        .bind(limit);
        let count = Statement::new(format!(
            "SELECT count(*) FROM ai_conversations WHERE {whose}"
        ))
        .bind(user_id)
        .bind(agent_id);
        let total = self.db.query_one(count, |row| row.req_int(0)).await?;
        Ok((self.db.query(page, conversation).await?, total))
    }

    /// Changes title or metadata. False when there is none any more.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn change_conversation(
        &self,
        id: &str,
        title: Option<Option<String>>,
        metadata: Option<&Map<String, Value>>,
        now: OffsetDateTime,
    ) -> Result<bool> {
        let statement = Statement::new(
            "UPDATE ai_conversations SET title = CASE WHEN $2 THEN $3 ELSE title END, \
             metadata = COALESCE($4, metadata), updated_at = $5 WHERE id = $1",
        )
        .bind(id)
        .bind(title.is_some())
        .bind(title.flatten())
        .bind(metadata.map(|map| Value::Object(map.clone()).to_string()))
        .bind(now);
        Ok(self.db.execute(statement).await? > 0)
    }

    /// Deletes a conversation and its messages.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn delete_conversation(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.db
            .write::<_, mesh::Error, _>(move |tx| {
                let id = id.clone();
                async move {
                    // The row is the lock of its messages.
                    lock(tx, &id, None).await?;
                    for sql in [
                        "DELETE FROM ai_messages WHERE conversation_id = $1",
                        "DELETE FROM ai_conversations WHERE id = $1",
                    ] {
                        tx.execute(Statement::new(sql).bind(&id)).await?;
                    }
                    Ok(())
                }
                .boxed()
            })
            .await
    }

    /// The last `limit` messages of a conversation, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn messages(&self, conversation_id: &str, limit: i64) -> Result<Vec<Stored>> {
        let statement = Statement::new(
            "SELECT id, role, content, tool_calls, tool_call_id, prompt_tokens, completion_tokens, \
             created_at FROM ai_messages WHERE conversation_id = $1 ORDER BY position DESC LIMIT $2",
        )
        .bind(conversation_id)
        .bind(limit);
        let mut messages = self.db.query(statement, stored).await?;
        messages.reverse();
        Ok(messages)
    }

    /// Appends messages; `title` counts where the conversation has none. False when the
    /// conversation is gone.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn append(
        &self,
        conversation_id: &str,
        messages: Vec<Stored>,
        title: Option<String>,
        now: OffsetDateTime,
    ) -> Result<bool> {
        let id = conversation_id.to_owned();
        self.db
            .write::<_, mesh::Error, _>(move |tx| {
                let (id, messages, title) = (id.clone(), messages.clone(), title.clone());
                async move { Ok(append(tx, &id, &messages, title, now).await?) }.boxed()
            })
            .await
    }
}

/// Appends messages in a transaction. False when the conversation is gone.
pub(super) async fn append(
    tx: &mut Tx,
    conversation_id: &str,
    messages: &[Stored],
    title: Option<String>,
    now: OffsetDateTime,
) -> Result<bool, DbError> {
    if !lock(tx, conversation_id, Some(now)).await? {
        return Ok(false);
    }
    if let Some(title) = title {
        let name = "UPDATE ai_conversations SET title = $2 WHERE id = $1 AND title IS NULL";
        let name = Statement::new(name).bind(conversation_id).bind(title);
        tx.execute(name).await?;
    }
    let last = "SELECT COALESCE(MAX(position), 0) FROM ai_messages WHERE conversation_id = $1";
    let last = Statement::new(last).bind(conversation_id);
    let last = tx.query_one(last, |row| row.req_int(0)).await?;
    insert_messages(tx, conversation_id, last, messages).await?;
    Ok(true)
}

/// Locks a conversation until the transaction ends. False when it is gone.
async fn lock(tx: &mut Tx, id: &str, now: Option<OffsetDateTime>) -> Result<bool, DbError> {
    let touch = "UPDATE ai_conversations SET updated_at = COALESCE($2, updated_at) WHERE id = $1";
    let touch = Statement::new(touch).bind(id).bind(now);
    Ok(tx.execute(touch).await? > 0)
}

async fn insert_messages(
    tx: &mut Tx,
    conversation_id: &str,
    after: i64,
    messages: &[Stored],
) -> Result<(), DbError> {
    for (position, stored) in (after + 1..).zip(messages) {
        let message = &stored.message;
        let calls: Vec<Value> = message.tool_calls.iter().map(ToolCall::to_json).collect();
        let calls = (!calls.is_empty()).then(|| Value::Array(calls).to_string());
        let insert = Statement::new(
            "INSERT INTO ai_messages (conversation_id, position, id, role, content, tool_calls, \
             tool_call_id, prompt_tokens, completion_tokens, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(conversation_id)
        .bind(position)
        .bind(&stored.id)
        .bind(message.role.as_str())
        // PostgreSQL has no NUL in its texts.
        .bind(message.content.replace('\0', ""))
        .bind(calls)
        .bind(message.tool_call_id.as_ref().map(|id| id.replace('\0', "")))
        .bind(stored.usage.map(|usage| usage.prompt_tokens))
        .bind(stored.usage.map(|usage| usage.completion_tokens))
        .bind(stored.created_at);
        tx.execute(insert).await?;
    }
    Ok(())
}

fn conversation(row: &Row) -> Result<Conversation, DbError> {
    Ok(Conversation {
        id: text(row, 0)?,
        user_id: text(row, 1)?,
        organization_id: opt_text(row, 2)?,
        agent_id: opt_text(row, 3)?,
        title: opt_text(row, 4)?,
        metadata: serde_json::from_str(row.req_text(5)?).unwrap_or_default(),
        created_at: row.req_datetime(6)?,
        updated_at: row.req_datetime(7)?,
    })
}

fn stored(row: &Row) -> Result<Stored, DbError> {
    let calls = row.text(3)?.unwrap_or("[]");
    let calls: Vec<Value> = serde_json::from_str(calls).unwrap_or_default();
    let usage = match (row.int(5)?, row.int(6)?) {
        (Some(prompt_tokens), Some(completion_tokens)) => Some(Usage {
            prompt_tokens,
            completion_tokens,
        }),
        _ => None,
    };
    Ok(Stored {
        id: text(row, 0)?,
        message: Message {
            role: Role::parse(row.req_text(1)?).unwrap_or(Role::User),
            content: text(row, 2)?,
            tool_calls: calls.iter().filter_map(ToolCall::from_json).collect(),
            tool_call_id: opt_text(row, 4)?,
        },
        usage,
        created_at: row.req_datetime(7)?,
    })
}

impl Stored {
    /// A new message, said now.
    pub(crate) fn new(message: Message, usage: Option<Usage>, now: OffsetDateTime) -> Self {
        Self {
            id: mesh::id::new(),
            message,
            usage,
            created_at: now,
        }
    }

    /// As the API shows it.
    pub(crate) fn to_json(&self) -> Value {
        let mut shown = json!({
            "id": self.id,
            "role": self.message.role.as_str(),
            "content": self.message.content,
            "createdAt": moment(self.created_at),
        });
        if !self.message.tool_calls.is_empty() {
            let calls = self.message.tool_calls.iter().map(ToolCall::to_json);
            shown["toolCalls"] = calls.collect();
        }
        if let Some(id) = &self.message.tool_call_id {
            shown["toolCallId"] = json!(id);
        }
        if let Some(usage) = self.usage {
            shown["usage"] = usage.to_json();
        }
        shown
    }
}

impl Conversation {
    /// As the API shows it, without its messages.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "title": self.title,
            "agentId": self.agent_id,
            "userId": self.user_id,
            "metadata": self.metadata,
            "createdAt": moment(self.created_at),
            "updatedAt": moment(self.updated_at),
        })
    }
}

/// RFC 3339 in UTC, with milliseconds.
pub(crate) fn moment(moment: OffsetDateTime) -> String {
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    moment.format(format).unwrap_or_default()
}
