//! The work of flow-svc: invoking actions, running flows.

pub(crate) mod actions;
mod api_call;
mod flow_action;
pub(crate) mod flows;
mod host;
pub(crate) mod script_run;

use mesh::{
    Link, db::Db, delegation::Delegation, registry::Replica, route::Table,
    service_identity::ServiceIdentity, tasks::Tasks,
};
use script::LazyPool;

use crate::{catalog::Catalog, records::Records};

/// Everything the work needs. Shared by all calls.
pub(crate) struct App {
    /// The database.
    pub(crate) db: Db,
    /// Actions and flows in force.
    pub(crate) catalog: Replica<Catalog>,
    /// The records of data-svc.
    pub(crate) records: Records,
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
    /// The runs of flows that are driven here.
    pub(crate) flows: flows::Flows,
    /// What runs beside the calls.
    pub(crate) tasks: Tasks,
}
