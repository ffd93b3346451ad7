//! data-svc as far as flow-svc knows it: metadata, records in memory with their changes, and failures as a test
//! plans them. It keeps every call that it answered, and answers a write that is repeated under its key as it
//! did before.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use mesh::{
    Ctx, Error, Link,
    error::Reason,
    guard::Guard,
    identity::{Identity, Purpose},
    resolver::{Resolver, Tier},
};
use metadata::{Item, ItemType};
use proto::data::v1::{
    self as pb,
    change_service_server::ChangeServiceServer,
    record_service_server::{RecordService, RecordServiceServer},
    registry_service_server::RegistryServiceServer,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tonic::{Request, Response, Status, service::Routes};
use tower::Layer as _;

use crate::fake_filter::matches;

/// The fake. Clones share their state.
#[derive(Clone)]
pub(crate) struct FakeData {
    state: Arc<Mutex<State>>,
    /// Counts what happened, for those who wait for it.
    pub(crate) happened: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct State {
    pub items: Vec<Item>,
    pub revision: u64,
    records: Vec<Record>,
    /// What writes under a key answered.
    answered: HashMap<String, Record>,
    pub changes: Vec<pb::Change>,
    /// Changes up to here are no longer kept.
    pub forgotten: i64,
    /// Streams of changes that were opened, and after which position.
    pub followed: Vec<pb::WatchChangesRequest>,
    /// Every call of a record, also a refused one.
    pub calls: Vec<Call>,
    /// Who may not do what: `(subject, rpc)`.
    pub denied: Vec<(&'static str, &'static str)>,
    /// What becomes of the next calls of an RPC, in order.
    planned: VecDeque<(&'static str, Plan)>,
}

/// A call as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `query`, `get`, `create`, `update`, `delete`.
    pub rpc: &'static str,
    pub object: String,
    /// The record's id, where one is named.
    pub id: String,
    /// The query, the fields or the patch.
    pub body: Value,
    /// The idempotency key.
    pub key: String,
    pub request_id: String,
    /// The user, or the service.
    pub subject: String,
    /// Whether a service calls for itself.
    pub is_system: bool,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    /// It is refused, and nothing was done.
    Refused(Reason),
    /// It is done, and its answer is lost.
    AnswerLost,
    /// It is done, and its answer never comes.
    AnswerSilent,
    /// It neither does nor answers anything.
    Silent,
    /// It is done as always.
    Done,
}

#[derive(Clone, Debug)]
struct Record {
    object: String,
    id: String,
    version: i64,
    value: Value,
}

impl Record {
    fn to_proto(&self) -> pb::Record {
        pb::Record {
            id: self.id.clone(),
            version: self.version,
            body: Some(pb::record::Body::Json(self.value.to_string().into())),
        }
    }
}

impl Default for FakeData {
    fn default() -> Self {
        let data = Self::without_metadata();
        for object in ["task", "ticket"] {
            data.declare(ItemType::Object, object, json!({"fields": {}}));
        }
        data
    }
}

impl FakeData {
    /// One that has nothing to tell of metadata yet.
    pub(crate) fn without_metadata() -> Self {
        Self {
            state: Arc::default(),
            happened: watch::Sender::new(0),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn tell(&self) {
        self.happened.send_modify(|count| *count += 1);
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
            state.revision += 1;
        }
        self.tell();
    }

    /// Plans the next call of an RPC; several plans for one RPC take their turns.
    pub(crate) fn plan(&self, rpc: &'static str, plan: Plan) {
        self.state().planned.push_back((rpc, plan));
    }

    /// Puts a record there, without a change that tells it.
    pub(crate) fn put(&self, object: &str, id: &str, mut value: Value) {
        value["id"] = json!(id);
        self.state().records.push(Record {
            object: object.to_owned(),
            id: id.to_owned(),
            version: 1,
            value,
        });
    }

    /// The records of an object, in the order of their making.
    pub(crate) fn records(&self, object: &str) -> Vec<Value> {
        let state = self.state();
        let records = state.records.iter().filter(|one| one.object == object);
        records.map(|one| one.value.clone()).collect()
    }

    /// The names of the records of `task`.
    pub(crate) fn tasks(&self) -> Vec<String> {
        let records = self.records("task").into_iter();
        let names = records.map(|one| one["name"].as_str().unwrap_or_default().to_owned());
        names.collect()
    }

    /// The calls of an RPC.
    pub(crate) fn calls(&self, rpc: &str) -> Vec<Call> {
        let state = self.state();
        let calls = state.calls.iter().filter(|call| call.rpc == rpc);
        calls.cloned().collect()
    }

    /// Tells a change of a task that `user_id` made, or the platform where it is empty.
    pub(crate) fn change(&self, user_id: &str, before: Option<&Value>, after: Option<&Value>) {
        let request_id = mesh::id::new();
        self.change_within(&request_id, user_id, before, after);
    }

    /// The same, made by the request of that id.
    pub(crate) fn change_within(
        &self,
        request_id: &str,
        user_id: &str,
        before: Option<&Value>,
        after: Option<&Value>,
    ) {
        let value = after.or(before).unwrap();
        let change = pb::Change {
            object: "task".to_owned(),
            record_id: value["id"].as_str().unwrap_or_default().to_owned(),
            operation: operation(before, after).to_owned(),
            user_id: user_id.to_owned(),
            request_id: request_id.to_owned(),
            ..pb::Change::default()
        };
        self.push_change(change, before, after);
    }

    /// Tells a change whose record is no JSON.
    pub(crate) fn change_damaged(&self) {
        let change = pb::Change {
            object: "task".to_owned(),
            operation: "create".to_owned(),
            after: b"{\"name\":".to_vec().into(),
            user_id: "ann".to_owned(),
            ..pb::Change::default()
        };
        self.push_change(change, None, None);
    }

    fn push_change(&self, mut change: pb::Change, before: Option<&Value>, after: Option<&Value>) {
        {
            let mut state = self.state();
            change.position = head(&state) + 1;
            change.at_ms = mesh::clock::unix_ms();
            if let Some(before) = before {
                change.before = before.to_string().into();
            }
            if let Some(after) = after {
                change.after = after.to_string().into();
            }
            state.changes.push(change);
        }
        self.tell();
    }

    /// Forgets all changes so far, and `count` more that nobody was told.
    pub(crate) fn forget_changes(&self, count: i64) {
        {
            let mut state = self.state();
            state.forgotten = head(&state) + count;
            state.changes.clear();
        }
        self.tell();
    }

    /// Waits until something holds of the state.
    ///
    /// # Panics
    /// When it does not within half a minute.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        let mut happened = self.happened.subscribe();
        let waiting = async {
            while !holds(&self.state()) {
                happened.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await;
        assert!(waited.is_ok(), "not in time: {what}");
    }

    /// Binds it behind its guard, which verifies callers at auth-svc.
    pub(crate) fn bind(&self, link: &Link, auth: &Link) {
        let resolver = Resolver::new(Tier::Service, auth.clone(), None);
        let guard = Guard::new("data-svc", resolver, false).unwrap();
        let routes = Routes::default()
            .add_service(RegistryServiceServer::new(self.clone()))
            .add_service(RecordServiceServer::new(self.clone()))
            .add_service(ChangeServiceServer::new(self.clone()));
        link.bind(guard.layer(routes.prepare()));
    }

    /// Keeps a call, refuses who may not make it, and says what is planned for it.
    async fn called(&self, ctx: &Ctx, call: Call) -> Result<Plan, Status> {
        let identity = ctx.identity()?;
        let call = Call {
            request_id: ctx.request_id.to_string(),
            subject: identity.subject.clone(),
            is_system: identity.is_service_for(Purpose::RunFlow),
            ..call
        };
        let plan = {
            let mut state = self.state();
            let is_denied = state
                .denied
                .iter()
                .any(|(subject, rpc)| *subject == identity.subject && *rpc == call.rpc);
            let planned = state.planned.iter().position(|(rpc, _)| *rpc == call.rpc);
            let planned = planned.and_then(|place| state.planned.remove(place));
            state.calls.push(call);
            match planned {
                _ if is_denied => Plan::Refused(Reason::PermissionDenied),
                Some((_, plan)) => plan,
                None => Plan::Done,
            }
        };
        self.tell();
        match plan {
            Plan::Refused(reason) => Err(Error::new(reason, "It is refused").into()),
            Plan::Silent => std::future::pending().await,
            Plan::AnswerLost | Plan::AnswerSilent | Plan::Done => Ok(plan),
        }
    }

    /// What a write answers: what `write` does, once for a key.
    async fn write(
        &self,
        plan: Plan,
        key: &str,
        identity: &Identity,
        request_id: &str,
        write: impl FnOnce(&mut State) -> Result<(Option<Record>, Option<Record>), Error>,
    ) -> Result<Record, Status> {
        let before = self.state().answered.get(key).cloned();
        let answer = match before.filter(|_| !key.is_empty()) {
            Some(answer) => answer,
            None => {
                let (before, after) = write(&mut self.state())?;
                let answer = after.clone().or_else(|| before.clone()).unwrap();
                self.state().answered.insert(key.to_owned(), answer.clone());
                if answer.object == "task" {
                    let user_id = match identity.kind {
                        mesh::identity::Kind::User => identity.subject.as_str(),
                        mesh::identity::Kind::Service => "",
                    };
                    let (before, after) = (before.map(|one| one.value), after.map(|one| one.value));
                    self.change_within(request_id, user_id, before.as_ref(), after.as_ref());
                }
                answer
            }
        };
        match plan {
            // As a transport says it: not an error of the service.
            Plan::AnswerLost => Err(Status::unavailable("the connection broke off")),
            Plan::AnswerSilent => std::future::pending().await,
            Plan::Refused(_) | Plan::Silent | Plan::Done => Ok(answer),
        }
    }
}

/// The position of the last change.
pub(crate) fn head(state: &State) -> i64 {
    let last = state.changes.last();
    last.map_or(state.forgotten, |change| change.position)
}

fn operation(before: Option<&Value>, after: Option<&Value>) -> &'static str {
    match (before, after) {
        (None, _) => "create",
        (_, Some(_)) => "update",
        (_, None) => "delete",
    }
}

fn call(rpc: &'static str, object: &str, id: &str, body: &[u8], key: &str) -> Call {
    Call {
        rpc,
        object: object.to_owned(),
        id: id.to_owned(),
        body: serde_json::from_slice(body).unwrap_or_default(),
        key: key.to_owned(),
        request_id: String::new(),
        subject: String::new(),
        is_system: false,
    }
}

fn missing() -> Error {
    Error::not_found("RECORD_NOT_FOUND", "There is no such record")
}

/// A record needs a name, as a real object might say.
fn named(value: &Value) -> Result<(), Error> {
    match value["name"].as_str() {
        Some(_) => Ok(()),
        None => Err(Error::fields(vec![mesh::FieldViolation::new(
            "name",
            "required",
            "`name` is required",
        )])),
    }
}

fn merge(value: &mut Value, patch: &Value) {
    for (key, one) in patch.as_object().into_iter().flatten() {
        value[key.as_str()] = one.clone();
    }
}

#[tonic::async_trait]
impl RecordService for FakeData {
    async fn list_records(
        &self,
        _request: Request<pb::ListRecordsRequest>,
    ) -> Result<Response<pb::ListRecordsResponse>, Status> {
        Err(Status::unimplemented("flows query"))
    }

    async fn query_records(
        &self,
        request: Request<pb::QueryRecordsRequest>,
    ) -> Result<Response<pb::QueryRecordsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let plan = self
            .called(&ctx, call("query", &asked.object, "", &asked.query, ""))
            .await?;
        if matches!(plan, Plan::AnswerLost) {
            return Err(Status::unavailable("the connection broke off"));
        }
        let query: Value = serde_json::from_slice(&asked.query).unwrap();
        let state = self.state();
        let found = state.records.iter();
        let mut found: Vec<_> = found
            .filter(|one| one.object == asked.object && matches(&query["where"], &one.value))
            .collect();
        if query["orderBy"] == "id" {
            found.sort_by(|one, other| one.id.cmp(&other.id));
        }
        let total = i64::try_from(found.len()).unwrap();
        let limit = query["limit"].as_u64().unwrap_or(50);
        found.truncate(limit.try_into().unwrap());
        Ok(Response::new(pb::QueryRecordsResponse {
            items: found.into_iter().map(Record::to_proto).collect(),
            total: Some(total),
            next_cursor: None,
        }))
    }

    async fn get_record(
        &self,
        request: Request<pb::GetRecordRequest>,
    ) -> Result<Response<pb::GetRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        self.called(&ctx, call("get", &asked.object, &asked.id, b"", ""))
            .await?;
        let state = self.state();
        let mut records = state.records.iter();
        let found = records.find(|one| one.object == asked.object && one.id == asked.id);
        let record = found.ok_or_else(missing)?.to_proto();
        Ok(Response::new(pb::GetRecordResponse {
            record: Some(record),
        }))
    }

    async fn create_record(
        &self,
        request: Request<pb::CreateRecordRequest>,
    ) -> Result<Response<pb::CreateRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let made = call(
            "create",
            &asked.object,
            "",
            &asked.record,
            &asked.idempotency_key,
        );
        let mut value = made.body.clone();
        let plan = self.called(&ctx, made).await?;
        let identity = ctx.identity()?;
        let key = asked.idempotency_key.as_str();
        let record = self.write(plan, key, identity, &ctx.request_id, |state| {
            named(&value)?;
            let id = mesh::id::new();
            value["id"] = json!(id);
            value["created_by"] = json!(identity.subject);
            let record = Record {
                object: asked.object,
                id,
                version: 1,
                value,
            };
            state.records.push(record.clone());
            Ok((None, Some(record)))
        });
        let record = record.await?;
        Ok(Response::new(pb::CreateRecordResponse {
            record: Some(record.to_proto()),
        }))
    }

    async fn update_record(
        &self,
        request: Request<pb::UpdateRecordRequest>,
    ) -> Result<Response<pb::UpdateRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let key = asked.idempotency_key.as_str();
        let made = call("update", &asked.object, &asked.id, &asked.patch, key);
        let patch = made.body.clone();
        let plan = self.called(&ctx, made).await?;
        let identity = ctx.identity()?;
        let record = self.write(plan, key, identity, &ctx.request_id, |state| {
            let mut records = state.records.iter_mut();
            let found = records.find(|one| one.object == asked.object && one.id == asked.id);
            let record = found.ok_or_else(missing)?;
            let before = record.clone();
            merge(&mut record.value, &patch);
            record.version += 1;
            Ok((Some(before), Some(record.clone())))
        });
        let record = record.await?;
        Ok(Response::new(pb::UpdateRecordResponse {
            record: Some(record.to_proto()),
        }))
    }

    async fn delete_record(
        &self,
        request: Request<pb::DeleteRecordRequest>,
    ) -> Result<Response<pb::DeleteRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let key = asked.idempotency_key.as_str();
        let made = call("delete", &asked.object, &asked.id, b"", key);
        let plan = self.called(&ctx, made).await?;
        let identity = ctx.identity()?;
        let record = self.write(plan, key, identity, &ctx.request_id, |state| {
            let mut records = state.records.iter();
            let found = records.position(|one| one.object == asked.object && one.id == asked.id);
            let record = state.records.remove(found.ok_or_else(missing)?);
            Ok((Some(record), None))
        });
        let record = record.await?;
        Ok(Response::new(pb::DeleteRecordResponse {
            object: record.object,
            id: record.id,
            success: true,
        }))
    }
}
