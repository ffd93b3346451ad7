//! `objectmesh openapi --app PATH`: the API of an app as an administrator sees it, without serving
//! it.

use std::{io::Write, path::PathBuf, sync::Arc};

use clap::Args;
use data_svc::{
    kernel::{Work, access::Principal},
    metadata::catalog,
};
use gateway::openapi::{Document, Settings};
use mesh::identity::{ADMIN_PERMISSION_SET, Identity, Kind};
use metadata::{Item, ItemType};

use crate::apps;

/// Prints the OpenAPI 3.0 document of an app, as an administrator sees it.
#[derive(Args, Debug)]
pub struct OpenApi {
    /// Metadata directory or compiled artifact; may repeat. Without it: the example app.
    #[arg(long = "app", value_name = "PATH")]
    pub apps: Vec<PathBuf>,
    /// Where the API will be reached, for the document's `servers`.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    pub server: String,
}

/// Prints the document, in many lines.
///
/// # Errors
/// When there is nothing to read at a path, or it cannot be printed.
pub fn run(openapi: &OpenApi, out: &mut impl Write) -> anyhow::Result<()> {
    let apps = apps::load(&openapi.apps)?;
    let registry = catalog::registry(apps.packages)?;
    let admin = Identity {
        permission_sets: vec![ADMIN_PERMISSION_SET.to_owned()],
        ..Identity::nobody(Kind::User)
    };
    let items = registry.all_items().filter_map(|(item_type, item)| {
        let item_type = ItemType::from_str_loose(item_type)?;
        let value = item.value.clone();
        Some(Arc::new(Item::parsed(
            item_type, &item.name, value, &item.hash,
        )))
    });
    let items: Vec<Arc<Item>> = items.collect();
    let principal = Principal::User(Arc::new(admin.clone()));
    let work = Work::outside(Arc::new(registry), principal);
    let fragments = vec![
        auth_svc::openapi::contract()?.fragment(&admin),
        data_svc::openapi::fragment(&data_svc::openapi::contract()?, &work, &admin),
        flow_svc::openapi::fragment_of(&flow_svc::openapi::contract()?, &admin, items),
        ai_svc::openapi::contract()?.fragment(&admin),
    ];
    let settings = Settings {
        secure: openapi.server.starts_with("https:"),
        ..Settings::default()
    };
    let document = Document::merge(fragments, &[], settings);
    let text = document.text(openapi.server.trim_end_matches('/'));
    let value: serde_json::Value = serde_json::from_str(&text)?;
    serde_json::to_writer_pretty(&mut *out, &value)?;
    writeln!(out)?;
    Ok(())
}
