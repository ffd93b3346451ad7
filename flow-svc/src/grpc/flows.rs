//! `FlowService`.

use std::{sync::Arc, time::Duration};

use mesh::{Ctx, Error, Result};
use proto::flow::v1::{
    CancelFlowRunRequest, CancelFlowRunResponse, GetFlowRunRequest, GetFlowRunResponse,
    ListFlowRunsRequest, ListFlowRunsResponse, StartFlowRequest, StartFlowResponse,
    flow_service_server::FlowService,
};
use serde_json::{Map, Value};
use tonic::{Request, Response, Status};

use crate::{app::App, flows};

/// How long the end of a run is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// Left of the caller's deadline for the answer.
const MARGIN: Duration = Duration::from_millis(500);

/// Serves flows.
pub(crate) struct Flows(pub(crate) Arc<App>);

#[tonic::async_trait]
impl FlowService for Flows {
    async fn start_flow(
        &self,
        request: Request<StartFlowRequest>,
    ) -> Result<Response<StartFlowResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let input = input(&request.input)?;
        let prefers = request.prefer.split(',').map(str::trim);
        let prefers = prefers
            .into_iter()
            .any(|one| one.eq_ignore_ascii_case("respond-async"));
        let wait = match request.r#async.unwrap_or(prefers) {
            true => Duration::ZERO,
            false => WAIT.min(ctx.remaining().saturating_sub(MARGIN)),
        };
        let how = flows::How {
            trigger: "api",
            object: None,
            record_id: None,
            key: &request.idempotency_key,
            wait,
        };
        let run = flows::start(&self.0, &ctx, &request.flow, input, how).await?;
        let shown = flows::shown_to(&self.0, ctx.identity()?, &run).await?;
        Ok(Response::new(StartFlowResponse {
            run: shown.to_string().into(),
            http_status: if run.status.is_open() { 202 } else { 0 },
        }))
    }

    async fn get_flow_run(
        &self,
        request: Request<GetFlowRunRequest>,
    ) -> Result<Response<GetFlowRunResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let run = flows::get(&self.0, &ctx, &request.flow, &request.run_id).await?;
        Ok(Response::new(GetFlowRunResponse {
            run: run.to_string().into(),
        }))
    }

    async fn list_flow_runs(
        &self,
        request: Request<ListFlowRunsRequest>,
    ) -> Result<Response<ListFlowRunsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let (limit, cursor) = (request.limit, request.cursor.as_str());
        let page = flows::list(&self.0, &ctx, &request.flow, limit, cursor).await?;
        let items = page.items.iter().map(|run| run.to_string().into());
        Ok(Response::new(ListFlowRunsResponse {
            items: items.collect(),
            total: page.total,
            next_cursor: page.next_cursor,
        }))
    }

    async fn cancel_flow_run(
        &self,
        request: Request<CancelFlowRunRequest>,
    ) -> Result<Response<CancelFlowRunResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let run = flows::cancel(&self.0, &ctx, &request.flow, &request.run_id).await?;
        Ok(Response::new(CancelFlowRunResponse {
            run: run.to_string().into(),
        }))
    }
}

/// The input of a start: flat, or under one of the names that older clients use.
fn input(json: &[u8]) -> Result<Map<String, Value>> {
    if json.is_empty() {
        return Ok(Map::new());
    }
    let wrong = || {
        Error::validation("INVALID_REQUEST", "The input of a flow is a JSON object")
            .with("parameter", "body")
    };
    let given = serde_json::from_slice(json).map_err(|_| wrong())?;
    let mut given = match given {
        Value::Object(given) => given,
        Value::Null => Map::new(),
        _ => return Err(wrong()),
    };
    if given.len() == 1 {
        for name in ["input", "params", "inputs"] {
            match given.get_mut(name).map(Value::take) {
                Some(Value::Object(inner)) => return Ok(inner),
                Some(other) => {
                    given.insert(name.to_owned(), other);
                }
                None => {}
            }
        }
    }
    Ok(given)
}
