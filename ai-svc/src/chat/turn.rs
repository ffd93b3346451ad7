//! A turn: what was said is answered by an agent, in a conversation that is kept or without one.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use mesh::{
    Ctx, Error, Result,
    audit::Entry,
    db::{BoxFuture, lease::Lease},
    delegation::{DelegationGrant, Task},
    error::Reason,
    tasks::Tasks,
};
use metadata::ai::{ToolReference, ToolReferenceKind};
use serde_json::json;

use super::{
    Answer, Sink,
    input::{Settings, ToolChoice},
    run::{Progress, Run},
};
use crate::{
    agents,
    app::{self, App},
    conversations,
    domain::message::{self, Message, Role, wrong},
    provider::Finish,
    store::{Conversation, Stored},
    tools::{self, Tool},
};

/// How long a run that fell silent keeps its conversation.
const TERM: Duration = Duration::from_secs(10);
/// What is left of the deadline for telling the answer.
const MARGIN: Duration = Duration::from_millis(250);
/// Providers take no more tools than that, and no longer names.
const TOOLS_MAX: usize = 128;
const TOOL_NAME_MAX: usize = 64;
/// Most characters of a title.
const TITLE_MAX: usize = 60;

/// A turn that is ready to be played.
pub(crate) struct Turn {
    run: Run,
    kept: Option<OpenConversation>,
}

/// The conversation of a turn.
struct OpenConversation {
    conversation: Conversation,
    lease: RunLease,
    title: String,
    /// What the user said.
    asked: Vec<Stored>,
}

/// The right to run a conversation; given back when this goes, whatever became of the run.
struct RunLease {
    lease: Lease,
    tasks: Tasks,
}

impl Drop for RunLease {
    fn drop(&mut self) {
        let lease = self.lease.clone();
        self.tasks.spawn(async move {
            if let Err(error) = lease.release().await {
                tracing::debug!(%error, "the lease of a conversation was not released");
            }
        });
    }
}

/// Prepares a turn: everything that can be refused is refused here.
///
/// # Errors
/// VALIDATION_ERROR; NOT_FOUND for a conversation that is not the caller's; INVALID_STATE while
/// another run of it goes on.
pub(crate) async fn turn(
    app: &Arc<App>,
    mut ctx: Ctx,
    messages: Vec<Message>,
    settings: Settings,
    operation: &'static str,
) -> Result<Turn> {
    let identity = Arc::clone(match &ctx.caller {
        Some(caller) => &caller.identity,
        None => return Err(Error::unauthenticated("Authentication required")),
    });
    let snapshot = app::snapshot(app).await?;
    let conversation = match &settings.conversation_id {
        Some(id) => Some(conversations::own(app, &ctx, id).await?),
        None => None,
    };
    let of_it = conversation
        .as_ref()
        .and_then(|one| one.agent_id.as_deref());
    let wanted = settings.agent.as_deref().map(|name| (name, "agent"));
    // An agent that went, or that the user may not use any more, is replaced by the default one.
    let agent = match (wanted, of_it) {
        (None, Some(name)) => agents::choose(&snapshot, &identity, Some((name, "agentId")))
            .or_else(|_| agents::choose(&snapshot, &identity, None))?,
        (wanted, _) => agents::choose(&snapshot, &identity, wanted)?,
    };
    let model = match &settings.model {
        Some(id) => app.catalogue.named(id)?.clone(),
        None => app.catalogue.wished(agent.model.as_ref())?,
    };
    let offered = tools::Offered {
        snapshot: &snapshot,
        identity: &identity,
        approval: app.approval,
    };
    let tools = match settings.tools {
        ToolChoice::None => Vec::new(),
        ToolChoice::All | ToolChoice::Named(_) => offered_to(app, &offered, &ctx).await?,
    };
    let tools = chosen(&tools, &agent.tools, &settings.tools)?;
    ctx.deadline = ctx.deadline.checked_sub(MARGIN).unwrap_or(ctx.deadline);

    let context = &settings.context;
    let stated = settings.system.as_deref();
    let system = agents::system(&agent, &identity, ctx.now, context, stated);
    let message_id = mesh::id::new();
    let iterations = settings.iterations.or(agent.iterations);
    let memory = usize::try_from(agent.memory).unwrap_or(usize::MAX);
    let (messages, kept) = history(app, &ctx, conversation, messages, &settings, &agent).await?;
    let conversation_id = kept.as_ref().map(|kept| kept.conversation.id.clone());
    let task = Task {
        run_id: conversation_id
            .clone()
            .unwrap_or_else(|| message_id.clone()),
        reason: "chat".to_owned(),
        while_waiting: true,
    };
    let grant = DelegationGrant::of(&identity)?;
    let waits = grant.session_id.is_some() || grant.key_id.is_some();
    let by_agent = Task {
        reason: "tool".to_owned(),
        while_waiting: waits,
        ..task.clone()
    };
    let run = Run {
        app: Arc::clone(app),
        hand: app.delegation.act(grant, by_agent),
        delegated: app.delegation.act_for(&ctx, task)?,
        messages: window(messages, memory.max(1)),
        agent,
        model,
        system,
        tools,
        temperature: settings.temperature,
        max_tokens: settings.max_tokens,
        stop: settings.stop,
        iterations: iterations.unwrap_or(app.iterations).min(50),
        conversation_id,
        message_id,
        operation,
        ctx,
    };
    Ok(Turn { run, kept })
}

/// All tools that the caller may use. A caller that came with a token of the moment before their
/// rights changed is looked at with a fresh one.
async fn offered_to(app: &App, offered: &tools::Offered<'_>, ctx: &Ctx) -> Result<Vec<Tool>> {
    match offered.all(&app.services, ctx).await {
        Err(error) if error.reason() == Reason::Unauthenticated => {
            let task = Task {
                run_id: ctx.request_id.to_string(),
                reason: "chat".to_owned(),
                while_waiting: true,
            };
            let delegated = app.delegation.act_for(ctx, task)?.renewed();
            let fresh = delegated.ctx_within(ctx, tools::LIMIT).await?;
            offered.all(&app.services, &fresh).await
        }
        all => all,
    }
}

/// What the model is told, and the conversation that keeps it: the user's message is kept before
/// anything is asked.
async fn history(
    app: &App,
    ctx: &Ctx,
    conversation: Option<Conversation>,
    messages: Vec<Message>,
    settings: &Settings,
    agent: &agents::Agent,
) -> Result<(Vec<Message>, Option<OpenConversation>)> {
    if conversation.is_none() && !settings.persist {
        return Ok((messages, None));
    }
    let last = messages.last();
    if last.is_none_or(|message| message.role != Role::User) {
        let what = "must end with a message of the user";
        return Err(wrong("messages", "invalid_option", what));
    }
    let now = ctx.now;
    let conversation = match conversation {
        Some(conversation) => conversation,
        None => {
            let begun = Conversation {
                id: mesh::id::new(),
                user_id: ctx.identity()?.subject.clone(),
                organization_id: ctx.identity()?.organization_id.clone(),
                agent_id: agent.name.clone().filter(|_| settings.agent.is_some()),
                title: None,
                metadata: serde_json::Map::new(),
                created_at: now,
                updated_at: now,
            };
            app.store
                .create_conversation(begun.clone(), Vec::new())
                .await?;
            begun
        }
    };
    let name = format!("conversation:{}", conversation.id);
    let lease = Lease::new(app.store.db.clone(), &name, TERM);
    if lease.acquire().await.map_err(Error::from)?.is_none() {
        return Err(Error::new(
            Reason::InvalidState,
            "Another message of this conversation is being answered",
        )
        .with("reason", "CONVERSATION_BUSY")
        .with("id", conversation.id));
    }
    let lease = RunLease {
        lease,
        tasks: app.tasks.clone(),
    };
    let before = app
        .store
        .messages(&conversation.id, agent.memory.into())
        .await?;
    let new: Vec<Message> = match before.is_empty() {
        true => messages,
        // The client sends along what is known already.
        false => messages.into_iter().last().into_iter().collect(),
    };
    let mut first = before.iter().map(|stored| &stored.message).chain(&new);
    let first = first.find(|message| message.role == Role::User);
    let title = first.map_or_else(String::new, |message| title(&message.content));
    let asked: Vec<Stored> = new
        .iter()
        .map(|message| Stored::new(message.clone(), None, now))
        .collect();
    if !app
        .store
        .append(&conversation.id, asked.clone(), None, now)
        .await?
    {
        return Err(conversations::not_found(&conversation.id));
    }
    let told = before.into_iter().map(|stored| stored.message).chain(new);
    let kept = OpenConversation {
        conversation,
        lease,
        title,
        asked,
    };
    Ok((told.collect(), Some(kept)))
}

impl Turn {
    /// Plays the turn to its end. As events everything is told but how it ends in failure.
    ///
    /// # Errors
    /// As [`Run::go`].
    pub(crate) fn play(self, sink: Sink) -> BoxFuture<'static, Result<Answer>> {
        let Self { run, kept } = self;
        let Some(kept) = kept else {
            return async move {
                let mut progress = Progress::default();
                run.go(&sink, &mut progress).await?;
                Ok(finish(&run, progress, None, &sink).await)
            }
            .boxed();
        };
        let lease = kept.lease.lease.clone();
        async move {
            let played = |_held| keeping(run, kept, sink);
            lease.run(Duration::ZERO, played).await
        }
        .boxed()
    }
}

/// Plays a turn and keeps what is said, also what was said until a failure.
fn keeping(run: Run, kept: OpenConversation, sink: Sink) -> BoxFuture<'static, Result<Answer>> {
    async move {
        // All of it moves in here: the lease has to live as long as the run.
        let OpenConversation {
            conversation,
            lease,
            title,
            asked,
        } = kept;
        let mut progress = Progress::default();
        let done = run.go(&sink, &mut progress).await;
        let said = progress.messages.clone();
        let now = mesh::clock::now();
        let title = Some(title).filter(|title| done.is_ok() && !title.is_empty());
        let store = &run.app.store;
        let stored = store.append(&conversation.id, said, title.clone(), now);
        let stored = stored.await;
        done?;
        stored?;
        let conversation = Conversation {
            title: conversation.title.clone().or(title),
            updated_at: now,
            ..conversation
        };
        let mut answer = finish(&run, progress, Some(conversation), &sink).await;
        answer.messages.splice(..0, asked);
        drop(lease);
        Ok(answer)
    }
    .boxed()
}

async fn finish(
    run: &Run,
    progress: Progress,
    conversation: Option<Conversation>,
    sink: &Sink,
) -> Answer {
    let mut entry = Entry::of(&run.ctx, "ai.chat.message");
    if let Some(id) = &run.conversation_id {
        entry = entry.on(app::CONVERSATION, id);
    }
    app::note(&run.app, entry);
    let finish = progress.finish.unwrap_or(Finish::Stop).as_str();
    let mut metadata = json!({"model": run.model.id, "usage": progress.usage.to_json()});
    if let Some(conversation) = &conversation {
        metadata["conversationId"] = json!(conversation.id);
    }
    sink.send(json!({"type": "message-metadata", "messageMetadata": metadata}))
        .await;
    sink.send(json!({"type": "finish", "finishReason": finish}))
        .await;
    Answer {
        content: progress.content,
        model: run.model.id.clone(),
        usage: progress.usage,
        calls: progress.calls,
        pending: progress.pending,
        conversation,
        finish,
        messages: progress.messages,
    }
}

/// The tools of an agent, of which the caller chose some.
fn chosen(all: &[Tool], of_agent: &[ToolReference], choice: &ToolChoice) -> Result<Vec<Tool>> {
    let mut of_agent = match of_agent.is_empty() {
        true => all.to_vec(),
        false => tools::named(all, of_agent),
    };
    of_agent.retain(|tool| tool.spec.name.len() <= TOOL_NAME_MAX);
    of_agent.truncate(TOOLS_MAX);
    match choice {
        ToolChoice::All => Ok(of_agent),
        ToolChoice::None => Ok(Vec::new()),
        ToolChoice::Named(names) => {
            for name in names {
                if !of_agent.iter().any(|tool| tool.spec.name == *name) {
                    let what = format!("names no tool of this agent: {name}");
                    return Err(wrong("tools", "invalid_option", &what));
                }
            }
            let wanted = names.iter().map(|name| ToolReference {
                kind: ToolReferenceKind::Tool,
                name: name.clone(),
            });
            Ok(tools::named(&of_agent, &wanted.collect::<Vec<_>>()))
        }
    }
}

/// The last messages, from one that is not an answer.
fn window(messages: Vec<Message>, most: usize) -> Vec<Message> {
    let skipped = messages.len().saturating_sub(most);
    let last = messages.into_iter().skip(skipped).collect();
    let mut kept = message::paired(last);
    let is_asked = |message: &Message| matches!(message.role, Role::User | Role::System);
    if let Some(first) = kept.iter().position(is_asked) {
        kept.drain(..first);
    }
    kept
}

/// The first characters of what the user said first.
fn title(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(TITLE_MAX).collect()
}
