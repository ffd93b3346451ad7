//! Metadata as the caller may see it: data-svc's `MetadataService`, asked as whoever the context says.
//!
//! What it answers is for showing: labels are there or not as they were declared, and what the caller
//! may not see is left out. For what is declared, typed, see [`crate::registry`].

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use mesh::{Ctx, Error, Link, Result, node::MESSAGE_MAX};
use metadata::{Item, ItemType};
use proto::data::v1::{
    GetMetadataItemRequest, ListMetadataItemsRequest, ListMetadataNamesRequest,
    metadata_service_client::MetadataServiceClient,
};
use serde_json::Value;
use tonic::Code;

/// Items that one call lists; what data-svc gives at most.
const PAGE: u32 = 1_000;

/// The metadata of data-svc. Cheap to clone.
#[derive(Clone)]
pub struct Metadata {
    data: Link,
}

/// An item as a caller may see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownItem {
    /// Its name.
    pub name: String,
    /// The item; of an object the fields as a map, without those that the caller may not read.
    pub value: Value,
}

/// The names of the items that a caller may see, by type.
#[derive(Clone, Debug, Default)]
pub struct Names(HashMap<ItemType, HashSet<Name>>);

/// The object that an item belongs to, empty where it belongs to none, and its name.
type Name = (String, String);

impl Names {
    /// Whether the caller may see an item.
    #[must_use]
    pub fn has(&self, item: &Item) -> bool {
        let object = item.object.clone().unwrap_or_default();
        let names = self.0.get(&item.item_type);
        names.is_some_and(|names| names.contains(&(object, item.name.clone())))
    }
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

    /// All items of a type that the caller may see, by name.
    ///
    /// # Errors
    /// Those of data-svc.
    pub async fn items(&self, ctx: &Ctx, item_type: ItemType) -> Result<Vec<ShownItem>> {
        let mut items = Vec::new();
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
                items.push(read(json)?);
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
        let words = types.iter().map(|item_type| item_type.as_str().to_owned());
        let message = ListMetadataNamesRequest {
            types: words.collect(),
        };
        let answer = self
            .client()
            .list_metadata_names(ctx.request(message))
            .await;
        let told = match answer {
            Ok(answer) => answer.into_inner().types,
            // A data-svc of the version before, beside ours while the mesh is brought up to date.
            Err(status) if status.code() == Code::Unimplemented => {
                return self.names_of_items(ctx, types).await;
            }
            Err(status) => return Err(refused(status)),
        };
        let mut names = Names::default();
        for told in told {
            if let Some(item_type) = ItemType::from_str_loose(&told.r#type) {
                let told = told.items.into_iter().map(|name| (name.object, name.name));
                names.0.entry(item_type).or_default().extend(told);
            }
        }
        Ok(names)
    }

    async fn names_of_items(&self, ctx: &Ctx, types: &[ItemType]) -> Result<Names> {
        let mut names = Names::default();
        for item_type in types {
            for shown in self.items(ctx, *item_type).await? {
                let text = |key: &str| shown.value[key].as_str();
                let object = text("objectName").or_else(|| text("object"));
                let name = (object.unwrap_or_default().to_owned(), shown.name);
                names.0.entry(*item_type).or_default().insert(name);
            }
        }
        Ok(names)
    }

    /// An item.
    ///
    /// # Errors
    /// Those of data-svc: NOT_FOUND also for what the caller may not see.
    pub async fn item(&self, ctx: &Ctx, item_type: ItemType, name: &str) -> Result<ShownItem> {
        let message = GetMetadataItemRequest {
            r#type: item_type.as_str().to_owned(),
            name: name.to_owned(),
            ..GetMetadataItemRequest::default()
        };
        let answer = self.client().get_metadata_item(ctx.request(message)).await;
        read(&answer.map_err(refused)?.into_inner().item)
    }

    /// Names of the fields of an object that the caller may read.
    ///
    /// # Errors
    /// As [`Metadata::item`].
    pub async fn fields(&self, ctx: &Ctx, object: &str) -> Result<HashSet<String>> {
        let shown = self.item(ctx, ItemType::Object, object).await?;
        let fields = shown.value["fields"].as_object();
        Ok(fields
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default())
    }
}

fn refused(status: tonic::Status) -> Error {
    Error::from_status(&status)
}

fn read(json: &Bytes) -> Result<ShownItem> {
    let value: Value = serde_json::from_slice(json).map_err(Error::internal)?;
    let name = value["name"].as_str().unwrap_or_default().to_owned();
    Ok(ShownItem { name, value })
}
