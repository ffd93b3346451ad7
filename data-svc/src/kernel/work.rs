//! What one request works with.

use std::sync::{Arc, Mutex, PoisonError};

use mesh::{Ctx, Result};
use metadata::ApiMethod;
use time::OffsetDateTime;

use super::{
    access::{self, Access, AccessRequest, Grant, Principal},
    eval::EvalContext,
    model::{
        registry::{Registry, object_not_found},
        rights::Operation,
        schema::Schema,
    },
};

/// What was decided about objects and operations; a handful, so they are looked through in turn.
type Decisions = Vec<(Operation, Arc<Grant>)>;

/// What one request works with: one snapshot of the metadata, one principal, one moment, and what
/// was decided so far.
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
    pub(in crate::kernel) depth: u8,
    /// Records that the transaction will have made before this work is applied: object and id.
    pub(in crate::kernel) making: Vec<(String, String)>,
    /// Decisions of this request, shared by its clones: they hold for its one principal, snapshot
    /// and moment.
    decisions: Arc<Mutex<Decisions>>,
}

impl Work {
    /// The work of a call.
    pub(super) fn of(ctx: &Ctx, registry: Arc<Registry>, principal: Principal) -> Self {
        Self {
            registry,
            principal,
            now: ctx.now,
            request_id: Arc::clone(&ctx.request_id),
            client_address: ctx.client_address.clone(),
            user_agent: ctx.user_agent.clone(),
            depth: 0,
            making: Vec::new(),
            decisions: Arc::default(),
        }
    }

    /// Work that no request asked for.
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
            making: Vec::new(),
            decisions: Arc::default(),
        }
    }

    /// The same work one hook deeper, in a transaction that will have made that record.
    pub(in crate::kernel) fn nested(&self, object: &str, id: &str) -> Self {
        let mut work = self.clone();
        work.depth += 1;
        work.making.push((object.to_owned(), id.to_owned()));
        work
    }

    /// Resolves an object and decides about an operation on it.
    ///
    /// # Errors
    /// NOT_FOUND, METHOD_NOT_ALLOWED, PERMISSION_DENIED, in that order.
    pub fn open(
        &self,
        object: &str,
        method: ApiMethod,
        operation: Operation,
    ) -> Result<Arc<Grant>> {
        let schema = match &self.principal {
            Principal::User(_) => self.registry.open(object, method)?,
            // The platform's own work is not bound by what the API shows.
            Principal::System(_) => self
                .registry
                .schema(object)
                .ok_or_else(|| object_not_found(object))?,
        };
        self.grant(schema, operation)
    }

    /// Decides about an operation on an object found already; once for each request.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub fn grant(&self, schema: &Arc<Schema>, operation: Operation) -> Result<Arc<Grant>> {
        let decided = self.decided().iter().find_map(|(about, grant)| {
            (*about == operation && grant.schema.name() == schema.name()).then(|| Arc::clone(grant))
        });
        if let Some(grant) = decided {
            return Ok(grant);
        }
        let asking = AccessRequest {
            registry: &self.registry,
            principal: &self.principal,
            now: self.now,
        };
        let grant = Arc::new(access::grant(asking, schema, operation)?);
        self.decided().push((operation, Arc::clone(&grant)));
        Ok(grant)
    }

    fn decided(&self) -> std::sync::MutexGuard<'_, Decisions> {
        self.decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// For whom and when expressions are evaluated.
    pub(in crate::kernel) fn eval_context(&self) -> EvalContext {
        match &self.principal {
            Principal::User(identity) => EvalContext::of(identity, self.now),
            Principal::System(_) => EvalContext::nobody(self.now),
        }
    }
}

impl Access for Work {
    fn read_grant(&self, object: &str) -> Result<Arc<Grant>> {
        self.open(object, ApiMethod::List, Operation::Read)
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
