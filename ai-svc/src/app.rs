//! What every call needs, and how it gets at the metadata in force.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use data_client::registry::{Replica, Snapshot};
use mesh::{Ctx, Result, delegation::Delegation, tasks::Tasks};
use tokio::time::sleep;

use crate::{
    config::Approval,
    provider::{Catalogue, Providers},
    store::{AuditEvent, Store},
    tools::Services,
};

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

/// The metadata in force. A process that has just begun waits a moment for the first of it.
///
/// # Errors
/// SERVICE_UNAVAILABLE when none came in time.
pub(crate) async fn snapshot(app: &App) -> Result<Arc<Snapshot>> {
    let began = Instant::now();
    loop {
        match app.metadata.current() {
            Err(_) if began.elapsed() < METADATA_WAIT => sleep(METADATA_LOOK).await,
            current => return current,
        }
    }
}

/// Notes what happened, without keeping anybody waiting.
pub(crate) fn note(app: &App, event: AuditEvent) {
    let store = app.store.clone();
    app.tasks.spawn(async move {
        if let Err(error) = store.note(event).await {
            tracing::warn!(%error, "an entry of the audit log is lost");
        }
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
        actor: ctx.identity()?.subject.clone(),
        subject,
        detail: None,
        request_id: ctx.request_id.to_string(),
        at: ctx.now,
    })
}
