//! The loop: the model is asked, its tools are called, and it is asked again with what they put out,
//! until it answers or may not call any more.

use std::sync::Arc;

use futures::FutureExt as _;
use mesh::{Ctx, Error, Result, audit::Entry, delegation::DelegatedIdentity, error::Reason};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{Sink, trace::Traced};
use crate::{
    agents::Agent,
    app::{self, App},
    domain::{
        message::{Message, Role, ToolCall},
        usage::{Usage, estimate},
    },
    proposals::{self, Origin},
    provider::{Ask, Chosen, Finish, Piece, ToolSpec},
    store::{Stored, Trace},
    tools::{self, Called, Change, Tool},
};

/// Most calls of tools that one answer may hold.
const CALLS_MAX: usize = 32;

/// A run, ready to begin.
pub(crate) struct Run {
    pub(crate) app: Arc<App>,
    /// Who it is for, with tokens that are renewed.
    pub(crate) delegated: DelegatedIdentity,
    /// The same for what an app does on a call: never with the user's own token, so that whoever is
    /// called knows that an agent calls.
    pub(crate) hand: DelegatedIdentity,
    /// The call that it answers, with the deadline of the whole.
    pub(crate) ctx: Ctx,
    pub(crate) agent: Agent,
    pub(crate) model: Chosen,
    pub(crate) system: String,
    pub(crate) tools: Vec<Tool>,
    pub(crate) messages: Vec<Message>,
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) stop: Vec<String>,
    pub(crate) iterations: u32,
    pub(crate) conversation_id: Option<String>,
    /// Id of the answer.
    pub(crate) message_id: String,
    /// chat, stream_chat, chat_with_tools.
    pub(crate) operation: &'static str,
}

/// How far a run has come; what stands here is kept also when it fails later.
#[derive(Default)]
pub(crate) struct Progress {
    /// What was said, by the model and by tools.
    pub(crate) messages: Vec<Stored>,
    /// What was used.
    pub(crate) usage: Usage,
    /// The last text of the model.
    pub(crate) content: String,
    /// Why the model ended.
    pub(crate) finish: Option<Finish>,
    /// The calls of tools with their outputs.
    pub(crate) calls: Vec<Value>,
    /// What waits for a person.
    pub(crate) pending: Vec<Value>,
    texts: usize,
}

/// What a model said in one round.
#[derive(Default)]
struct Said {
    text: String,
    calls: Vec<Forming>,
    usage: Option<Usage>,
    finish: Option<Finish>,
    /// The text that is open: it ends with the step, behind its tools.
    open: Option<String>,
}

/// A call that is still being written.
struct Forming {
    index: usize,
    id: String,
    name: String,
    input: String,
}

impl Run {
    /// Runs to the end: until the answer is whole, its time is over, or the user may not go on.
    ///
    /// # Errors
    /// Those of the provider; TIMEOUT; PERMISSION_DENIED when the session ended.
    pub(crate) async fn go(&self, sink: &Sink, progress: &mut Progress) -> Result<()> {
        let deadline = Instant::from_std(self.ctx.deadline);
        tokio::select! {
            done = self.rounds(sink, progress).boxed() => done,
            ended = self.delegated.ended() => Err(ended),
            () = sleep_until(deadline) => Err(Error::new(Reason::Timeout, "The deadline passed")),
        }
    }

    async fn rounds(&self, sink: &Sink, progress: &mut Progress) -> Result<()> {
        let mut messages = self.messages.clone();
        let specs: Vec<ToolSpec> = self.tools.iter().map(|tool| tool.spec.clone()).collect();
        for round in 0.. {
            let offered = match round < self.iterations {
                true => specs.as_slice(),
                false => &[],
            };
            let mut said = self
                .round(&messages, offered, round == 0, sink, progress)
                .await?;
            let calling = !said.calls.is_empty() && !offered.is_empty();
            progress.content.clone_from(&said.text);
            progress.finish = said.finish;
            let mut assistant = Message::new(Role::Assistant, std::mem::take(&mut said.text));
            let mut turn = Vec::new();
            if calling {
                for call in said.calls.iter().take(CALLS_MAX) {
                    let (call, output) = self.called(call, sink, progress).await;
                    turn.push(Message::output(&call.id, output));
                    assistant.tool_calls.push(call);
                }
            }
            close(&mut said.open, "text-end", sink).await;
            sink.mark("finish-step").await;
            let now = mesh::clock::now();
            let mut stored = Stored::new(assistant.clone(), said.usage, now);
            if !calling {
                stored.id.clone_from(&self.message_id);
            }
            progress.messages.push(stored);
            messages.push(assistant);
            for output in turn {
                progress
                    .messages
                    .push(Stored::new(output.clone(), None, now));
                messages.push(output);
            }
            if !calling {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Asks the model once. The step is left open: its tools belong to it.
    async fn round(
        &self,
        messages: &[Message],
        offered: &[ToolSpec],
        first: bool,
        sink: &Sink,
        progress: &mut Progress,
    ) -> Result<Said> {
        let ask = Ask {
            model: &self.model.model,
            system: &self.system,
            messages,
            tools: offered,
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            stop: &self.stop,
        };
        let traced = self.traced();
        let mut said = Said::default();
        match self.listen(&ask, first, sink, progress, &mut said).await {
            Ok(()) => {}
            Err(error) => {
                traced.failed(&error);
                return Err(error);
            }
        }
        let usage = said.usage.unwrap_or_else(|| {
            let told: usize = messages.iter().map(|message| message.content.len()).sum();
            let inputs: usize = said.calls.iter().map(|call| call.input.len()).sum();
            Usage {
                prompt_tokens: estimate(self.system.len() + told),
                completion_tokens: estimate(said.text.len() + inputs),
            }
        });
        said.usage = Some(usage);
        progress.usage.add(usage);
        traced.answered(usage);
        Ok(said)
    }

    fn traced(&self) -> Traced {
        let identity = self.delegated.grant();
        let trace = Trace {
            conversation_id: self.conversation_id.clone(),
            user_id: identity.user_id.clone(),
            agent: self.agent.name.clone(),
            operation: self.operation,
            model: self.model.model.clone(),
            adapter: self.model.provider.as_str(),
            usage: Usage::default(),
            price: self.model.price,
            latency_ms: 0,
            status: "cancelled",
            error: None,
            created_at: mesh::clock::now(),
        };
        Traced::begin(self.app.store.clone(), self.app.tasks.clone(), trace)
    }

    /// Takes the answer piece by piece and tells each.
    async fn listen(
        &self,
        ask: &Ask<'_>,
        first: bool,
        sink: &Sink,
        progress: &mut Progress,
        said: &mut Said,
    ) -> Result<()> {
        let mut reply = self.app.providers.ask(self.model.provider, ask).await?;
        if first {
            sink.send(json!({"type": "start", "messageId": self.message_id}))
                .await;
        }
        sink.mark("start-step").await;
        let (mut text, mut thought) = (None, None);
        let mut called = false;
        while let Some(piece) = reply.next().await? {
            match piece {
                Piece::Text(delta) => {
                    close(&mut thought, "reasoning-end", sink).await;
                    // Text behind a call is another text.
                    if called {
                        close(&mut text, "text-end", sink).await;
                        called = false;
                    }
                    open(&mut text, "text-start", sink, progress).await;
                    sink.send(json!({"type": "text-delta", "id": text, "delta": delta}))
                        .await;
                    said.text.push_str(&delta);
                }
                Piece::Reasoning(delta) => {
                    open(&mut thought, "reasoning-start", sink, progress).await;
                    sink.send(json!({"type": "reasoning-delta", "id": thought, "delta": delta}))
                        .await;
                }
                Piece::ToolStart { index, id, name } => {
                    close(&mut thought, "reasoning-end", sink).await;
                    called = true;
                    sink.send(
                        json!({"type": "tool-input-start", "toolCallId": id, "toolName": name}),
                    )
                    .await;
                    let input = String::new();
                    said.calls.push(Forming {
                        index,
                        id,
                        name,
                        input,
                    });
                }
                Piece::ToolInput { index, delta } => {
                    let mut calls = said.calls.iter_mut().rev();
                    if let Some(call) = calls.find(|call| call.index == index) {
                        let event = json!({"type": "tool-input-delta", "toolCallId": call.id, "inputTextDelta": delta});
                        sink.send(event).await;
                        call.input.push_str(&delta);
                    }
                }
                Piece::Usage(usage) => said.usage = Some(usage),
                Piece::Finish(finish) => said.finish = Some(finish),
            }
        }
        close(&mut thought, "reasoning-end", sink).await;
        said.open = text;
        Ok(())
    }

    /// Calls a tool; gives the call, and what the model is told of it.
    async fn called(
        &self,
        call: &Forming,
        sink: &Sink,
        progress: &mut Progress,
    ) -> (ToolCall, String) {
        let text = match call.input.trim() {
            "" => "{}",
            text => text,
        };
        let read = serde_json::from_str::<Value>(text);
        let tool = self.tools.iter().find(|tool| tool.spec.name == call.name);
        let input = match (&read, tool) {
            (Ok(input), Some(tool)) => tool.normalised(input.clone()),
            (Ok(input), None) => input.clone(),
            (Err(_), _) => json!({}),
        };
        let told = json!({"type": "tool-input-available", "toolCallId": call.id, "toolName": call.name, "input": input});
        sink.send(told).await;
        let outcome = match (read, tool) {
            (Err(_), _) => Called::Failed(json!({"error": "The input is not JSON"})),
            (_, None) => {
                Called::Failed(json!({"error": format!("There is no tool {}", call.name)}))
            }
            (Ok(_), Some(tool)) => self.call(tool, &input, sink, progress).await,
        };
        let output = match outcome {
            Called::Output(output) => {
                let told = json!({"type": "tool-output-available", "toolCallId": call.id, "output": output});
                sink.send(told).await;
                output
            }
            Called::Failed(error) => {
                let text = error["error"].as_str().unwrap_or("The tool failed");
                let told =
                    json!({"type": "tool-output-error", "toolCallId": call.id, "errorText": text});
                sink.send(told).await;
                error
            }
            Called::Waits(_) => Value::Null,
        };
        self.note_call(&call.name);
        progress.calls.push(
            json!({"toolCallId": call.id, "toolName": call.name, "input": input, "output": output}),
        );
        let call = ToolCall {
            id: call.id.clone(),
            name: call.name.clone(),
            input,
        };
        (call, output.to_string())
    }

    async fn call(
        &self,
        tool: &Tool,
        input: &Value,
        sink: &Sink,
        progress: &mut Progress,
    ) -> Called {
        let delegated = match tool.runs_app() {
            true => &self.hand,
            false => &self.delegated,
        };
        // The same for the second attempt: what the first one did is not done again.
        let key = format!("tool-call:{}", mesh::id::new());
        let done = self
            .call_as(delegated, tool, input, &key, sink, progress)
            .await;
        let is_stale = |error: &Value| error["code"] == Reason::Unauthenticated.rest_code();
        match &done {
            // The rights of the user changed in this moment, and the token is one of before; the
            // gateway asks again likewise.
            Called::Failed(error) if is_stale(error) => {
                let delegated = delegated.renewed();
                self.call_as(&delegated, tool, input, &key, sink, progress)
                    .await
            }
            _ => done,
        }
    }

    async fn propose(
        &self,
        ctx: &Ctx,
        tool: &Tool,
        change: &Change,
        input: &Value,
    ) -> Result<(String, Value)> {
        let origin = Origin {
            conversation_id: self.conversation_id.clone(),
            message_id: self.message_id.clone(),
            agent: self.agent.name.clone(),
            grant: self.delegated.grant().clone(),
        };
        proposals::propose(&self.app, ctx, origin, tool, change, input).await
    }

    /// Notes that a tool was called.
    fn note_call(&self, tool: &str) {
        let run_id = self.conversation_id.as_ref().unwrap_or(&self.message_id);
        let mut entry = Entry {
            at: mesh::clock::now(),
            actor: app::delegate(self.delegated.grant(), run_id, "tool"),
            detail: Some(tool.chars().take(200).collect()),
            ..Entry::of(&self.ctx, "ai.tool.call")
        };
        if let Some(id) = &self.conversation_id {
            entry = entry.on(app::CONVERSATION, id);
        }
        app::note(&self.app, entry);
    }

    async fn call_as(
        &self,
        delegated: &DelegatedIdentity,
        tool: &Tool,
        input: &Value,
        key: &str,
        sink: &Sink,
        progress: &mut Progress,
    ) -> Called {
        let ctx = match delegated.ctx_within(&self.ctx, tools::LIMIT).await {
            Ok(ctx) => ctx,
            Err(error) => return Called::Failed(tools::told(&error)),
        };
        match tools::call(&self.app.services, &ctx, tool, input, key).await {
            Called::Waits(change) => match Box::pin(self.propose(&ctx, tool, &change, input)).await
            {
                Ok((id, shown)) => {
                    sink.send(json!({"type": "data-pending-action", "data": shown}))
                        .await;
                    progress.pending.push(shown);
                    Called::Output(json!({"status": "pending_approval", "pendingActionId": id}))
                }
                Err(error) => Called::Failed(tools::told(&error)),
            },
            done => done,
        }
    }
}

async fn open(id: &mut Option<String>, kind: &str, sink: &Sink, progress: &mut Progress) {
    if id.is_none() {
        *id = Some(progress.texts.to_string());
        progress.texts += 1;
        sink.send(json!({"type": kind, "id": id})).await;
    }
}

async fn close(id: &mut Option<String>, kind: &str, sink: &Sink) {
    if let Some(id) = id.take() {
        sink.send(json!({"type": kind, "id": id})).await;
    }
}
