//! flow-svc as far as ai-svc knows it: every action and every flow gives what the test says.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use mesh::{
    Error, Link,
    error::Reason,
    guard::Guard,
    resolver::{Resolver, Tier},
};
use proto::flow::v1::{
    CancelFlowRunRequest, CancelFlowRunResponse, GetFlowRunRequest, GetFlowRunResponse,
    InvokeActionRequest, InvokeActionResponse, ListFlowRunsRequest, ListFlowRunsResponse,
    StartFlowRequest, StartFlowResponse,
    action_service_server::{ActionService, ActionServiceServer},
    flow_service_server::{FlowService, FlowServiceServer},
};
use serde_json::Value;
use tonic::{Request, Response, Status, service::Routes};
use tower::Layer as _;

/// The fake. Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct FakeFlow(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// What actions give.
    pub result: Value,
    /// Why actions are refused from now on, where they are.
    pub refused: Option<Reason>,
    /// The run that flows give.
    pub run: Value,
    /// The starts of flows so far.
    pub started: Vec<StartFlowRequest>,
    /// The calls so far, and how much time each was given.
    pub invoked: Vec<(InvokeActionRequest, Duration)>,
}

impl FakeFlow {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Binds it behind its guard, which verifies callers at auth-svc.
    pub(crate) fn bind(&self, link: &Link, auth: &Link) {
        let resolver = Resolver::new(Tier::Service, auth.clone(), None);
        let guard = Guard::new("flow-svc", resolver, false).unwrap();
        let routes = Routes::default()
            .add_service(ActionServiceServer::new(self.clone()))
            .add_service(FlowServiceServer::new(self.clone()));
        link.bind(guard.layer(routes.prepare()));
    }
}

#[tonic::async_trait]
impl ActionService for FakeFlow {
    async fn invoke_action(
        &self,
        request: Request<InvokeActionRequest>,
    ) -> Result<Response<InvokeActionResponse>, Status> {
        let limit = request.metadata().get("grpc-timeout").unwrap().to_str();
        let mut state = self.state();
        state
            .invoked
            .push((request.get_ref().clone(), span(limit.unwrap())));
        if let Some(reason) = state.refused {
            return Err(Error::new(reason, "It is refused").into());
        }
        Ok(Response::new(InvokeActionResponse {
            result: state.result.to_string().into(),
        }))
    }
}

#[tonic::async_trait]
impl FlowService for FakeFlow {
    async fn start_flow(
        &self,
        request: Request<StartFlowRequest>,
    ) -> Result<Response<StartFlowResponse>, Status> {
        let mut state = self.state();
        state.started.push(request.into_inner());
        Ok(Response::new(StartFlowResponse {
            run: state.run.to_string().into(),
            http_status: 0,
        }))
    }

    async fn get_flow_run(
        &self,
        _request: Request<GetFlowRunRequest>,
    ) -> Result<Response<GetFlowRunResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn list_flow_runs(
        &self,
        _request: Request<ListFlowRunsRequest>,
    ) -> Result<Response<ListFlowRunsResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn cancel_flow_run(
        &self,
        _request: Request<CancelFlowRunRequest>,
    ) -> Result<Response<CancelFlowRunResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

/// A time of gRPC: digits and a unit.
fn span(text: &str) -> Duration {
    let (digits, unit) = text.split_at(text.len() - 1);
    let count: u64 = digits.parse().unwrap();
    match unit {
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        other => panic!("unit {other}"),
    }
}
