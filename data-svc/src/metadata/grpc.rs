//! `MetadataService`: reads of the registry, within what the caller may see.

use mesh::{Ctx, Error, Result};
use metadata::ItemType;
use proto::data::v1::{
    GetMetadataItemRequest, GetMetadataItemResponse, ListMetadataItemsRequest,
    ListMetadataItemsResponse, ListMetadataNamesRequest, ListMetadataNamesResponse,
    ListMetadataReferencesRequest, ListMetadataReferencesResponse, ListMetadataTypesRequest,
    ListMetadataTypesResponse, MetadataName, MetadataNames, MetadataReference, MetadataType,
    metadata_service_server::MetadataService,
};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tonic::{Request, Response, Status};

use super::{introspection, references};
use crate::kernel::{Kernel, Work, model::registry::Item};

/// Items a page, by default and at most.
const PAGE_MAX: u32 = 1_000;

/// Serves metadata.
pub struct Metadata {
    /// Begins the work of each call.
    pub kernel: Kernel,
}

#[tonic::async_trait]
impl MetadataService for Metadata {
    async fn list_metadata_types(
        &self,
        request: Request<ListMetadataTypesRequest>,
    ) -> Result<Response<ListMetadataTypesResponse>, Status> {
        let work = self.kernel.work(&Ctx::of(&request)?)?;
        let mut types: Vec<ItemType> = ItemType::ALL.to_vec();
        types.sort_by_key(|item_type| (item_type.domain(), item_type.as_str()));
        let entries: Vec<MetadataType> = types
            .iter()
            .enumerate()
            .map(|(order, item_type)| MetadataType {
                r#type: item_type.as_str().to_owned(),
                label: item_type.label().to_owned(),
                description: item_type.description().to_owned(),
                domain: item_type.domain().to_owned(),
                supports_overlay: item_type.overlay_allowed(),
                allow_org_override: item_type.overlay_allowed(),
                allow_runtime_create: item_type.runtime_create(),
                supports_versioning: item_type.overlay_allowed(),
                load_order: u32::try_from(order).unwrap_or(u32::MAX),
                schema_id: format!("objectmesh.metadata.{}", item_type.as_str()),
                count: u32::try_from(introspection::items(&work, *item_type).count())
                    .unwrap_or(u32::MAX),
            })
            .collect();
        Ok(Response::new(ListMetadataTypesResponse {
            types: entries.iter().map(|entry| entry.r#type.clone()).collect(),
            entries,
        }))
    }

    async fn list_metadata_items(
        &self,
        request: Request<ListMetadataItemsRequest>,
    ) -> Result<Response<ListMetadataItemsResponse>, Status> {
        let work = self.kernel.work(&Ctx::of(&request)?)?;
        let request = request.into_inner();
        let item_type = item_type(&request.r#type)?;
        let wanted = request.q.to_ascii_lowercase();
        let fitting: Vec<_> = introspection::items(&work, item_type)
            .filter(|item| request.package.is_empty() || item.package_id == request.package)
            .filter(|item| wanted.is_empty() || introspection::is_named(item, &wanted))
            .collect();
        let limit = request.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX) as usize;
        let offset = request.offset.unwrap_or_default() as usize;
        Ok(Response::new(ListMetadataItemsResponse {
            r#type: item_type.as_str().to_owned(),
            items: fitting
                .iter()
                .skip(offset)
                .take(limit)
                .map(|item| {
                    let language = &request.accept_language;
                    let shown = introspection::shown_in(&work, item_type, item, language);
                    shown.to_string().into()
                })
                .collect(),
            total: i64::try_from(fitting.len()).unwrap_or(i64::MAX),
            next_cursor: None,
        }))
    }

    async fn list_metadata_names(
        &self,
        request: Request<ListMetadataNamesRequest>,
    ) -> Result<Response<ListMetadataNamesResponse>, Status> {
        let work = self.kernel.work(&Ctx::of(&request)?)?;
        let mut types = Vec::new();
        for word in request.into_inner().types {
            let item_type = item_type(&word)?;
            let items = introspection::items(&work, item_type).map(|item| MetadataName {
                name: item.name.clone(),
                object: introspection::object_of(item)
                    .unwrap_or_default()
                    .to_owned(),
            });
            types.push(MetadataNames {
                r#type: item_type.as_str().to_owned(),
                items: items.collect(),
            });
        }
        Ok(Response::new(ListMetadataNamesResponse { types }))
    }

    async fn get_metadata_item(
        &self,
        request: Request<GetMetadataItemRequest>,
    ) -> Result<Response<GetMetadataItemResponse>, Status> {
        let work = self.kernel.work(&Ctx::of(&request)?)?;
        let request = request.into_inner();
        let item_type = item_type(&request.r#type)?;
        let item = find(&work, item_type, &request.name)?;
        let (languages, layered) = (&request.accept_language, !request.layers.is_empty());
        let etag = introspection::etag(&work, item_type, item, languages, layered);
        let unchanged = request
            .if_none_match
            .split(',')
            .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
            .any(|tag| tag == etag || tag == "*");
        let mut response = GetMetadataItemResponse {
            r#type: item_type.as_str().to_owned(),
            name: item.name.clone(),
            etag,
            last_modified: http_date(work.registry.published_at),
            ..GetMetadataItemResponse::default()
        };
        if unchanged {
            response.http_status = 304;
            return Ok(Response::new(response));
        }
        let text = introspection::shown_in(&work, item_type, item, languages).to_string();
        let bare = request.bare.unwrap_or_default();
        response.bare = match layered {
            true => Some(introspection::layers(&work, item_type, item).to_string()),
            false => bare.then(|| text.clone()),
        }
        .map(Into::into);
        response.item = text.into();
        Ok(Response::new(response))
    }

    async fn list_metadata_references(
        &self,
        request: Request<ListMetadataReferencesRequest>,
    ) -> Result<Response<ListMetadataReferencesResponse>, Status> {
        let work = self.kernel.work(&Ctx::of(&request)?)?;
        let request = request.into_inner();
        let item_type = item_type(&request.r#type)?;
        let item = find(&work, item_type, &request.name)?;
        let references = references::to(&work, item_type, &item.name);
        let references = references.into_iter().map(|reference| MetadataReference {
            r#type: reference.item_type.as_str().to_owned(),
            name: reference.name,
            label: reference.label,
            path: reference.path,
            kind: item_type.as_str().to_owned(),
        });
        Ok(Response::new(ListMetadataReferencesResponse {
            references: references.collect(),
        }))
    }
}

fn find<'w>(work: &'w Work, item_type: ItemType, name: &str) -> Result<&'w Item> {
    introspection::items(work, item_type)
        .find(|item| item.name == name)
        .ok_or_else(|| {
            Error::new(
                mesh::error::Reason::NotFound,
                format!("There is no {} `{name}`", item_type.as_str()),
            )
            .with("type", item_type.as_str())
            .with("name", name)
        })
}

fn item_type(word: &str) -> Result<ItemType> {
    ItemType::from_str_loose(word).ok_or_else(|| {
        Error::not_found(
            "UNKNOWN_TYPE",
            format!("There is no metadata type `{word}`"),
        )
        .with("type", word)
    })
}

/// An HTTP date (RFC 9110 §5.6.7).
fn http_date(moment: OffsetDateTime) -> String {
    let text = moment
        .to_offset(time::UtcOffset::UTC)
        .format(&Rfc2822)
        .unwrap_or_default();
    text.replace("+0000", "GMT")
}
