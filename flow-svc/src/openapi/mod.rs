//! What OpenAPI says of flow-svc to one caller: the contract's routes, and a path with its input for
//! each action and flow whose metadata the caller may see. Whether that is so, data-svc says.

mod actions;
mod flows;

use std::{collections::HashSet, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{
    Ctx, Error, Result,
    identity::Identity,
    openapi::{Contract, Describe, Fragment},
    registry::Snapshot,
};
use proto::data::v1::{ListMetadataItemsRequest, metadata_service_client::MetadataServiceClient};
use serde_json::Value;

use crate::{app::App, catalog::Catalog};

/// Items that are asked for at once.
const PAGE: u32 = 1000;

/// The routes of this service.
///
/// # Errors
/// When an option of the contract is wrong.
pub fn contract() -> anyhow::Result<Contract> {
    Contract::of("objectmesh.flow.")
}

/// The fragment of an app for somebody who may see all of it.
#[must_use]
pub fn fragment_of(contract: &Contract, caller: &Identity, snapshot: Snapshot) -> Fragment {
    let catalog = Catalog::compile(snapshot);
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
            let visible = Visible::ask(&self.app, ctx).await?;
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
pub(crate) enum Visible {
    /// All there are.
    All,
    /// Type, object (empty for none) and name of each.
    Some(HashSet<(&'static str, String, String)>),
}

impl Visible {
    async fn ask(app: &App, ctx: &Ctx) -> Result<Self> {
        let mut seen = HashSet::new();
        for item_type in ["action", "flow"] {
            let mut offset = 0;
            loop {
                let message = ListMetadataItemsRequest {
                    r#type: item_type.to_owned(),
                    limit: Some(PAGE),
                    offset: Some(offset),
                    ..ListMetadataItemsRequest::default()
                };
                let mut client = MetadataServiceClient::new(app.data.clone());
                let answer = client.list_metadata_items(ctx.request(message)).await;
                let answer = answer
                    .map_err(|status| Error::from_status(&status))?
                    .into_inner();
                for item in &answer.items {
                    let item: Value = serde_json::from_slice(item).map_err(Error::internal)?;
                    let text = |key: &str| item.get(key).and_then(Value::as_str);
                    let object = text("objectName").or_else(|| text("object"));
                    let name = text("name").unwrap_or_default().to_owned();
                    seen.insert((item_type, object.unwrap_or_default().to_owned(), name));
                }
                offset += PAGE;
                if i64::from(offset) >= answer.total {
                    break;
                }
            }
        }
        Ok(Self::Some(seen))
    }

    /// Whether the caller may see that item.
    pub(crate) fn has(&self, item_type: &'static str, object: Option<&str>, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(seen) => {
                let object = object.unwrap_or_default().to_owned();
                seen.contains(&(item_type, object, name.to_owned()))
            }
        }
    }
}
