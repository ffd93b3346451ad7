//! Metadata as the caller may see it: data-svc's `MetadataService`, asked as whoever the context says.
//!
//! For what is declared, whoever asks, see [`crate::registry`].

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use mesh::{Ctx, Error, Link, Result, node::MESSAGE_MAX};
use metadata::{Item, ItemType};
use proto::data::v1::{
    GetMetadataItemRequest, ListMetadataItemsRequest, ListMetadataNamesRequest,
    metadata_service_client::MetadataServiceClient,
};
use serde_json::Value;

/// Items that one call lists; what data-svc gives at most.
const PAGE: u32 = 1_000;

/// The names of the items that a caller may see, by type.
#[derive(Clone, Debug, Default)]
pub struct Names(HashMap<ItemType, HashSet<(String, String)>>);

impl Names {
    /// Whether the caller may see an item.
    #[must_use]
    pub fn has(&self, item: &Item) -> bool {
        let object = item.object.clone().unwrap_or_default();
        self.0
            .get(&item.item_type)
            .is_some_and(|names| names.contains(&(object, item.name.clone())))
    }
}

/// The metadata of data-svc. Cheap to clone.
#[derive(Clone)]
pub struct Metadata {
    data: Link,
}

impl Metadata {
    /// The metadata behind a link to data-svc.
    #[must_use]
    pub fn new(data: Link) -> Self {
        Self { data }
    }

    fn client(&self) -> MetadataServiceClient<Link> {
        MetadataServiceClient::new(self.data.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    /// All items of a type that the caller may see, by name, as they may see them.
    ///
    /// # Errors
    /// Those of data-svc.
    pub async fn items(&self, ctx: &Ctx, item_type: ItemType) -> Result<Vec<Item>> {
        let mut items: Vec<Item> = Vec::new();
        loop {
            let message = ListMetadataItemsRequest {
                r#type: item_type.as_str().to_owned(),
                limit: Some(PAGE),
                offset: Some(u32::try_from(items.len()).unwrap_or(u32::MAX)),
                ..ListMetadataItemsRequest::default()
            };
            let page = self
                .client()
                .list_metadata_items(ctx.request(message))
                .await;
            let page = page.map_err(refused)?.into_inner();
            let is_last = page.items.len() < PAGE as usize;
            for json in &page.items {
                items.push(read(item_type, None, json)?);
            }
            if is_last {
                return Ok(items);
            }
        }
    }

    /// The names of all items of these types that the caller may see.
    ///
    /// # Errors
    /// Those of data-svc.
    pub async fn names(&self, ctx: &Ctx, types: &[ItemType]) -> Result<Names> {
        let types = types.iter().map(|item_type| item_type.as_str().to_owned());
        let message = ListMetadataNamesRequest {
            types: types.collect(),
        };
        let answer = self
            .client()
            .list_metadata_names(ctx.request(message))
            .await;
        let mut names = Names::default();
        for told in answer.map_err(refused)?.into_inner().types {
            let Some(item_type) = ItemType::from_str_loose(&told.r#type) else {
                continue;
            };
            let told = told.items.into_iter().map(|name| (name.object, name.name));
            names.0.entry(item_type).or_default().extend(told);
        }
        Ok(names)
    }

    /// An item as the caller may see it: fields of an object that they may not read are not there.
    ///
    /// # Errors
    /// Those of data-svc: NOT_FOUND also for what the caller may not see.
    pub async fn item(&self, ctx: &Ctx, item_type: ItemType, name: &str) -> Result<Item> {
        let message = GetMetadataItemRequest {
            r#type: item_type.as_str().to_owned(),
            name: name.to_owned(),
            ..GetMetadataItemRequest::default()
        };
        let answer = self.client().get_metadata_item(ctx.request(message)).await;
        let answer = answer.map_err(refused)?.into_inner();
        read(item_type, Some(answer.name), &answer.item)
    }
}

fn refused(status: tonic::Status) -> Error {
    Error::from_status(&status)
}

fn read(item_type: ItemType, name: Option<String>, json: &Bytes) -> Result<Item> {
    let value: Value = serde_json::from_slice(json).map_err(Error::internal)?;
    let stated = || value["name"].as_str().unwrap_or_default().to_owned();
    let name = name.unwrap_or_else(stated);
    // Its findings were told where it was loaded.
    let (item, _) = Item::new(item_type, name, value);
    Ok(item)
}
