//! What every call needs, and how it gets at the metadata in force.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use data_client::registry::{Replica, Snapshot};
use mesh::{
    Result,
    audit::{Actor, Entry},
    delegation::{Delegation, DelegationGrant},
    identity,
    tasks::Tasks,
};
use tokio::time::sleep;

use crate::{
    NAME,
    config::Approval,
    provider::{Catalogue, Providers},
    store::Store,
    tools::Services,
};

/// What entries of the audit log are about.
pub(crate) const CONVERSATION: &str = "ai_conversation";
/// See [`CONVERSATION`].
pub(crate) const PENDING_ACTION: &str = "ai_pending_action";

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

/// Adds an entry to the audit log, without keeping anybody waiting.
pub(crate) fn note(app: &App, entry: Entry) {
    let store = app.store.clone();
    app.tasks.spawn(async move {
        if let Err(error) = store.note(entry).await {
            tracing::warn!(%error, "an entry of the audit log is lost");
        }
    });
}

/// What was done in work for a user that outlasts their call: who acts is ai-svc, for them.
pub(crate) fn delegate(grant: &DelegationGrant, run_id: &str, reason: &str) -> Actor {
    Actor::Delegate {
        user_id: grant.user_id.clone(),
        by: identity::Actor {
            service: NAME.to_owned(),
            run_id: run_id.to_owned(),
            reason: reason.to_owned(),
        },
    }
}
