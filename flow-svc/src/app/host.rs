//! Answers what a script asks: records, as whoever it runs for.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use mesh::{Ctx, Error, Result};
use script::{Call, Host, HostError};
use serde_json::{Value, json};

use crate::records::Records;

/// The records, as one caller sees them, for one script.
pub(crate) struct RecordHost<'h> {
    records: &'h Records,
    ctx: &'h Ctx,
    /// What the keys of its writes begin with; without it writes are not repeated safely.
    key: Option<&'h str>,
    calls: AtomicU32,
    /// What was refused, by the number of the call: the script sees only a part of it.
    refused: Mutex<HashMap<u32, Error>>,
}

impl<'h> RecordHost<'h> {
    pub(crate) fn new(records: &'h Records, ctx: &'h Ctx, key: Option<&'h str>) -> Self {
        Self {
            records,
            ctx,
            key,
            calls: AtomicU32::new(0),
            refused: Mutex::default(),
        }
    }

    /// Why that call was refused, whole.
    pub(crate) fn refusal(&self, call: u32) -> Option<Error> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.remove(&call)
    }

    async fn answer(&self, number: u32, call: Call) -> Result<Value> {
        let (records, ctx) = (self.records, self.ctx);
        let key = self.key.map(|key| format!("{key}:{number}"));
        let key = key.unwrap_or_default();
        match call {
            Call::Find { object, query } => {
                let page = records.find(ctx, &object, &query).await?;
                Ok(Value::Array(page.items))
            }
            Call::FindOne {
                object,
                id: Some(id),
                ..
            } => records.find_by_id(ctx, &object, &id).await,
            Call::FindOne { object, query, .. } => {
                let mut query = match query {
                    Value::Object(query) => query,
                    _ => serde_json::Map::new(),
                };
                query.insert("limit".to_owned(), json!(1));
                let page = records.find(ctx, &object, &Value::Object(query)).await?;
                Ok(page.items.into_iter().next().unwrap_or_default())
            }
            Call::Count { object, filter } => {
                let query = json!({"where": filter, "limit": 1});
                let page = records.find(ctx, &object, &query).await?;
                Ok(json!(page.total))
            }
            Call::Aggregate { object, query } => {
                let page = records.find(ctx, &object, &query).await?;
                Ok(Value::Array(page.items))
            }
            Call::Insert { object, data } => records.create(ctx, &object, &data, &key).await,
            Call::Update { object, id, data } => {
                records.update(ctx, &object, &id, &data, &key).await
            }
            Call::Upsert { object, data } => {
                let id = data.get("id").and_then(Value::as_str);
                let is_there = match id {
                    Some(id) => !records.find_by_id(ctx, &object, id).await?.is_null(),
                    None => false,
                };
                match id {
                    Some(id) if is_there => records.update(ctx, &object, id, &data, &key).await,
                    _ => records.create(ctx, &object, &data, &key).await,
                }
            }
            Call::Delete { object, id } => {
                records.delete(ctx, &object, &id, &key).await?;
                Ok(json!(true))
            }
        }
    }
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
