//! The services behind the tools, called as whoever the context says: what they may see and do is
//! decided there and nowhere else.

use bytes::Bytes;
use mesh::{Ctx, Error, Link, Result, node::MESSAGE_MAX};
use proto::{
    data::v1::{
        CreateRecordRequest, DeleteRecordRequest, GetMetadataItemRequest, GetRecordRequest,
        ListMetadataItemsRequest, QueryRecordsRequest, Record, UpdateRecordRequest,
        metadata_service_client::MetadataServiceClient, record::Body,
        record_service_client::RecordServiceClient,
    },
    flow::v1::{
        InvokeActionRequest, StartFlowRequest, action_service_client::ActionServiceClient,
        flow_service_client::FlowServiceClient,
    },
};
use serde_json::{Value, json};

/// data-svc and flow-svc. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Services {
    data: Link,
    flow: Link,
}

/// A record and its version, 0 where the object keeps none.
pub(crate) type Versioned = (Value, i64);

impl Services {
    pub(crate) fn new(data: Link, flow: Link) -> Self {
        Self { data, flow }
    }

    fn records(&self) -> RecordServiceClient<Link> {
        RecordServiceClient::new(self.data.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    fn metadata(&self) -> MetadataServiceClient<Link> {
        MetadataServiceClient::new(self.data.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    /// A record; only those fields, unless that is empty.
    ///
    /// # Errors
    /// Those of data-svc: NOT_FOUND also for what the caller may not read.
    pub(crate) async fn get(
        &self,
        ctx: &Ctx,
        object: &str,
        id: &str,
        fields: &str,
    ) -> Result<Versioned> {
        let message = GetRecordRequest {
            object: object.to_owned(),
            id: id.to_owned(),
            select: fields.to_owned(),
            expand: String::new(),
        };
        let answer = self.records().get_record(ctx.request(message)).await;
        read(answer.map_err(refused)?.into_inner().record)
    }

    /// What an ObjectQL query (spec/objectql.md) finds: `{items, total}`.
    ///
    /// # Errors
    /// Those of data-svc.
    pub(crate) async fn query(&self, ctx: &Ctx, object: &str, query: &Value) -> Result<Value> {
        let message = QueryRecordsRequest {
            object: object.to_owned(),
            query: query.to_string().into(),
        };
        let answer = self.records().query_records(ctx.request(message)).await;
        let answer = answer.map_err(refused)?.into_inner();
        let items = answer.items.into_iter().map(|record| read(Some(record)));
        let items = items.map(|record| record.map(|(record, _)| record));
        let items: Vec<Value> = items.collect::<Result<_>>()?;
        Ok(json!({"items": items, "total": answer.total}))
    }

    /// Creates a record, once for that key.
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
        let answer = self.records().create_record(ctx.request(message)).await;
        Ok(read(answer.map_err(refused)?.into_inner().record)?.0)
    }

    /// Changes a record that has that version (empty: any), once for that key.
    ///
    /// # Errors
    /// Those of data-svc.
    pub(crate) async fn update(
        &self,
        ctx: &Ctx,
        (object, id): (&str, &str),
        patch: &Value,
        version: &str,
        key: &str,
    ) -> Result<Value> {
        let message = UpdateRecordRequest {
            object: object.to_owned(),
            id: id.to_owned(),
            patch: patch.to_string().into(),
            if_match: version.to_owned(),
            idempotency_key: key.to_owned(),
        };
        let answer = self.records().update_record(ctx.request(message)).await;
        Ok(read(answer.map_err(refused)?.into_inner().record)?.0)
    }

    /// Deletes a record that has that version (empty: any), once for that key.
    ///
    /// # Errors
    /// Those of data-svc.
    pub(crate) async fn delete(
        &self,
        ctx: &Ctx,
        (object, id): (&str, &str),
        version: &str,
        key: &str,
    ) -> Result<Value> {
        let message = DeleteRecordRequest {
            object: object.to_owned(),
            id: id.to_owned(),
            expected_version: version.to_owned(),
            if_match: String::new(),
            idempotency_key: key.to_owned(),
        };
        let answer = self.records().delete_record(ctx.request(message)).await;
        let answer = answer.map_err(refused)?.into_inner();
        Ok(json!({"object": answer.object, "id": answer.id, "success": answer.success}))
    }

    /// The items of a type that the caller may see.
    ///
    /// # Errors
    /// Those of data-svc.
    pub(crate) async fn items(&self, ctx: &Ctx, item_type: &str) -> Result<Vec<Value>> {
        let message = ListMetadataItemsRequest {
            r#type: item_type.to_owned(),
            ..ListMetadataItemsRequest::default()
        };
        let answer = self
            .metadata()
            .list_metadata_items(ctx.request(message))
            .await;
        let items = answer.map_err(refused)?.into_inner().items;
        items.iter().map(json_of).collect()
    }

    /// An item as the caller may see it: fields that may not be read are not there.
    ///
    /// # Errors
    /// Those of data-svc: NOT_FOUND also for what the caller may not read.
    pub(crate) async fn item(&self, ctx: &Ctx, item_type: &str, name: &str) -> Result<Value> {
        let message = GetMetadataItemRequest {
            r#type: item_type.to_owned(),
            name: name.to_owned(),
            ..GetMetadataItemRequest::default()
        };
        let answer = self
            .metadata()
            .get_metadata_item(ctx.request(message))
            .await;
        json_of(&answer.map_err(refused)?.into_inner().item)
    }

    /// Invokes an action, once for each key that is not empty.
    ///
    /// # Errors
    /// Those of flow-svc.
    pub(crate) async fn invoke(
        &self,
        ctx: &Ctx,
        (object, action, record_id): (&str, &str, &str),
        input: &Value,
        key: &str,
    ) -> Result<Value> {
        let message = InvokeActionRequest {
            action: action.to_owned(),
            object: object.to_owned(),
            record_id: record_id.to_owned(),
            input: input.to_string().into(),
            idempotency_key: key.to_owned(),
        };
        let mut client = ActionServiceClient::new(self.flow.clone());
        let answer = client.invoke_action(ctx.request(message)).await;
        json_of(&answer.map_err(refused)?.into_inner().result)
    }

    /// Starts a flow, once for each key that is not empty.
    ///
    /// # Errors
    /// Those of flow-svc.
    pub(crate) async fn start(
        &self,
        ctx: &Ctx,
        flow: &str,
        input: &Value,
        key: &str,
    ) -> Result<Value> {
        let message = StartFlowRequest {
            flow: flow.to_owned(),
            input: input.to_string().into(),
            idempotency_key: key.to_owned(),
            ..StartFlowRequest::default()
        };
        let mut client = FlowServiceClient::new(self.flow.clone());
        let answer = client.start_flow(ctx.request(message)).await;
        json_of(&answer.map_err(refused)?.into_inner().run)
    }
}

fn refused(status: tonic::Status) -> Error {
    Error::from_status(&status)
}

fn json_of(bytes: &Bytes) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(Error::internal)
}

fn read(record: Option<Record>) -> Result<Versioned> {
    let record = record.unwrap_or_default();
    match record.body {
        Some(Body::Json(json)) => Ok((json_of(&json)?, record.version)),
        Some(Body::Fields(_)) | None => Err(Error::internal(anyhow::anyhow!(
            "data-svc answered no JSON"
        ))),
    }
}
