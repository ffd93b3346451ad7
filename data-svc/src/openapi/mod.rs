//! What OpenAPI says of data-svc to one caller: the contract's routes, and for each object that the
//! caller may read its own paths and schemas.
//!
//! Invariant: a pure function of contract, registry and rights. What may be seen is asked of the
//! one policy; a field or object that a caller may not read is in no path, schema or reference.

mod components;
mod objects;
mod query;

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{
    Ctx, Result,
    identity::Identity,
    openapi::{Contract, Describe, Fragment},
};

use crate::{
    kernel::{Kernel, Work},
    metadata::catalog::Catalog,
};

/// The routes of this service.
///
/// # Errors
/// When an option of the contract is wrong.
pub fn contract() -> anyhow::Result<Contract> {
    Contract::of("objectmesh.data.")
}

/// Describes data-svc.
pub struct Description {
    kernel: Kernel,
    catalog: Arc<Catalog>,
    contract: Contract,
}

impl Description {
    /// Of the metadata in force.
    ///
    /// # Errors
    /// When an option of the contract is wrong.
    pub fn new(kernel: Kernel, catalog: Arc<Catalog>) -> anyhow::Result<Self> {
        Ok(Self {
            kernel,
            catalog,
            contract: contract()?,
        })
    }
}

impl Describe for Description {
    fn revision(&self) -> u64 {
        self.catalog.current().revision
    }

    fn fragment<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Result<(u64, Fragment)>> {
        let made = self.kernel.work(ctx).and_then(|work| {
            let fragment = fragment(&self.contract, &work, ctx.identity()?);
            Ok((work.registry.revision, fragment))
        });
        std::future::ready(made).boxed()
    }
}

/// The fragment that the caller may see.
#[must_use]
pub fn fragment(contract: &Contract, work: &Work, caller: &Identity) -> Fragment {
    let mut fragment = contract.fragment(caller);
    query::describe(&mut fragment);
    objects::describe(&mut fragment, contract, work, caller);
    contract.complete(&mut fragment);
    fragment
}
