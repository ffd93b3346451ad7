//! The engine: the one pipeline that every door to records goes through — resolve against the
//! registry, authorise, compile, execute, shape (architecture.md §1, rule 3).
//!
//! Invariant: no other code of this service touches an object's table.

pub mod aggregate;
mod apply;
pub mod changes;
mod delete;
pub mod expand;
pub mod hooks;
pub mod idempotency;
pub mod introspect;
mod lookups;
pub mod metadata_references;
pub mod principal;
pub mod read;
pub mod references;
pub mod seed;
pub mod write;

use std::{sync::Arc, time::Duration};

use mesh::{Ctx, Result, db::Db, tasks::Tasks};
use metadata::ApiMethod;
use time::OffsetDateTime;

use crate::{
    domain::{
        expression::Speaker,
        policy::{self, Grant, Operation, Principal},
        query::{self, CursorKey},
        schema::Schema,
    },
    registry::{Registry, packages::Catalog},
};

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    /// The database.
    pub db: Db,
    /// The registry and its revisions.
    pub catalog: Arc<Catalog>,
    /// What has changed, for those who follow.
    pub changes: Arc<changes::Changes>,
    /// The permission set of users who hold no other, where the operator names one; empty for
    /// none. Without it, what the registry says.
    pub fallback_permission_set: Option<Arc<str>>,
    /// Signs cursors.
    pub cursor_key: Arc<CursorKey>,
    /// The sandbox in which hooks run.
    pub scripts: Arc<script::LazyPool>,
}

/// What one call works with: one snapshot of the metadata, one principal, one moment.
#[derive(Clone)]
pub struct Work {
    /// The snapshot.
    pub registry: Arc<Registry>,
    /// For whom.
    pub principal: Principal,
    /// The moment that counts as now.
    pub now: OffsetDateTime,
    /// The request id.
    pub request_id: Arc<str>,
    /// Address of the client, for the audit.
    pub client_address: Option<String>,
    /// Program of the client, for the audit.
    pub user_agent: Option<String>,
    /// How many hooks this work is nested in.
    pub depth: u8,
    /// The key by which this work is done once; claimed in the transaction of its effect.
    pub once: Option<Arc<idempotency::Once>>,
    /// Records that the transaction will have made before this work is applied: object and id.
    pub making: Vec<(String, String)>,
}

/// A record as it goes out.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Its version; 0 when the object keeps none.
    pub version: i64,
    /// The fields that the caller may read, as JSON.
    pub json: Vec<u8>,
}

impl Engine {
    /// Starts what runs beside the calls: following metadata that other processes publish, and
    /// what [`changes::Changes::start`] says.
    pub fn start(&self, tasks: &Tasks, changes_kept_for: Duration) {
        let (catalog, stop) = (Arc::clone(&self.catalog), tasks.stop_token());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = catalog.follow() => {}
            }
        });
        self.changes.start(tasks, changes_kept_for);
    }

    /// Begins the work of a call.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a caller.
    pub fn work(&self, ctx: &Ctx) -> Result<Work> {
        ctx.identity()?;
        let principal = match &ctx.caller {
            Some(caller) => Principal::of(&caller.identity)?,
            None => return Err(mesh::Error::unauthenticated("Authentication required")),
        };
        Ok(Work {
            registry: self.catalog.current(),
            principal,
            now: ctx.now,
            request_id: Arc::clone(&ctx.request_id),
            client_address: ctx.client_address.clone(),
            user_agent: ctx.user_agent.clone(),
            depth: 0,
            once: None,
            making: Vec::new(),
        })
    }

    /// Work of the platform itself, for a stated reason.
    #[must_use]
    pub fn system_work(&self, reason: &'static str) -> Work {
        Work::outside(self.catalog.current(), Principal::System(reason))
    }
}

impl Work {
    /// Work on a registry that no request asked for.
    #[must_use]
    pub fn outside(registry: Arc<Registry>, principal: Principal) -> Self {
        Self {
            registry,
            principal,
            now: mesh::clock::now(),
            request_id: mesh::id::new().into(),
            client_address: None,
            user_agent: None,
            depth: 0,
            once: None,
            making: Vec::new(),
        }
    }

    /// For whom and when expressions are evaluated.
    #[must_use]
    pub fn speaker(&self) -> Speaker {
        match &self.principal {
            Principal::User(identity) => Speaker::of(identity, self.now),
            Principal::System(_) => Speaker::nobody(self.now),
        }
    }

    /// Resolves an object and decides about an operation on it.
    ///
    /// # Errors
    /// NOT_FOUND, METHOD_NOT_ALLOWED, PERMISSION_DENIED, in that order.
    pub fn open(&self, object: &str, method: ApiMethod, operation: Operation) -> Result<Grant> {
        let schema = match &self.principal {
            Principal::User(_) => self.registry.open(object, method)?,
            // The platform's own work is not bound by what the API shows.
            Principal::System(_) => self
                .registry
                .schema(object)
                .ok_or_else(|| crate::registry::object_not_found(object))?,
        };
        policy::grant(&self.registry, &self.principal, schema, operation)
    }

    /// Decides about an operation on an object found already.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub fn grant(&self, schema: &Arc<Schema>, operation: Operation) -> Result<Grant> {
        policy::grant(&self.registry, &self.principal, schema, operation)
    }
}

impl query::Access for Work {
    fn read_grant(&self, object: &str) -> Result<Arc<Grant>> {
        self.open(object, ApiMethod::List, Operation::Read)
            .map(Arc::new)
    }

    fn now(&self) -> OffsetDateTime {
        self.now
    }

    fn user_id(&self) -> Option<&str> {
        self.principal.user_id()
    }

    fn organization_id(&self) -> Option<&str> {
        self.principal.organization_id()
    }
}

/// Lets malformed JSON fail at once and keeps any other refusal of a body for later: JSON comes
/// before the object in the order of refusals, the rest of a body after it (architecture.md §10).
///
/// # Errors
/// VALIDATION_ERROR `MALFORMED_JSON`.
pub fn malformed_first<T>(read: Result<T>) -> Result<Result<T>> {
    match read {
        Err(error)
            if error
                .detail("reason")
                .is_some_and(|reason| reason == "MALFORMED_JSON") =>
        {
            Err(error)
        }
        read => Ok(read),
    }
}
