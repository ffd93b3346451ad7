//! What came of a turn, and how the routes show it.

use serde_json::{Value, json};

use crate::{
    domain::{message::Role, usage::Usage},
    store::{Conversation, Stored, moment},
};

/// What came of a turn.
pub(crate) struct Answer {
    /// The text.
    pub(crate) content: String,
    /// The model, by id.
    pub(crate) model: String,
    /// What was used.
    pub(crate) usage: Usage,
    /// The calls of tools, with their outputs.
    pub(crate) calls: Vec<Value>,
    /// What waits for a person.
    pub(crate) pending: Vec<Value>,
    /// The conversation that keeps it.
    pub(crate) conversation: Option<Conversation>,
    /// Why the model ended.
    pub(crate) finish: &'static str,
    /// What was said in this turn, the user's message first.
    pub(crate) messages: Vec<Stored>,
}

impl Answer {
    /// As `POST /ai/chat` answers it.
    pub(crate) fn of_chat(&self) -> Value {
        let mut shown = json!({
            "content": self.content,
            "model": self.model,
            "role": "assistant",
            "usage": self.usage.to_json(),
            "toolCalls": self.calls,
            "pendingActions": self.pending,
            "finishReason": self.finish,
        });
        if let Some(conversation) = &self.conversation {
            shown["conversationId"] = json!(conversation.id);
        }
        shown
    }

    /// As `POST /ai/conversations/:id/messages` answers it.
    pub(crate) fn of_conversation(&self) -> Value {
        let said = self.messages.iter().rev();
        let mut said = said.filter(|stored| stored.message.role == Role::Assistant);
        let conversation = self.conversation.as_ref().map(|conversation| {
            json!({
                "id": conversation.id,
                "title": conversation.title,
                "updatedAt": moment(conversation.updated_at),
            })
        });
        json!({
            "message": said.next().map(Stored::to_json),
            "messages": self.messages.iter().map(Stored::to_json).collect::<Vec<_>>(),
            "usage": self.usage.to_json(),
            "toolCalls": self.calls,
            "pendingActions": self.pending,
            "finishReason": self.finish,
            "conversation": conversation,
        })
    }
}
