//! One prompt, one answer: no tools, nothing stored.

use mesh::{Ctx, Error, Result, error::Reason};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{input::Settings, trace::Traced};
use crate::{
    app::App,
    domain::{
        message::{Message, Role},
        usage::{Usage, estimate},
    },
    provider::{Ask, Chosen, Finish, Piece},
    store::Trace,
};

/// Completes a prompt.
///
/// # Errors
/// VALIDATION_ERROR for a model that is not there; those of the provider.
pub(crate) async fn complete(
    app: &App,
    ctx: &Ctx,
    prompt: String,
    settings: &Settings,
) -> Result<Value> {
    let model = match &settings.model {
        Some(id) => app.catalogue.named(id)?,
        None => app.catalogue.default()?,
    };
    let trace = Trace {
        conversation_id: None,
        user_id: ctx.identity()?.subject.clone(),
        agent: None,
        operation: "complete",
        model: model.model.clone(),
        adapter: model.provider.as_str(),
        usage: Usage::default(),
        price: model.price,
        latency_ms: 0,
        status: "cancelled",
        error: None,
        created_at: ctx.now,
    };
    let traced = Traced::begin(app.store.clone(), app.tasks.clone(), trace);
    let work = Box::pin(completed(app, model, &prompt, settings));
    let late = |_| Error::new(Reason::Timeout, "The deadline passed");
    let done = timeout_at(Instant::from_std(ctx.deadline), work).await;
    let (content, usage, finish) = match done.map_err(late).flatten() {
        Ok(done) => done,
        Err(error) => {
            traced.failed(&error);
            return Err(error);
        }
    };
    traced.answered(usage);
    Ok(json!({
        "content": content,
        "text": content,
        "model": model.id,
        "usage": usage.to_json(),
        "finishReason": finish.as_str(),
    }))
}

async fn completed(
    app: &App,
    model: &Chosen,
    prompt: &str,
    settings: &Settings,
) -> Result<(String, Usage, Finish)> {
    let messages = [Message::new(Role::User, prompt)];
    let ask = Ask {
        model: &model.model,
        system: "",
        messages: &messages,
        tools: &[],
        temperature: settings.temperature,
        max_tokens: settings.max_tokens,
        stop: &settings.stop,
    };
    let mut reply = app.providers.ask(model.provider, &ask).await?;
    let (mut content, mut used, mut finish) = (String::new(), None, Finish::Stop);
    while let Some(piece) = reply.next().await? {
        match piece {
            Piece::Text(text) => content.push_str(&text),
            Piece::Usage(usage) => used = Some(usage),
            Piece::Finish(reason) => finish = reason,
            Piece::Reasoning(_) | Piece::ToolStart { .. } | Piece::ToolInput { .. } => {}
        }
    }
    let usage = used.unwrap_or_else(|| Usage {
        prompt_tokens: estimate(prompt.len()),
        completion_tokens: estimate(content.len()),
    });
    Ok((content, usage, finish))
}
