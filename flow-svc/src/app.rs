//! What the work of flow-svc needs.

use std::sync::Arc;

use data_client::{metadata::Metadata, records::Records, registry::Replica};
use futures::future::BoxFuture;
use mesh::{
    Ctx, Link, Result,
    db::{Db, queue::Worker},
    delegation::Delegation,
    service_identity::ServiceIdentity,
    tasks::Tasks,
};
use script::LazyPool;
use serde_json::{Map, Value};
use transcoding::Table;

use crate::catalog::{Action, Catalog};

/// Shared by all calls.
pub(crate) struct App {
    /// The database.
    pub(crate) db: Db,
    /// Actions and flows in force.
    pub(crate) catalog: Replica<Catalog>,
    /// The records of data-svc.
    pub(crate) records: Records,
    /// The metadata as callers may see it.
    pub(crate) metadata: Metadata,
    /// Tokens for work that outlives the one it began with.
    pub(crate) delegation: Delegation,
    /// flow-svc itself, for what it does for nobody.
    pub(crate) own: ServiceIdentity,
    /// data-svc.
    pub(crate) data: Link,
    /// auth-svc.
    pub(crate) auth: Link,
    /// The sandbox.
    pub(crate) sandbox: LazyPool,
    /// The routes that actions of type `api` name.
    pub(crate) table: Table,
    /// What drives the runs of flows.
    pub(crate) driver: Worker,
    /// What runs beside the calls.
    pub(crate) tasks: Tasks,
    /// Runs a flow for an action. Flows invoke actions and actions run flows: actions lie below, and
    /// are handed this.
    pub(crate) run_flow: RunFlow,
}

/// Runs a flow as the caller and answers `{runId, status, output}`.
pub(crate) type RunFlow =
    for<'a> fn(&'a Arc<App>, &'a Ctx, FlowCall<'a>) -> BoxFuture<'a, Result<Value>>;

/// An action that runs a flow.
pub(crate) struct FlowCall<'a> {
    /// The action.
    pub(crate) action: &'a Action,
    /// The flow.
    pub(crate) flow: &'a str,
    /// The record that it is about.
    pub(crate) record_id: Option<&'a str>,
    /// The parameters.
    pub(crate) input: Map<String, Value>,
    /// The same key runs it once.
    pub(crate) key: Option<&'a str>,
}
