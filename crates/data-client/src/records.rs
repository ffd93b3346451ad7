//! Records, read and written through data-svc's `RecordService` as whoever the context says.

use mesh::{Ctx, Error, Link, Result, error::Reason, link::never_reached, node::MESSAGE_MAX};
use proto::data::v1::{
    self as pb, CreateRecordRequest, DeleteRecordRequest, GetRecordRequest, QueryRecordsRequest,
    UpdateRecordRequest, record_service_client::RecordServiceClient,
};
use serde_json::Value;

/// The records of data-svc. Cheap to clone.
#[derive(Clone)]
pub struct Records {
    data: Link,
}

/// A record as the caller may read it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Its id; empty for a row of an aggregate.
    pub id: String,
    /// 1 when created and one more with each write; 0 when its object keeps no versions.
    pub version: i64,
    /// The fields that the caller may read, a JSON object; `id` is among them.
    pub value: Value,
}

/// What a query found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The records, in order.
    pub items: Vec<Record>,
    /// How many fit in all, pages aside; none when the query says `count: false`.
    pub total: Option<i64>,
}

/// How a write is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions<'a> {
    /// Up to 255 characters; a write repeated under the same key within 24 hours is made once. Empty:
    /// each call writes.
    pub idempotency_key: &'a str,
    /// The version that the record must have; any where there is none.
    pub version: Option<i64>,
}

impl<'a> WriteOptions<'a> {
    /// Once for that key, whatever version the record has.
    #[must_use]
    pub fn once(idempotency_key: &'a str) -> Self {
        Self {
            idempotency_key,
            version: None,
        }
    }

    /// An object that keeps no versions says 0, which no record can be asked to have.
    fn if_match(&self) -> String {
        let version = self.version.filter(|version| *version > 0);
        version.map_or_else(String::new, |version| version.to_string())
    }
}

impl Page {
    /// The fields of the records.
    #[must_use]
    pub fn into_values(self) -> Vec<Value> {
        self.items.into_iter().map(|record| record.value).collect()
    }
}

impl Records {
    /// The records behind a link to data-svc.
    #[must_use]
    pub fn new(data: Link) -> Self {
        Self { data }
    }

    fn client(&self) -> RecordServiceClient<Link> {
        RecordServiceClient::new(self.data.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    /// A record with every field that the caller may read.
    ///
    /// # Errors
    /// Those of data-svc: NOT_FOUND also for what the caller may not read.
    pub async fn get(&self, ctx: &Ctx, object: &str, id: &str) -> Result<Record> {
        self.get_selected(ctx, object, id, &[]).await
    }

    /// A record with those fields and `id`; with every field where none is named.
    ///
    /// # Errors
    /// As [`Records::get`]; VALIDATION_ERROR for a field that is not there.
    pub async fn get_selected(
        &self,
        ctx: &Ctx,
        object: &str,
        id: &str,
        fields: &[&str],
    ) -> Result<Record> {
        let message = GetRecordRequest {
            object: object.to_owned(),
            id: id.to_owned(),
            select: fields.join(","),
            expand: String::new(),
        };
        let answer = self.client().get_record(ctx.request(message)).await;
        read(answer.map_err(refused)?.into_inner().record)
    }

    /// A record; none where it is not there or the caller may not read it.
    ///
    /// # Errors
    /// Those of data-svc but NOT_FOUND.
    pub async fn find_by_id(&self, ctx: &Ctx, object: &str, id: &str) -> Result<Option<Record>> {
        match self.get(ctx, object, id).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.reason() == Reason::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What an ObjectQL query finds (docs/reference/objectql.md).
    ///
    /// # Errors
    /// Those of data-svc.
    pub async fn query(&self, ctx: &Ctx, object: &str, query: &Value) -> Result<Page> {
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

    /// Creates a record.
    ///
    /// # Errors
    /// Those of data-svc.
    pub async fn create(
        &self,
        ctx: &Ctx,
        object: &str,
        fields: &Value,
        idempotency_key: &str,
    ) -> Result<Record> {
        let message = CreateRecordRequest {
            object: object.to_owned(),
            record: fields.to_string().into(),
            idempotency_key: idempotency_key.to_owned(),
        };
        let answer = self.client().create_record(ctx.request(message)).await;
        read(answer.map_err(write_failed)?.into_inner().record)
    }

    /// Changes the named fields of a record; null clears one.
    ///
    /// # Errors
    /// Those of data-svc: CONCURRENT_UPDATE when it has another version than was asked for.
    pub async fn update(
        &self,
        ctx: &Ctx,
        object: &str,
        id: &str,
        patch: &Value,
        options: WriteOptions<'_>,
    ) -> Result<Record> {
        let message = UpdateRecordRequest {
            object: object.to_owned(),
            id: id.to_owned(),
            patch: patch.to_string().into(),
            if_match: options.if_match(),
            idempotency_key: options.idempotency_key.to_owned(),
        };
        let answer = self.client().update_record(ctx.request(message)).await;
        read(answer.map_err(write_failed)?.into_inner().record)
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// As [`Records::update`].
    pub async fn delete(
        &self,
        ctx: &Ctx,
        object: &str,
        id: &str,
        options: WriteOptions<'_>,
    ) -> Result<()> {
        let message = DeleteRecordRequest {
            object: object.to_owned(),
            id: id.to_owned(),
            expected_version: options.if_match(),
            if_match: String::new(),
            idempotency_key: options.idempotency_key.to_owned(),
        };
        let answer = self.client().delete_record(ctx.request(message)).await;
        answer.map(drop).map_err(write_failed)
    }
}

fn refused(status: tonic::Status) -> Error {
    Error::from_status(&status)
}

/// A write of which nobody knows whether it was made does not look like one that was not.
fn write_failed(status: tonic::Status) -> Error {
    let error = Error::from_status(&status);
    let broke_off = error.reason() == Reason::ServiceUnavailable && !Error::is_ours(&status);
    if broke_off && !never_reached(&status) {
        return Error::outcome_unknown("data-svc").with_cause(error);
    }
    error
}

fn read(record: Option<pb::Record>) -> Result<Record> {
    let record = record.unwrap_or_default();
    let value = match &record.body {
        Some(pb::record::Body::Json(json)) => {
            serde_json::from_slice(json).map_err(Error::internal)?
        }
        Some(pb::record::Body::Fields(_)) | None => {
            return Err(Error::internal(anyhow::anyhow!(
                "data-svc answered no JSON"
            )));
        }
    };
    Ok(Record {
        id: record.id,
        version: record.version,
        value,
    })
}
