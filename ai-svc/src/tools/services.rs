//! The services behind the tools, called as whoever the context says: what they may see and do is
//! decided there and nowhere else.

use bytes::Bytes;
use data_client::{metadata::Metadata, records::Records};
use mesh::{Ctx, Error, Link, Result};
use proto::flow::v1::{
    InvokeActionRequest, StartFlowRequest, action_service_client::ActionServiceClient,
    flow_service_client::FlowServiceClient,
};
use serde_json::Value;

/// data-svc and flow-svc. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Services {
    /// Records.
    pub(crate) records: Records,
    /// Metadata as the caller may see it.
    pub(crate) metadata: Metadata,
    flow: Link,
}

impl Services {
    pub(crate) fn new(data: Link, flow: Link) -> Self {
        Self {
            records: Records::new(data.clone()),
            metadata: Metadata::new(data),
            flow,
        }
    }

    /// Invokes an action, of an object or global, of a record or none; once for that key.
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
