//! Answers what a script asks of the platform: records, as whoever it runs for.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use mesh::{Ctx, Error, Result};
use script::{Call, Host, HostError};
use serde_json::{Map, Value, json};

use crate::records::{Record, Records, WriteOptions};

/// The records, as one caller sees them, for one script.
pub struct RecordHost<'h> {
    records: &'h Records,
    ctx: &'h Ctx,
    /// What the keys of its writes begin with; without it writes are not repeated safely.
    key: Option<&'h str>,
    calls: AtomicU32,
    /// What was refused, by the number of the call: the script sees only a part of it.
    refused: Mutex<HashMap<u32, Error>>,
}

impl<'h> RecordHost<'h> {
    /// A host for a script that runs for the caller of `ctx`. With a key each of its writes is made
    /// once under `<key>:<number of the call>`, however often the script is run.
    #[must_use]
    pub fn new(records: &'h Records, ctx: &'h Ctx, key: Option<&'h str>) -> Self {
        Self {
            records,
            ctx,
            key,
            calls: AtomicU32::new(0),
            refused: Mutex::default(),
        }
    }

    /// Why that call was refused, whole.
    pub fn refusal(&self, call: u32) -> Option<Error> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.remove(&call)
    }

    async fn answer(&self, number: u32, call: Call) -> Result<Value> {
        let (records, ctx) = (self.records, self.ctx);
        let key = self.key.map(|key| format!("{key}:{number}"));
        let key = key.unwrap_or_default();
        let once = WriteOptions::once(&key);
        match call {
            Call::Find { object, query } | Call::Aggregate { object, query } => {
                let page = records.query(ctx, &object, &query).await?;
                Ok(Value::Array(page.into_values()))
            }
            Call::FindOne {
                object,
                id: Some(id),
                query: _,
            } => Ok(value(records.find_by_id(ctx, &object, &id).await?)),
            Call::FindOne {
                object,
                id: None,
                query,
            } => {
                let mut query = match query {
                    Value::Object(query) => query,
                    _ => Map::new(),
                };
                query.insert("limit".to_owned(), json!(1));
                let page = records.query(ctx, &object, &Value::Object(query)).await?;
                Ok(value(page.items.into_iter().next()))
            }
            Call::Count { object, filter } => {
                let query = json!({"where": filter, "limit": 1});
                let page = records.query(ctx, &object, &query).await?;
                Ok(json!(page.total))
            }
            Call::Insert { object, data } => {
                let made = records.create(ctx, &object, &data, &key).await?;
                Ok(made.value)
            }
            Call::Update { object, id, data } => {
                let changed = records.update(ctx, &object, &id, &data, once).await?;
                Ok(changed.value)
            }
            Call::Upsert { object, data } => {
                // Absent is what data-svc says is NOT_FOUND; any other refusal ends the call.
                let id = data.get("id").and_then(Value::as_str);
                let known = match id {
                    Some(id) => records.find_by_id(ctx, &object, id).await?,
                    None => None,
                };
                let written = match (id, known) {
                    (Some(id), Some(_)) => records.update(ctx, &object, id, &data, once).await?,
                    (_, None) | (None, Some(_)) => {
                        records.create(ctx, &object, &data, &key).await?
                    }
                };
                Ok(written.value)
            }
            Call::Delete { object, id } => {
                records.delete(ctx, &object, &id, once).await?;
                Ok(json!(true))
            }
        }
    }
}

fn value(record: Option<Record>) -> Value {
    record.map_or(Value::Null, |record| record.value)
}

impl Host for RecordHost<'_> {
    async fn call(&self, call: Call) -> Result<Value, HostError> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        self.answer(number, call).await.map_err(|error| {
            let mut told = HostError::new(error.reason().rest_code(), error.message());
            let fields = error.field_violations();
            told.fields = (!fields.is_empty()).then(|| json!(fields));
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.insert(number, error);
            told
        })
    }
}
