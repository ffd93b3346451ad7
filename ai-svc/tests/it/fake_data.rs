//! data-svc as far as ai-svc knows it: metadata that everybody may see, and one record.

use std::sync::{Arc, Mutex, MutexGuard};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use mesh::Error;
use metadata::{Item, ItemType};
use proto::data::v1::{
    self as pb, metadata_service_server::MetadataService, record_service_server::RecordService,
    registry_service_server::RegistryService,
};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

/// The fake. Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct FakeData(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// The metadata.
    pub items: Vec<Item>,
    /// The fields of the object `ticket` that are shown.
    pub fields: Vec<&'static str>,
    /// The record that there is, of version 1.
    pub record: Value,
    /// Items told in full so far, the replica's aside.
    pub items_told: usize,
    /// Names told so far.
    pub names_told: usize,
}

impl FakeData {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn declare(&self, item_type: ItemType, name: &str, value: Value) {
        let item = Item::new(item_type, name, value).0;
        self.state().items.push(item);
    }

    fn record(&self) -> pb::Record {
        record(&self.state().record)
    }
}

fn record(value: &Value) -> pb::Record {
    pb::Record {
        id: value["id"].as_str().unwrap_or_default().to_owned(),
        version: 1,
        body: Some(pb::record::Body::Json(value.to_string().into())),
    }
}

fn unasked<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not asked for"))
}

#[tonic::async_trait]
impl RegistryService for FakeData {
    type WatchRegistryStream = BoxStream<'static, Result<pb::WatchRegistryResponse, Status>>;

    async fn watch_registry(
        &self,
        _request: Request<pb::WatchRegistryRequest>,
    ) -> Result<Response<Self::WatchRegistryStream>, Status> {
        let items = self.state().items.clone().into_iter();
        let items = items.map(|item| pb::RegistryItem {
            r#type: item.item_type.as_str().to_owned(),
            name: item.name,
            package_id: "test".to_owned(),
            json: item.value.to_string().into(),
            hash: item.hash,
        });
        let snapshot = pb::WatchRegistryResponse {
            revision: 1,
            items: items.collect(),
            complete: true,
        };
        let told = stream::iter([Ok(snapshot)]).chain(stream::pending());
        Ok(Response::new(told.boxed()))
    }
}

#[tonic::async_trait]
impl MetadataService for FakeData {
    async fn list_metadata_types(
        &self,
        _request: Request<pb::ListMetadataTypesRequest>,
    ) -> Result<Response<pb::ListMetadataTypesResponse>, Status> {
        unasked()
    }

    async fn list_metadata_items(
        &self,
        request: Request<pb::ListMetadataItemsRequest>,
    ) -> Result<Response<pb::ListMetadataItemsResponse>, Status> {
        let wanted = request.into_inner().r#type;
        let mut state = self.state();
        let items = state.items.iter();
        let items = items.filter(|item| item.item_type.as_str() == wanted);
        let items: Vec<_> = items
            .map(|item| item.named_value().to_string().into())
            .collect();
        state.items_told += items.len();
        Ok(Response::new(pb::ListMetadataItemsResponse {
            r#type: wanted,
            total: i64::try_from(items.len()).unwrap(),
            items,
            next_cursor: None,
        }))
    }

    async fn list_metadata_names(
        &self,
        request: Request<pb::ListMetadataNamesRequest>,
    ) -> Result<Response<pb::ListMetadataNamesResponse>, Status> {
        let mut state = self.state();
        let mut types = Vec::new();
        for wanted in request.into_inner().types {
            let items = state.items.iter();
            let items = items.filter(|item| item.item_type.as_str() == wanted);
            let items = items.map(|item| pb::MetadataName {
                name: item.name.clone(),
                object: item.object.clone().unwrap_or_default(),
            });
            types.push(pb::MetadataNames {
                items: items.collect(),
                r#type: wanted,
            });
        }
        state.names_told += types.iter().map(|told| told.items.len()).sum::<usize>();
        Ok(Response::new(pb::ListMetadataNamesResponse { types }))
    }

    async fn get_metadata_item(
        &self,
        request: Request<pb::GetMetadataItemRequest>,
    ) -> Result<Response<pb::GetMetadataItemResponse>, Status> {
        let asked = request.into_inner();
        if (asked.r#type.as_str(), asked.name.as_str()) != ("object", "ticket") {
            return Err(Error::not_found("NOT_THERE", "There is none").into());
        }
        let mut state = self.state();
        state.items_told += 1;
        let fields = state.fields.iter();
        let fields = fields.map(|name| ((*name).to_owned(), json!({"type": "text"})));
        let fields: Value = Value::Object(fields.collect());
        let item = json!({"name": "ticket", "fields": fields});
        Ok(Response::new(pb::GetMetadataItemResponse {
            r#type: asked.r#type,
            name: asked.name,
            item: item.to_string().into(),
            ..pb::GetMetadataItemResponse::default()
        }))
    }

    async fn list_metadata_references(
        &self,
        _request: Request<pb::ListMetadataReferencesRequest>,
    ) -> Result<Response<pb::ListMetadataReferencesResponse>, Status> {
        unasked()
    }
}

#[tonic::async_trait]
impl RecordService for FakeData {
    async fn list_records(
        &self,
        _request: Request<pb::ListRecordsRequest>,
    ) -> Result<Response<pb::ListRecordsResponse>, Status> {
        unasked()
    }

    async fn query_records(
        &self,
        _request: Request<pb::QueryRecordsRequest>,
    ) -> Result<Response<pb::QueryRecordsResponse>, Status> {
        Ok(Response::new(pb::QueryRecordsResponse {
            items: vec![self.record()],
            total: Some(1),
            next_cursor: None,
        }))
    }

    async fn get_record(
        &self,
        _request: Request<pb::GetRecordRequest>,
    ) -> Result<Response<pb::GetRecordResponse>, Status> {
        let record = Some(self.record());
        Ok(Response::new(pb::GetRecordResponse { record }))
    }

    async fn create_record(
        &self,
        request: Request<pb::CreateRecordRequest>,
    ) -> Result<Response<pb::CreateRecordResponse>, Status> {
        let mut made: Value = serde_json::from_slice(&request.into_inner().record).unwrap();
        made["id"] = json!("made");
        made["hidden"] = json!("secret");
        let record = Some(record(&made));
        Ok(Response::new(pb::CreateRecordResponse { record }))
    }

    async fn update_record(
        &self,
        _request: Request<pb::UpdateRecordRequest>,
    ) -> Result<Response<pb::UpdateRecordResponse>, Status> {
        unasked()
    }

    async fn delete_record(
        &self,
        _request: Request<pb::DeleteRecordRequest>,
    ) -> Result<Response<pb::DeleteRecordResponse>, Status> {
        unasked()
    }
}
