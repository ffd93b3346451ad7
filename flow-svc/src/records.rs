//! The way to records: data-svc's `RecordService`, called as whoever the context says. What they may
//! see and do is decided there and nowhere else.

use mesh::{Ctx, Error, Link, Result, error::Reason, node::MESSAGE_MAX};
use proto::data::v1::{
    CreateRecordRequest, DeleteRecordRequest, GetRecordRequest, QueryRecordsRequest, Record,
    UpdateRecordRequest, record::Body, record_service_client::RecordServiceClient,
};
use serde_json::Value;

/// The records of data-svc. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Records {
    data: Link,
}

/// What a query found.
pub(crate) struct Page {
    /// The records, in order.
    pub(crate) items: Vec<Value>,
    /// How many there are in all.
    pub(crate) total: Option<i64>,
}

impl Records {
    pub(crate) fn new(data: Link) -> Self {
        Self { data }
    }

    fn client(&self) -> RecordServiceClient<Link> {
        RecordServiceClient::new(self.data.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    /// A record.
    ///
    /// # Errors
    /// Those of data-svc: NOT_FOUND also for what the caller may not read.
    pub(crate) async fn get(&self, ctx: &Ctx, object: &str, id: &str) -> Result<Value> {
        let message = GetRecordRequest {
            object: object.to_owned(),
            id: id.to_owned(),
            ..GetRecordRequest::default()
        };
        let answer = self.client().get_record(ctx.request(message)).await;
        read(answer.map_err(refused)?.into_inner().record)
    }

    /// The same, null where it is not there or not readable.
    ///
    /// # Errors
    /// Those of data-svc but NOT_FOUND.
    pub(crate) async fn find_by_id(&self, ctx: &Ctx, object: &str, id: &str) -> Result<Value> {
        match self.get(ctx, object, id).await {
            Err(error) if error.reason() == Reason::NotFound => Ok(Value::Null),
            found => found,
        }
    }

    /// Records by an ObjectQL query (spec/objectql.md).
    ///
    /// # Errors
    /// Those of data-svc.
    pub(crate) async fn find(&self, ctx: &Ctx, object: &str, query: &Value) -> Result<Page> {
        let message = QueryRecordsRequest {
            object: object.to_owned(),
            query: query.to_string().into(),
        };
        let answer = self.client().query_records(ctx.request(message)).await;
        let answer = answer.map_err(refused)?.into_inner();
        let items = answer.items.into_iter().map(|record| read(Some(record)));
        Ok(Page {
            items: items.collect::<Result<_>>()?,
            total: answer.total,
        })
    }

    /// Creates a record; once for each key that is not empty, for 24 hours.
    ///
    /// # Errors
    /// Those of data-svc.
    pub(crate) async fn create(
        &self,
        ctx: &Ctx,
        object: &str,
        fields: &Value,
        key: &str,
    ) -> Result<Value> {
        let message = CreateRecordRequest {
            object: object.to_owned(),
            record: fields.to_string().into(),
            idempotency_key: key.to_owned(),
        };
        let answer = self.client().create_record(ctx.request(message)).await;
        read(answer.map_err(refused)?.into_inner().record)
    }

    /// Changes a record; once for each key that is not empty, for 24 hours.
    ///
    /// # Errors
    /// Those of data-svc.
    pub(crate) async fn update(
        &self,
        ctx: &Ctx,
        object: &str,
        id: &str,
        patch: &Value,
        key: &str,
    ) -> Result<Value> {
        let message = UpdateRecordRequest {
            object: object.to_owned(),
            id: id.to_owned(),
            patch: patch.to_string().into(),
            idempotency_key: key.to_owned(),
            ..UpdateRecordRequest::default()
        };
        let answer = self.client().update_record(ctx.request(message)).await;
        read(answer.map_err(refused)?.into_inner().record)
    }

    /// Deletes a record; once for each key that is not empty, for 24 hours.
    ///
    /// # Errors
    /// Those of data-svc.
    pub(crate) async fn delete(&self, ctx: &Ctx, object: &str, id: &str, key: &str) -> Result<()> {
        let message = DeleteRecordRequest {
            object: object.to_owned(),
            id: id.to_owned(),
            idempotency_key: key.to_owned(),
            ..DeleteRecordRequest::default()
        };
        let answer = self.client().delete_record(ctx.request(message)).await;
        answer.map_err(refused)?;
        Ok(())
    }
}

fn refused(status: tonic::Status) -> Error {
    Error::from_status(&status)
}

fn read(record: Option<Record>) -> Result<Value> {
    match record.and_then(|record| record.body) {
        Some(Body::Json(json)) => serde_json::from_slice(&json).map_err(Error::internal),
        Some(Body::Fields(_)) | None => Err(Error::internal(anyhow::anyhow!(
            "data-svc answered no JSON"
        ))),
    }
}
