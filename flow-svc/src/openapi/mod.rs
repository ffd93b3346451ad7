//! What OpenAPI says of flow-svc to one caller: the contract's routes, and a path with its input for
//! each action and flow whose metadata the caller may see. Whether that is so, data-svc says.

mod actions;
mod flows;

use std::sync::Arc;

use data_client::{metadata::Names, registry::Snapshot};
use futures::{FutureExt as _, future::BoxFuture};
use mesh::{
    Ctx, Result,
    identity::Identity,
    openapi::{Contract, Describe, Fragment},
};
use metadata::{Item, ItemType};

use crate::{app::App, catalog::Catalog};

/// The routes of this service.
///
/// # Errors
/// When an option of the contract is wrong.
pub fn contract() -> anyhow::Result<Contract> {
    Contract::of("objectmesh.flow.")
}

/// The fragment of an app for somebody who may see all of it.
#[must_use]
pub fn fragment_of(
    contract: &Contract,
    caller: &Identity,
    items: impl IntoIterator<Item = Arc<Item>>,
) -> Fragment {
    let catalog = Catalog::compile(&Snapshot::new(0, items), None);
    fragment(contract, caller, &catalog, &Visible::All)
}

/// Describes flow-svc.
pub(crate) struct Description {
    pub(crate) app: Arc<App>,
    pub(crate) contract: Contract,
}

impl Describe for Description {
    fn revision(&self) -> u64 {
        self.app
            .catalog
            .current()
            .map_or(0, |catalog| catalog.revision)
    }

    fn fragment<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Result<(u64, Fragment)>> {
        async move {
            let catalog = self.app.catalog.current()?;
            let types = [ItemType::Action, ItemType::Flow];
            let visible = Visible::Some(self.app.metadata.names(ctx, &types).await?);
            let fragment = fragment(&self.contract, ctx.identity()?, &catalog, &visible);
            Ok((catalog.revision, fragment))
        }
        .boxed()
    }
}

fn fragment(
    contract: &Contract,
    caller: &Identity,
    catalog: &Catalog,
    visible: &Visible,
) -> Fragment {
    let mut fragment = contract.fragment(caller);
    actions::describe(&mut fragment, contract, caller, catalog, visible);
    flows::describe(&mut fragment, contract, caller, catalog, visible);
    contract.complete(&mut fragment);
    fragment
}

/// Which items of metadata the caller may see.
enum Visible {
    /// All there are.
    All,
    /// Those of these names.
    Some(Names),
}

impl Visible {
    /// Whether the caller may see that item.
    fn has(&self, item: &Item) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.has(item),
        }
    }
}
