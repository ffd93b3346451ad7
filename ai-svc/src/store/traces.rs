//! Calls of models, and the audit log: rows are added, never changed.

use mesh::{
    Result,
    audit::{Entry, Table},
    db::Statement,
};
use time::OffsetDateTime;

use super::Store;
use crate::domain::usage::{Price, Usage};

/// A call of a model.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The conversation that it was made for.
    pub(crate) conversation_id: Option<String>,
    /// Who asked.
    pub(crate) user_id: String,
    /// The agent.
    pub(crate) agent: Option<String>,
    /// chat, stream_chat, chat_with_tools, complete.
    pub(crate) operation: &'static str,
    /// The model, by its name at the provider.
    pub(crate) model: String,
    /// The provider.
    pub(crate) adapter: &'static str,
    /// What was used.
    pub(crate) usage: Usage,
    /// What that costs.
    pub(crate) price: Option<Price>,
    /// How long it took.
    pub(crate) latency_ms: i64,
    /// ok, error, cancelled.
    pub(crate) status: &'static str,
    /// The reason of the failure.
    pub(crate) error: Option<String>,
    /// When it began.
    pub(crate) created_at: OffsetDateTime,
}

impl Store {
    /// Keeps the trace of a call.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn add_trace(&self, trace: Trace) -> Result<()> {
        let cost = trace.price.map(|price| price.cost(trace.usage));
        let statement = Statement::new(
            "INSERT INTO ai_traces (id, conversation_id, user_id, agent, operation, model, adapter, \
             prompt_tokens, completion_tokens, total_tokens, input_cost, output_cost, total_cost, \
             currency, latency_ms, status, error, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, \
             $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        )
        .bind(mesh::id::new())
        .bind(trace.conversation_id)
        .bind(trace.user_id)
        .bind(trace.agent)
        .bind(trace.operation)
        .bind(trace.model)
        .bind(trace.adapter)
        .bind(trace.usage.prompt_tokens)
        .bind(trace.usage.completion_tokens)
        .bind(trace.usage.total())
        .bind(cost.map(|(input, _)| input))
        .bind(cost.map(|(_, output)| output))
        .bind(cost.map(|(input, output)| input + output))
        .bind(cost.map(|_| "USD"))
        .bind(trace.latency_ms)
        .bind(trace.status)
        .bind(trace.error)
        .bind(trace.created_at);
        self.db.execute(statement).await?;
        Ok(())
    }

    /// Adds an entry to the audit log.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn note(&self, entry: Entry) -> Result<()> {
        self.db.execute(entry.insert_into(Table::SERVICE)).await?;
        Ok(())
    }
}
