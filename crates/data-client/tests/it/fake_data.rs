//! data-svc as far as its clients know it, on a socket of this machine: answers what a test puts in,
//! and remembers what it was asked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use mesh::{
    Ctx, Error, Link,
    error::Reason,
    service_identity::{ServiceIdentity, ServiceToken},
    tasks::Tasks,
};
use proto::data::v1::{
    self as pb,
    change_service_server::{ChangeService, ChangeServiceServer},
    metadata_service_server::{MetadataService, MetadataServiceServer},
    record_service_server::{RecordService, RecordServiceServer},
};
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// Shared by the tasks of the server.
#[derive(Clone, Default)]
pub(crate) struct FakeData(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// The record that there is.
    pub record: Option<(Value, i64)>,
    /// What reads are refused with.
    pub refused: Option<Reason>,
    /// Writes so far: the RPC, its version, its key, and its body.
    pub writes: Vec<(&'static str, String, String, Value)>,
    /// What streams of changes were opened with.
    pub watched: Vec<pb::WatchChangesRequest>,
    /// What the next streams tell; a stream that cannot be opened begins with an error.
    pub streams: VecDeque<Vec<Result<pb::WatchChangesResponse, Status>>>,
    /// Names of the actions.
    pub actions: Vec<String>,
    /// It does not know the RPC that tells names.
    pub is_older: bool,
    /// Items told in full so far.
    pub items_told: usize,
}

impl FakeData {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Serves on a free port until the test ends.
    pub(crate) async fn link(&self) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = Server::builder()
            .add_service(RecordServiceServer::new(self.clone()))
            .add_service(ChangeServiceServer::new(self.clone()))
            .add_service(MetadataServiceServer::new(self.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        Tasks::default().spawn(async move { served.await.unwrap() });
        Link::connect(&url).unwrap()
    }

    fn read(&self) -> Result<pb::Record, Status> {
        let state = self.state();
        if let Some(reason) = state.refused {
            return Err(Error::new(reason, "refused").into());
        }
        let Some((value, version)) = &state.record else {
            return Err(Error::not_found("RECORD_NOT_FOUND", "There is none").into());
        };
        Ok(record(value, *version))
    }

    fn wrote(&self, rpc: &'static str, version: String, key: String, body: &[u8]) -> pb::Record {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let shown = record(&body, 1);
        self.state().writes.push((rpc, version, key, body));
        shown
    }
}

/// The identity of a service that auth-svc need not know.
pub(crate) fn identity() -> ServiceIdentity {
    let mint = |_| {
        Ok(ServiceToken {
            token: "token".into(),
            expires_at_ms: i64::MAX,
        })
    };
    ServiceIdentity::minting("test", Box::new(mint))
}

pub(crate) fn ctx() -> Ctx {
    Ctx::background(None, Duration::from_secs(20))
}

fn record(value: &Value, version: i64) -> pb::Record {
    pb::Record {
        id: value["id"].as_str().unwrap_or_default().to_owned(),
        version,
        body: Some(pb::record::Body::Json(value.to_string().into())),
    }
}

#[tonic::async_trait]
impl RecordService for FakeData {
    async fn list_records(
        &self,
        _request: Request<pb::ListRecordsRequest>,
    ) -> Result<Response<pb::ListRecordsResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn query_records(
        &self,
        _request: Request<pb::QueryRecordsRequest>,
    ) -> Result<Response<pb::QueryRecordsResponse>, Status> {
        Ok(Response::new(pb::QueryRecordsResponse {
            items: vec![self.read()?],
            total: Some(7),
            next_cursor: None,
        }))
    }

    async fn get_record(
        &self,
        _request: Request<pb::GetRecordRequest>,
    ) -> Result<Response<pb::GetRecordResponse>, Status> {
        let record = Some(self.read()?);
        Ok(Response::new(pb::GetRecordResponse { record }))
    }

    async fn create_record(
        &self,
        request: Request<pb::CreateRecordRequest>,
    ) -> Result<Response<pb::CreateRecordResponse>, Status> {
        let asked = request.into_inner();
        let none = String::new();
        let record = Some(self.wrote("create", none, asked.idempotency_key, &asked.record));
        Ok(Response::new(pb::CreateRecordResponse { record }))
    }

    async fn update_record(
        &self,
        request: Request<pb::UpdateRecordRequest>,
    ) -> Result<Response<pb::UpdateRecordResponse>, Status> {
        let asked = request.into_inner();
        let (version, key) = (asked.if_match, asked.idempotency_key);
        let record = Some(self.wrote("update", version, key, &asked.patch));
        Ok(Response::new(pb::UpdateRecordResponse { record }))
    }

    async fn delete_record(
        &self,
        request: Request<pb::DeleteRecordRequest>,
    ) -> Result<Response<pb::DeleteRecordResponse>, Status> {
        let asked = request.into_inner();
        let (version, key) = (asked.expected_version, asked.idempotency_key);
        self.wrote("delete", version, key, b"{}");
        Ok(Response::new(pb::DeleteRecordResponse {
            object: asked.object,
            id: asked.id,
            success: true,
        }))
    }
}

#[tonic::async_trait]
impl ChangeService for FakeData {
    type WatchChangesStream = BoxStream<'static, Result<pb::WatchChangesResponse, Status>>;

    async fn watch_changes(
        &self,
        request: Request<pb::WatchChangesRequest>,
    ) -> Result<Response<Self::WatchChangesStream>, Status> {
        let mut state = self.state();
        state.watched.push(request.into_inner());
        let mut told = state.streams.pop_front().unwrap_or_default();
        if matches!(told.first(), Some(Err(_))) {
            told.swap_remove(0)?;
        }
        Ok(Response::new(stream::iter(told).boxed()))
    }
}

#[tonic::async_trait]
impl MetadataService for FakeData {
    async fn list_metadata_types(
        &self,
        _request: Request<pb::ListMetadataTypesRequest>,
    ) -> Result<Response<pb::ListMetadataTypesResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn list_metadata_items(
        &self,
        request: Request<pb::ListMetadataItemsRequest>,
    ) -> Result<Response<pb::ListMetadataItemsResponse>, Status> {
        let asked = request.into_inner();
        let mut state = self.state();
        let page = state.actions.iter().filter(|_| asked.r#type == "action");
        let page = page.skip(asked.offset.unwrap_or_default() as usize);
        let page = page.take(asked.limit.unwrap_or(1_000) as usize);
        let items: Vec<_> = page
            .map(|name| {
                serde_json::json!({"name": name, "objectName": "ticket"})
                    .to_string()
                    .into()
            })
            .collect();
        state.items_told += items.len();
        Ok(Response::new(pb::ListMetadataItemsResponse {
            r#type: asked.r#type,
            total: i64::try_from(state.actions.len()).unwrap(),
            items,
            next_cursor: None,
        }))
    }

    async fn list_metadata_names(
        &self,
        request: Request<pb::ListMetadataNamesRequest>,
    ) -> Result<Response<pb::ListMetadataNamesResponse>, Status> {
        if self.state().is_older {
            return Err(Error::new(Reason::NotImplemented, "There is no such RPC").into());
        }
        let types = request.into_inner().types.into_iter().map(|word| {
            let names = self.state().actions.clone();
            let items = names.into_iter().map(|name| pb::MetadataName {
                name,
                object: "ticket".to_owned(),
            });
            pb::MetadataNames {
                items: items.filter(|_| word == "action").collect(),
                r#type: word,
            }
        });
        Ok(Response::new(pb::ListMetadataNamesResponse {
            types: types.collect(),
        }))
    }

    async fn get_metadata_item(
        &self,
        request: Request<pb::GetMetadataItemRequest>,
    ) -> Result<Response<pb::GetMetadataItemResponse>, Status> {
        let asked = request.into_inner();
        Err(Error::not_found("NOT_THERE", asked.name).into())
    }

    async fn list_metadata_references(
        &self,
        _request: Request<pb::ListMetadataReferencesRequest>,
    ) -> Result<Response<pb::ListMetadataReferencesResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}
