//! The world of one test: a database of its own, flow-svc over it, and fakes of its peers in this process.

use std::time::Duration;

use flow_svc::{Config, DEFAULTS, Peers, Sections};
use mesh::{
    Error, Link, Node,
    config::Secret,
    db::{Db, Row, Statement},
    identity::Identity,
    process::Runtime,
};
use metadata::ItemType;
use proto::flow::v1::{
    CancelFlowRunRequest, GetFlowRunRequest, InvokeActionRequest, ListFlowRunsRequest,
    ListFlowRunsResponse, StartFlowRequest, StartFlowResponse,
    action_service_client::ActionServiceClient, flow_service_client::FlowServiceClient,
};
use serde_json::Value;
use tempfile::TempDir;
use tonic::Request;

use crate::{
    fake_auth::{FakeAuth, user},
    fake_data::FakeData,
};

/// Nothing that a test waits for takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A test's world.
pub(crate) struct World {
    pub data: FakeData,
    pub auth: FakeAuth,
    config: Config,
    peers: [Link; 2],
    flow: Link,
    node: Node,
    _dir: TempDir,
}

impl World {
    /// Starts with those flows.
    pub(crate) async fn start(flows: impl IntoIterator<Item = (&str, Value)>) -> Self {
        let data = FakeData::default();
        for (name, flow) in flows {
            data.declare(ItemType::Flow, name, flow);
        }
        Self::over(data).await
    }

    /// Starts with a data-svc that was made ready before.
    pub(crate) async fn over(data: FakeData) -> Self {
        let world = Self::build(data).await;
        world.is_ready().await;
        world
    }

    /// Starts with a data-svc that tells no metadata before a test declares some.
    pub(crate) async fn without_metadata() -> Self {
        Self::build(FakeData::without_metadata()).await
    }

    async fn build(data: FakeData) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = [
            (
                "DB__URL",
                format!("sqlite:{}", dir.path().join("flow.db").display()),
            ),
            (
                "SCRIPTS__PROGRAM",
                env!("CARGO_BIN_EXE_flow-svc").to_owned(),
            ),
            ("SCRIPTS__WORKERS", "1".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (format!("OBJECTMESH__FLOW__{name}"), value));
        let sections: Sections = mesh::config::load(DEFAULTS, None, settings).unwrap();
        let config = sections.flow;
        let auth = FakeAuth::default();
        let peers = [Link::unbound(), Link::unbound()];
        let [to_auth, to_data] = &peers;
        auth.bind(to_auth);
        data.bind(to_data, to_auth);
        let (node, flow) = serve(&config, &peers).await;
        Self {
            data,
            auth,
            config,
            peers,
            flow,
            node,
            _dir: dir,
        }
    }

    /// Ends flow-svc, wherever its runs are.
    pub(crate) async fn stop(&self) {
        assert!(self.node.tasks.shut_down(PATIENCE).await);
    }

    /// Starts it again over the same database.
    pub(crate) async fn go_on(&mut self) {
        (self.node, self.flow) = serve(&self.config, &self.peers).await;
        self.is_ready().await;
    }

    async fn is_ready(&self) {
        // A run is shown from the database; a list asks for the metadata.
        let asked = async || {
            let listed = self.list("root", "-", None, "").await;
            let error = listed.map(drop).unwrap_err();
            error.reason() == mesh::error::Reason::NotFound
        };
        eventually("flow-svc knows the metadata", asked).await;
    }

    pub(crate) fn request<T>(&self, who: Identity, message: T) -> Request<T> {
        let (token, _) = self.auth.token(who);
        let mut request = Request::new(message);
        mesh::ctx::set_bearer(&mut request, &token);
        request
    }

    fn flows(&self) -> FlowServiceClient<Link> {
        FlowServiceClient::new(self.flow.clone())
    }

    /// Starts a flow as that message says.
    pub(crate) async fn start_flow(
        &self,
        who: Identity,
        message: StartFlowRequest,
    ) -> Result<(Value, StartFlowResponse), Error> {
        self.start_request(self.request(who, message)).await
    }

    /// The same with a request that a test made.
    pub(crate) async fn start_request(
        &self,
        request: Request<StartFlowRequest>,
    ) -> Result<(Value, StartFlowResponse), Error> {
        let answer = self.flows().start_flow(request).await;
        let answer = answer.map_err(|status| Error::from_status(&status))?;
        let answer = answer.into_inner();
        Ok((serde_json::from_slice(&answer.run).unwrap(), answer))
    }

    /// Starts a flow and waits for its end; gives the run.
    pub(crate) async fn start_as(
        &self,
        who: &str,
        flow: &str,
        input: Value,
    ) -> Result<Value, Error> {
        let message = asking(flow, &input);
        Ok(self.start_flow(user(who), message).await?.0)
    }

    /// The same as Ann, who may.
    pub(crate) async fn run(&self, flow: &str, input: Value) -> Value {
        self.start_as("ann", flow, input).await.unwrap()
    }

    /// Starts a flow as Ann without waiting; gives the id of the run.
    pub(crate) async fn begin(&self, flow: &str, input: Value) -> String {
        let message = StartFlowRequest {
            r#async: Some(true),
            ..asking(flow, &input)
        };
        let (run, answer) = self.start_flow(user("ann"), message).await.unwrap();
        assert!(
            answer.http_status == 202 || run["status"] != "running",
            "{run:#}"
        );
        text(&run["id"])
    }

    /// A run as somebody sees it.
    pub(crate) async fn shown(&self, who: &str, flow: &str, id: &str) -> Result<Value, Error> {
        let message = GetFlowRunRequest {
            flow: flow.to_owned(),
            run_id: id.to_owned(),
        };
        let mut flows = self.flows();
        let answer = flows.get_flow_run(self.request(user(who), message)).await;
        let answer = answer.map_err(|status| Error::from_status(&status))?;
        Ok(serde_json::from_slice(&answer.into_inner().run).unwrap())
    }

    /// Waits until a run has that status; gives the run as an administrator sees it.
    pub(crate) async fn becomes(&self, flow: &str, id: &str, status: &str) -> Value {
        let mut run = Value::Null;
        let waiting = async || {
            run = self.shown("root", flow, id).await.unwrap();
            let is_over =
                ["completed", "failed", "cancelled"].contains(&text(&run["status"]).as_str());
            assert!(!is_over || run["status"] == status, "not {status}: {run:#}");
            run["status"] == status
        };
        eventually(&format!("`{flow}` is {status}"), waiting).await;
        run
    }

    pub(crate) async fn cancel(&self, who: &str, flow: &str, id: &str) -> Result<Value, Error> {
        let message = CancelFlowRunRequest {
            flow: flow.to_owned(),
            run_id: id.to_owned(),
        };
        let mut flows = self.flows();
        let answer = flows
            .cancel_flow_run(self.request(user(who), message))
            .await;
        let answer = answer.map_err(|status| Error::from_status(&status))?;
        Ok(serde_json::from_slice(&answer.into_inner().run).unwrap())
    }

    pub(crate) async fn list(
        &self,
        who: &str,
        flow: &str,
        limit: Option<u32>,
        cursor: &str,
    ) -> Result<ListFlowRunsResponse, Error> {
        let message = ListFlowRunsRequest {
            flow: flow.to_owned(),
            limit,
            cursor: cursor.to_owned(),
        };
        let mut flows = self.flows();
        let answer = flows.list_flow_runs(self.request(user(who), message)).await;
        let answer = answer.map_err(|status| Error::from_status(&status))?;
        Ok(answer.into_inner())
    }

    /// All runs of a flow, the first one first.
    pub(crate) async fn runs(&self, flow: &str) -> Vec<Value> {
        let listed = self.list("root", flow, Some(200), "").await.unwrap();
        let runs = listed.items.iter().rev();
        runs.map(|run| serde_json::from_slice(run).unwrap())
            .collect()
    }

    /// Waits until so many runs of a flow have completed; gives them.
    pub(crate) async fn completed(&self, flow: &str, count: usize) -> Vec<Value> {
        let mut runs = Vec::new();
        let waiting = async || {
            runs = self.runs(flow).await;
            runs.len() >= count && runs.iter().all(|run| run["status"] == "completed")
        };
        eventually(&format!("{count} runs of `{flow}` are completed"), waiting).await;
        assert_eq!(runs.len(), count, "{runs:#?}");
        runs
    }

    pub(crate) async fn invoke(
        &self,
        who: &str,
        action: &str,
        input: &Value,
    ) -> Result<Value, Error> {
        let message = InvokeActionRequest {
            action: action.to_owned(),
            input: input.to_string().into(),
            ..InvokeActionRequest::default()
        };
        let mut client = ActionServiceClient::new(self.flow.clone());
        let answer = client.invoke_action(self.request(user(who), message)).await;
        let answer = answer.map_err(|status| Error::from_status(&status))?;
        Ok(serde_json::from_slice(&answer.into_inner().result).unwrap())
    }

    async fn db(&self) -> Db {
        Db::open(&self.config.db).await.unwrap()
    }

    /// Changes rows past flow-svc.
    pub(crate) async fn sql(&self, sql: &'static str) {
        let changed = self.db().await.execute(Statement::new(sql)).await.unwrap();
        assert!(changed > 0, "{sql} changed nothing");
    }

    /// A number from the database.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let one = |row: &Row<'_>| row.req_int(0);
        let counted = self.db().await.query_one(Statement::new(sql), one).await;
        counted.unwrap()
    }
}

async fn serve(config: &Config, [auth, data]: &[Link; 2]) -> (Node, Link) {
    let peers = Peers {
        auth: auth.clone(),
        data: data.clone(),
    };
    let node = flow_svc::build(config.clone(), peers, runtime())
        .await
        .unwrap();
    let flow = Link::unbound();
    flow.bind(node.local());
    (node, flow)
}

/// The start of a flow that is waited for.
pub(crate) fn asking(flow: &str, input: &Value) -> StartFlowRequest {
    StartFlowRequest {
        flow: flow.to_owned(),
        input: input.to_string().into(),
        ..StartFlowRequest::default()
    }
}

/// Waits until something holds.
///
/// # Panics
/// When it does not within half a minute.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "not in time: {what}");
}

pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// Nodes and statuses of the steps of a run.
pub(crate) fn steps(run: &Value) -> Vec<String> {
    let steps = run["steps"].as_array().unwrap().iter();
    let steps = steps.map(|step| format!("{} {}", text(&step["nodeId"]), text(&step["status"])));
    steps.collect()
}

fn runtime() -> Runtime {
    Runtime::alone(Secret::new("a mesh secret that is long enough for tests"))
}
