//! Answers what the script of a hook asks: records, as its writer.
//!
//! Invariant: what it writes is made ready here and applied in the transaction of the record that the
//! hook runs for.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{Error, Result, error::Reason};
use metadata::ApiMethod;
use script::{Call, Host, HostError};
use serde_json::{Value, json};

use super::{
    answer::answer, apply::DeferredWrite, body::Body, create, delete::prepare_deletion,
    hooks::Invocation, update::prepare_change,
};
use crate::kernel::{
    Kernel, Work,
    model::rights::Operation,
    query::{self, Page},
};

/// How deep hooks may write what has hooks itself.
const DEPTH_MAX: u8 = 10;

/// Answers a hook's calls, as its writer. What it writes is kept for the transaction.
pub(super) struct HookHost<'h> {
    kernel: &'h Kernel,
    /// The writer, one level deeper, with the records that the transaction will have made.
    work: Mutex<Work>,
    deferred_writes: Mutex<Vec<DeferredWrite>>,
    refused: Mutex<HashMap<u32, Error>>,
    calls: Mutex<u32>,
}

impl<'h> HookHost<'h> {
    pub(super) fn new(
        kernel: &'h Kernel,
        work: &Work,
        invocation: &Invocation<'_>,
    ) -> Result<Self> {
        if work.depth >= DEPTH_MAX {
            return Err(Error::validation(
                "HOOK_DEPTH",
                format!("Hooks write what has hooks more than {DEPTH_MAX} levels deep"),
            ));
        }
        let work = work.nested(invocation.schema.name(), invocation.id);
        Ok(Self {
            kernel,
            work: Mutex::new(work),
            deferred_writes: Mutex::default(),
            refused: Mutex::default(),
            calls: Mutex::default(),
        })
    }

    pub(super) fn into_effects(self) -> Vec<DeferredWrite> {
        self.deferred_writes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The error behind a call that was refused.
    pub(super) fn refused(&self, call: u32) -> Option<Error> {
        lock(&self.refused).remove(&call)
    }

    /// A future of a named type: writes lead to hooks, and hooks to writes.
    fn answer(&self, call: Call) -> BoxFuture<'_, Result<Value>> {
        let work = lock(&self.work).clone();
        async move {
            match call {
                Call::Find { object, query } => self.find(&work, &object, &query).await,
                Call::FindOne {
                    object,
                    id: Some(id),
                    ..
                } => match query::get(self.kernel, &work, &object, &id, "", "").await {
                    Ok(record) => parse(&record.json),
                    Err(error) if error.reason() == Reason::NotFound => Ok(Value::Null),
                    Err(error) => Err(error),
                },
                Call::FindOne { object, query, .. } => {
                    let mut query = query;
                    query["limit"] = json!(1);
                    let mut found = self.find(&work, &object, &query).await?;
                    Ok(found.get_mut(0).map_or(Value::Null, Value::take))
                }
                Call::Count { object, filter } => {
                    let query = json!({"where": filter, "limit": 0});
                    let page = self.page(&work, &object, &query).await?;
                    Ok(json!(page.total))
                }
                Call::Aggregate { object, query } => self.find(&work, &object, &query).await,
                Call::Insert { object, data } => self.insert(&work, &object, &data).await,
                Call::Update { object, id, data } => self.update(&work, &object, &id, &data).await,
                Call::Upsert { object, data } => {
                    let id = data.get("id").and_then(Value::as_str).map(str::to_owned);
                    let found = match &id {
                        None => None,
                        Some(id) => {
                            match query::get(self.kernel, &work, &object, id, "id", "").await {
                                Ok(_) => Some(id),
                                Err(error) if error.reason() == Reason::NotFound => None,
                                // What cannot be told to be absent is not inserted.
                                Err(error) => return Err(error),
                            }
                        }
                    };
                    match found {
                        Some(id) => self.update(&work, &object, id, &data).await,
                        None => self.insert(&work, &object, &data).await,
                    }
                }
                Call::Delete { object, id } => {
                    let deferred_write = prepare_deletion(self.kernel, &work, &object, &id).await?;
                    lock(&self.deferred_writes).push(deferred_write);
                    Ok(json!(true))
                }
            }
        }
        .boxed()
    }

    async fn page(&self, work: &Work, object: &str, query: &Value) -> Result<Page> {
        let query = query::from_body(object, query.to_string().as_bytes())?;
        query::answer(self.kernel, work, object, query).await
    }

    async fn find(&self, work: &Work, object: &str, query: &Value) -> Result<Value> {
        let page = self.page(work, object, query).await?;
        page.items.iter().map(|item| parse(&item.json)).collect()
    }

    async fn insert(&self, work: &Work, object: &str, data: &Value) -> Result<Value> {
        let grant = work.open(object, ApiMethod::Create, Operation::Create)?;
        let body = Body::parse(data.to_string().as_bytes())?;
        let row = create::prepare(self.kernel, work, &grant, body).await?;
        let shown = answer(self.kernel, work, &row.schema, &row.cells).await?;
        lock(&self.work)
            .making
            .push((object.to_owned(), row.id.clone()));
        lock(&self.deferred_writes).push(DeferredWrite::Create(Box::new(row)));
        parse(&shown.json)
    }

    async fn update(&self, work: &Work, object: &str, id: &str, data: &Value) -> Result<Value> {
        let (job, deferred_writes) = prepare_change(self.kernel, work, object, id, data).await?;
        let shown = answer(self.kernel, work, &job.schema, &job.after).await?;
        lock(&self.deferred_writes).push(DeferredWrite::Update(Box::new(job), deferred_writes));
        parse(&shown.json)
    }
}

impl Host for HookHost<'_> {
    async fn call(&self, call: Call) -> Result<Value, HostError> {
        let number = {
            let mut calls = lock(&self.calls);
            *calls += 1;
            *calls - 1
        };
        match self.answer(call).await {
            Ok(value) => Ok(value),
            Err(error) => {
                let mut told = HostError::new(error.reason().rest_code(), error.message());
                let fields = error.field_violations();
                told.fields = (!fields.is_empty()).then(|| json!(fields));
                lock(&self.refused).insert(number, error);
                Err(told)
            }
        }
    }
}

fn parse(json: &[u8]) -> Result<Value> {
    serde_json::from_slice(json).map_err(Error::internal)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh::{
        db::{Db, DbConfig},
        identity::{Identity, Kind},
    };

    use super::*;
    use crate::{
        Rooms,
        kernel::{
            access::{Principal, SystemReason},
            model::hooks::HookEvent,
        },
    };

    /// A log that some may only add to.
    fn app() -> Value {
        json!({
            "manifest": {"id": "com.example.hooks", "version": "1.0.0", "name": "Hooks"},
            "objects": [{"name": "log", "sharingModel": "public_read_write", "fields": {
                "text": {"type": "text"},
            }}],
            "permissions": [
                {"name": "blind", "objects": {"log": {"allowCreate": true, "allowEdit": true}}},
                {"name": "seeing", "objects": {"log": {"allowCreate": true, "allowEdit": true,
                    "allowRead": true}}},
            ],
        })
    }

    #[tokio::test]
    async fn an_upsert_inserts_only_what_is_known_to_be_absent() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("data.db").display());
        let db = Db::open(&DbConfig::new(url)).await.expect("a database");
        let rooms = Rooms::open(db, script::LazyPool::new("", 1))
            .await
            .expect("rooms");
        let package = metadata::load_value(app(), None).package;
        rooms.catalog.install(&[package]).await.expect("installs");
        let kernel = &rooms.kernel;
        let upserted = async |set: &str, id: &str| {
            let identity = Identity {
                subject: "ann".to_owned(),
                permission_sets: vec![set.to_owned()],
                ..Identity::nobody(Kind::User)
            };
            let principal = Principal::User(Arc::new(identity));
            let work = Work::outside(rooms.catalog.current(), principal);
            let schema = work.registry.schema("log").expect("the object").clone();
            let invocation = Invocation {
                schema: &schema,
                event: HookEvent::BeforeInsert,
                id: "0",
                before: None,
                after: None,
            };
            let host = HookHost::new(kernel, &work, &invocation).expect("a host");
            let call = Call::Upsert {
                object: "log".to_owned(),
                data: json!({"id": id, "text": "changed"}),
            };
            let told = host.call(call).await;
            let deferred_writes = host.into_effects();
            let kinds: Vec<&str> = deferred_writes
                .iter()
                .map(|deferred_write| match deferred_write {
                    DeferredWrite::Create(_) => "create",
                    DeferredWrite::Update(..) => "update",
                    DeferredWrite::Delete(..) => "delete",
                })
                .collect();
            (told.map_err(|error| error.code), kinds.join(","))
        };
        let system = kernel.system_work(SystemReason::Seed);
        let id = mesh::id::new();
        let body = json!({"id": id, "text": "there"}).to_string();
        super::super::create(kernel, &system, "log", body.as_bytes(), "")
            .await
            .expect("created");
        let (told, wrote) = upserted("seeing", &id).await;
        assert!(told.is_ok(), "{told:?}");
        assert_eq!(wrote, "update");
        let (told, wrote) = upserted("seeing", &mesh::id::new()).await;
        assert!(told.is_ok(), "{told:?}");
        assert_eq!(wrote, "create");
        // Who may not read cannot tell, and so does not write.
        let (told, wrote) = upserted("blind", &id).await;
        assert_eq!(told.expect_err("refused"), "PERMISSION_DENIED");
        assert_eq!(wrote, "");
    }
}
