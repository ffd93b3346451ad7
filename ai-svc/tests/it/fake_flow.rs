//! flow-svc as far as ai-svc knows it: every action gives what the test says.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use proto::flow::v1::{
    InvokeActionRequest, InvokeActionResponse, action_service_server::ActionService,
};
use serde_json::Value;
use tonic::{Request, Response, Status};

/// The fake. Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct FakeFlow(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// What actions give.
    pub result: Value,
    /// The calls so far, and how much time each was given.
    pub invoked: Vec<(InvokeActionRequest, Duration)>,
}

impl FakeFlow {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
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
        Ok(Response::new(InvokeActionResponse {
            result: state.result.to_string().into(),
        }))
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
