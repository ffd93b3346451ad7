//! `RecordService`.

use mesh::{Ctx, Result};
use prost_types::{ListValue, Struct, Value, value::Kind};
use proto::data::v1::{
    CreateRecordRequest, CreateRecordResponse, DeleteRecordRequest, DeleteRecordResponse,
    GetRecordRequest, GetRecordResponse, ListRecordsRequest, ListRecordsResponse,
    QueryRecordsRequest, QueryRecordsResponse, Record as Wire, UpdateRecordRequest,
    UpdateRecordResponse, record::Body, record_service_server::RecordService,
};
use tonic::{Request, Response, Status};

use crate::kernel::{Kernel, Record, malformed_first, query, write};

/// Serves records.
pub struct Records {
    /// The pipeline to records.
    pub kernel: Kernel,
}

#[tonic::async_trait]
impl RecordService for Records {
    async fn list_records(
        &self,
        request: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let work = self.kernel.work(&ctx)?;
        // What is not there or not allowed is said before what is wrong with the question.
        query::check(&work, &request.object, false)?;
        let query = query::from_list_request(&request)?;
        let page = query::list(&self.kernel, &work, &request.object, query).await?;
        Ok(Response::new(ListRecordsResponse {
            items: page
                .items
                .into_iter()
                .map(|record| wire(&ctx, record))
                .collect(),
            total: page.total,
            next_cursor: page.next_cursor,
        }))
    }

    async fn query_records(
        &self,
        request: Request<QueryRecordsRequest>,
    ) -> Result<Response<QueryRecordsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let work = self.kernel.work(&ctx)?;
        let query = malformed_first(query::from_body(&request.object, &request.query))?;
        let object = &request.object;
        let is_aggregate = query.as_ref().is_ok_and(query::Query::is_aggregate);
        query::check(&work, object, is_aggregate)?;
        let page = query::answer(&self.kernel, &work, object, query?).await?;
        Ok(Response::new(QueryRecordsResponse {
            items: page
                .items
                .into_iter()
                .map(|record| wire(&ctx, record))
                .collect(),
            total: page.total,
            next_cursor: page.next_cursor,
        }))
    }

    async fn get_record(
        &self,
        request: Request<GetRecordRequest>,
    ) -> Result<Response<GetRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let work = self.kernel.work(&ctx)?;
        let GetRecordRequest {
            object,
            id,
            select,
            expand,
        } = &request;
        let record = query::get(&self.kernel, &work, object, id, select, expand).await?;
        Ok(Response::new(GetRecordResponse {
            record: Some(wire(&ctx, record)),
        }))
    }

    async fn create_record(
        &self,
        request: Request<CreateRecordRequest>,
    ) -> Result<Response<CreateRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let work = self.kernel.work(&ctx)?;
        let CreateRecordRequest {
            object,
            record,
            idempotency_key: key,
        } = &request;
        let record = write::create(&self.kernel, &work, object, record, key).await?;
        Ok(Response::new(CreateRecordResponse {
            record: Some(wire(&ctx, record)),
        }))
    }

    async fn update_record(
        &self,
        request: Request<UpdateRecordRequest>,
    ) -> Result<Response<UpdateRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let work = self.kernel.work(&ctx)?;
        let target = (request.object.as_str(), request.id.as_str());
        let (patch, key) = (&request.patch, &request.idempotency_key);
        let record =
            write::update(&self.kernel, &work, target, patch, &request.if_match, key).await?;
        Ok(Response::new(UpdateRecordResponse {
            record: Some(wire(&ctx, record)),
        }))
    }

    async fn delete_record(
        &self,
        request: Request<DeleteRecordRequest>,
    ) -> Result<Response<DeleteRecordResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let work = self.kernel.work(&ctx)?;
        let token = if request.expected_version.is_empty() {
            &request.if_match
        } else {
            &request.expected_version
        };
        let target = (request.object.as_str(), request.id.as_str());
        let key = &request.idempotency_key;
        let deleted = write::delete(&self.kernel, &work, target, token, key).await?;
        Ok(Response::new(DeleteRecordResponse {
            object: deleted.object,
            id: deleted.id,
            success: true,
        }))
    }
}

/// A record as the caller asked for it: JSON text, or a Struct that every language reads.
fn wire(ctx: &Ctx, record: Record) -> Wire {
    let body = if ctx.records_as_json {
        Body::Json(record.json.into())
    } else {
        Body::Fields(fields(&record.json))
    };
    Wire {
        id: record.id,
        version: record.version,
        body: Some(body),
    }
}

fn fields(json: &[u8]) -> Struct {
    match serde_json::from_slice(json) {
        Ok(serde_json::Value::Object(map)) => Struct {
            fields: map
                .into_iter()
                .map(|(key, value)| (key, to_value(value)))
                .collect(),
        },
        _ => Struct::default(),
    }
}

fn to_value(json: serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(list) => Kind::ListValue(ListValue {
            values: list.into_iter().map(to_value).collect(),
        }),
        serde_json::Value::Object(map) => Kind::StructValue(Struct {
            fields: map
                .into_iter()
                .map(|(key, value)| (key, to_value(value)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}
