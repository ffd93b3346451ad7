//! data-svc as far as ai-svc knows it: metadata that everybody may see, one record, and failures as a test plans
//! them. A write that is repeated under its key is answered as before.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use mesh::{
    Ctx, Error, Link,
    error::Reason,
    guard::Guard,
    resolver::{Resolver, Tier},
};
use metadata::{Item, ItemType};
use proto::data::v1::{
    self as pb,
    metadata_service_server::{MetadataService, MetadataServiceServer},
    record_service_server::{RecordService, RecordServiceServer},
    registry_service_server::{RegistryService, RegistryServiceServer},
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tonic::{Request, Response, Status, service::Routes};
use tower::Layer as _;

/// The fake. Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct FakeData {
    state: Arc<Mutex<State>>,
    /// The revision of the metadata.
    revision: watch::Sender<u64>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    /// It is refused, and nothing was done.
    Refused(Reason),
    /// It is done, and its answer is lost.
    AnswerLost,
}

/// A call of a record, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `query`, `get`, `create`, `update`, `delete`.
    pub rpc: &'static str,
    /// The query, the fields or the patch.
    pub body: Value,
    /// The idempotency key.
    pub key: String,
    /// The version that the record has to have.
    pub if_match: String,
    /// Whose rights count.
    pub subject: String,
    /// Why ai-svc acts for them, where it does beyond their call.
    pub reason: Option<String>,
}

#[derive(Default)]
pub(crate) struct State {
    /// The metadata.
    pub items: Vec<Item>,
    /// The fields of the object `ticket` that are shown.
    pub fields: Vec<&'static str>,
    /// The record that there is; null once it is deleted.
    pub record: Value,
    /// Writes of it after its making: its version is one more.
    pub changes: i64,
    /// How often a query finds the record; once where nothing is said.
    pub rows: usize,
    /// Every call of a record, also a refused one.
    pub calls: Vec<Call>,
    /// What becomes of the next calls of an RPC, in order.
    planned: VecDeque<(&'static str, Plan)>,
    /// What writes under a key answered.
    answered: HashMap<String, pb::Record>,
    /// Items told in full so far, the replica's aside.
    pub items_told: usize,
    /// Names told so far.
    pub names_told: usize,
}

impl FakeData {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Declares an item, in place of the one of its name; a new revision tells it.
    pub(crate) fn declare(&self, item_type: ItemType, name: &str, value: Value) {
        let item = Item::new(item_type, name, value).0;
        {
            let mut state = self.state();
            state
                .items
                .retain(|old| (old.item_type, old.name.as_str()) != (item_type, name));
            state.items.push(item);
        }
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// Plans the next call of an RPC; several plans for one RPC take their turns.
    pub(crate) fn plan(&self, rpc: &'static str, plan: Plan) {
        self.state().planned.push_back((rpc, plan));
    }

    /// The calls of an RPC.
    pub(crate) fn calls(&self, rpc: &str) -> Vec<Call> {
        let state = self.state();
        let calls = state.calls.iter().filter(|call| call.rpc == rpc);
        calls.cloned().collect()
    }

    /// Binds it behind its guard, which verifies callers at auth-svc.
    pub(crate) fn bind(&self, link: &Link, auth: &Link) {
        let resolver = Resolver::new(Tier::Service, auth.clone(), None);
        let guard = Guard::new("data-svc", resolver, false).unwrap();
        let routes = Routes::default()
            .add_service(RegistryServiceServer::new(self.clone()))
            .add_service(MetadataServiceServer::new(self.clone()))
            .add_service(RecordServiceServer::new(self.clone()));
        link.bind(guard.layer(routes.prepare()));
    }

    /// Keeps a call; gives what is planned for it.
    fn called(&self, ctx: &Ctx, call: Call) -> Result<Option<Plan>, Status> {
        let identity = ctx.identity()?;
        let mut state = self.state();
        let planned = state.planned.iter().position(|(rpc, _)| *rpc == call.rpc);
        let planned = planned.and_then(|place| state.planned.remove(place));
        state.calls.push(Call {
            subject: identity.subject.clone(),
            reason: identity.actor.as_ref().map(|actor| actor.reason.clone()),
            ..call
        });
        match planned.map(|(_, plan)| plan) {
            Some(Plan::Refused(reason)) => Err(Error::new(reason, "It is refused").into()),
            plan => Ok(plan),
        }
    }

    /// What a write answers: what `write` does, once for a key.
    fn write(
        &self,
        plan: Option<Plan>,
        key: &str,
        write: impl FnOnce(&mut State) -> Result<pb::Record, Error>,
    ) -> Result<pb::Record, Status> {
        let mut state = self.state();
        let before = state.answered.get(key).cloned();
        let answer = match before.filter(|_| !key.is_empty()) {
            Some(answer) => answer,
            None => write(&mut state)?,
        };
        state.answered.insert(key.to_owned(), answer.clone());
        match plan {
            // As a transport says it: not an error of the service.
            Some(Plan::AnswerLost) => Err(Status::unavailable("the connection broke off")),
            Some(Plan::Refused(_)) | None => Ok(answer),
        }
    }
}

impl State {
    /// The record, if it is still there and has that version.
    fn found(&self, if_match: &str) -> Result<pb::Record, Error> {
        if self.record.is_null() {
            return Err(Error::not_found(
                "RECORD_NOT_FOUND",
                "There is no such record",
            ));
        }
        let found = record(&self.record, 1 + self.changes);
        if !if_match.is_empty() && if_match != found.version.to_string() {
            return Err(Error::new(
                Reason::ConcurrentUpdate,
                "It has another version",
            ));
        }
        Ok(found)
    }
}

fn record(value: &Value, version: i64) -> pb::Record {
    pb::Record {
        id: value["id"].as_str().unwrap_or_default().to_owned(),
        version,
        body: Some(pb::record::Body::Json(value.to_string().into())),
    }
}

fn call(rpc: &'static str, body: &[u8], key: &str, if_match: &str) -> Call {
    Call {
        rpc,
        body: serde_json::from_slice(body).unwrap_or_default(),
        key: key.to_owned(),
        if_match: if_match.to_owned(),
        subject: String::new(),
        reason: None,
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
        let revisions = self.revision.subscribe();
        let told = stream::unfold((self.clone(), revisions, true), async |at| {
            let (data, mut revisions, is_first) = at;
            if !is_first {
                revisions.changed().await.ok()?;
            }
            let revision = *revisions.borrow_and_update();
            let items = data.state().items.clone().into_iter();
            let items = items.map(|item| pb::RegistryItem {
                r#type: item.item_type.as_str().to_owned(),
                name: item.name,
                package_id: "test".to_owned(),
                json: item.value.to_string().into(),
                hash: item.hash,
            });
            let snapshot = pb::WatchRegistryResponse {
                revision,
                items: items.collect(),
                complete: true,
            };
            Some((Ok(snapshot), (data, revisions, false)))
        });
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
        let is_ticket = (asked.r#type.as_str(), asked.name.as_str()) == ("object", "ticket");
        if !is_ticket {
            let mut state = self.state();
            let mut items = state.items.iter();
            let found = items
                .find(|item| item.item_type.as_str() == asked.r#type && item.name == asked.name);
            let found = found.map(|item| item.named_value().to_string());
            let item = found.ok_or_else(|| Error::not_found("NOT_THERE", "There is none"))?;
            state.items_told += 1;
            return Ok(Response::new(pb::GetMetadataItemResponse {
                r#type: asked.r#type,
                name: asked.name,
                item: item.into(),
                ..pb::GetMetadataItemResponse::default()
            }));
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
        request: Request<pb::QueryRecordsRequest>,
    ) -> Result<Response<pb::QueryRecordsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        self.called(&ctx, call("query", &asked.query, "", ""))?;
        let state = self.state();
        let rows = state.rows.max(1);
        Ok(Response::new(pb::QueryRecordsResponse {
            items: vec![state.found("")?; rows],
            total: Some(i64::try_from(rows).unwrap()),
            next_cursor: None,
        }))
    }

    async fn get_record(
        &self,
        request: Request<pb::GetRecordRequest>,
    ) -> Result<Response<pb::GetRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        self.called(&ctx, call("get", b"", "", ""))?;
        let record = Some(self.state().found("")?);
        Ok(Response::new(pb::GetRecordResponse { record }))
    }

    async fn create_record(
        &self,
        request: Request<pb::CreateRecordRequest>,
    ) -> Result<Response<pb::CreateRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let key = asked.idempotency_key.as_str();
        let plan = self.called(&ctx, call("create", &asked.record, key, ""))?;
        let made = self.write(plan, key, |_| {
            let mut made: Value = serde_json::from_slice(&asked.record).unwrap();
            made["id"] = json!("made");
            made["hidden"] = json!("secret");
            Ok(record(&made, 1))
        })?;
        let record = Some(made);
        Ok(Response::new(pb::CreateRecordResponse { record }))
    }

    async fn update_record(
        &self,
        request: Request<pb::UpdateRecordRequest>,
    ) -> Result<Response<pb::UpdateRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let (key, if_match) = (asked.idempotency_key.as_str(), asked.if_match.as_str());
        let made = call("update", &asked.patch, key, if_match);
        let patch = made.body.clone();
        let plan = self.called(&ctx, made)?;
        let record = self.write(plan, key, |state| {
            state.found(if_match)?;
            for (field, value) in patch.as_object().into_iter().flatten() {
                state.record[field.as_str()] = value.clone();
            }
            state.changes += 1;
            state.found("")
        })?;
        let record = Some(record);
        Ok(Response::new(pb::UpdateRecordResponse { record }))
    }

    async fn delete_record(
        &self,
        request: Request<pb::DeleteRecordRequest>,
    ) -> Result<Response<pb::DeleteRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let (key, if_match) = (
            asked.idempotency_key.as_str(),
            asked.expected_version.as_str(),
        );
        let plan = self.called(&ctx, call("delete", b"", key, if_match))?;
        self.write(plan, key, |state| {
            let found = state.found(if_match)?;
            state.record = Value::Null;
            Ok(found)
        })?;
        Ok(Response::new(pb::DeleteRecordResponse {
            object: asked.object,
            id: asked.id,
            success: true,
        }))
    }
}
