//! What ai-svc does, beside how it is called.

mod answer;
mod complete;
mod conversations;
mod turn;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mesh::{
    Ctx, Result,
    delegation::Delegation,
    identity::Identity,
    registry::{Replica, Snapshot},
    tasks::Tasks,
};
use tokio::time::sleep;

pub(crate) use answer::Answer;
pub(crate) use conversations::{Page, Wanted, cursor, page_size};
pub(crate) use turn::Turn;

use crate::{
    agent::Run,
    config::Approval,
    provider::{Catalogue, Providers},
    store::{AuditEvent, Store},
    tools::Services,
};

/// The longest an answer may take that comes as events.
pub(crate) const STREAM_MAX: Duration = Duration::from_secs(30 * 60);

/// How long a call waits for the first metadata, and how often it looks.
const METADATA_WAIT: Duration = Duration::from_secs(5);
const METADATA_LOOK: Duration = Duration::from_millis(20);

/// Everything that a call needs. Shared.
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) providers: Providers,
    pub(crate) catalogue: Catalogue,
    pub(crate) metadata: Replica<Snapshot>,
    pub(crate) delegation: Delegation,
    pub(crate) services: Services,
    pub(crate) tasks: Tasks,
    pub(crate) approval: Approval,
    /// How long a proposal may be approved.
    pub(crate) lifetime: Duration,
    /// How often a model may be asked with tools.
    pub(crate) iterations: u32,
}

impl App {
    /// The metadata in force. A process that has just begun waits a moment for the first of it.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when none came in time.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let began = Instant::now();
        loop {
            match self.metadata.current() {
                Err(_) if began.elapsed() < METADATA_WAIT => sleep(METADATA_LOOK).await,
                current => return current,
            }
        }
    }

    /// Notes what happened, without keeping anybody waiting.
    pub(crate) fn note(self: &Arc<Self>, event: AuditEvent) {
        let app = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Err(error) = app.store.note(event).await {
                tracing::warn!(%error, "an entry of the audit log is lost");
            }
        });
    }

    /// Notes that a tool was called.
    pub(crate) fn note_tool(self: &Arc<Self>, run: &Run, tool: &str) {
        self.note(AuditEvent {
            action: "ai.tool.call",
            actor: run.acting.beginning().user_id.clone(),
            subject: run.conversation_id.clone(),
            detail: Some(tool.chars().take(200).collect()),
            request_id: run.ctx.request_id.to_string(),
            at: mesh::clock::now(),
        });
    }

    /// An event of a call, for the audit log.
    pub(crate) fn event(
        ctx: &Ctx,
        action: &'static str,
        subject: Option<String>,
    ) -> Result<AuditEvent> {
        Ok(AuditEvent {
            action,
            actor: actor(ctx.identity()?),
            subject,
            detail: None,
            request_id: ctx.request_id.to_string(),
            at: ctx.now,
        })
    }
}

fn actor(identity: &Identity) -> String {
    identity.subject.clone()
}
