//! The world of one test: a database of its own, ai-svc over it, and fakes of its peers on sockets of
//! this machine. The model is the echo, which calls the tools that it is told to.

use ai_svc::{Config, DEFAULTS, Peers, Sections};
use mesh::{
    Link, Node,
    config::Secret,
    db::{Db, Row, Statement},
    process::Runtime,
    tasks::Tasks,
};
use proto::{
    ai::v1::{
        ApprovePendingActionRequest, ChatRequest, GetPendingActionRequest,
        chat_service_client::ChatServiceClient,
        pending_action_service_client::PendingActionServiceClient,
    },
    auth::v1::identity_service_server::IdentityServiceServer,
    data::v1::{
        metadata_service_server::MetadataServiceServer, record_service_server::RecordServiceServer,
        registry_service_server::RegistryServiceServer,
    },
    flow::v1::action_service_server::ActionServiceServer,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    transport::{
        Server,
        server::{Router, TcpIncoming},
    },
};

use crate::{
    fake_auth::{FakeAuth, user},
    fake_data::FakeData,
    fake_flow::FakeFlow,
};

/// A test's world.
pub(crate) struct World {
    pub data: FakeData,
    pub flow: FakeFlow,
    auth: FakeAuth,
    ai: Link,
    config: Config,
    _node: Node,
    _dir: TempDir,
}

impl World {
    /// Starts; `data` tells its metadata from the beginning.
    pub(crate) async fn start(data: FakeData) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("ai.db").display());
        let settings = [("OBJECTMESH__AI__DB__URL".to_owned(), url)];
        let sections: Sections = mesh::config::load(DEFAULTS, None, settings).unwrap();
        let config = sections.ai;
        let secret = Secret::new("a mesh secret that is long enough for tests");
        let (auth, flow) = (FakeAuth::default(), FakeFlow::default());
        let identities = IdentityServiceServer::new(auth.clone());
        let actions = ActionServiceServer::new(flow.clone());
        let peers = Peers {
            auth: serve(Server::builder().add_service(identities)).await,
            data: serve(
                Server::builder()
                    .add_service(RegistryServiceServer::new(data.clone()))
                    .add_service(MetadataServiceServer::new(data.clone()))
                    .add_service(RecordServiceServer::new(data.clone())),
            )
            .await,
            flow: serve(Server::builder().add_service(actions)).await,
        };
        let node = ai_svc::build(config.clone(), peers, Runtime::alone(secret)).await;
        let node = node.unwrap();
        let ai = Link::unbound();
        ai.bind(node.local());
        Self {
            data,
            flow,
            auth,
            ai,
            config,
            _node: node,
            _dir: dir,
        }
    }

    fn request<T>(&self, who: &str, message: T) -> Request<T> {
        let (token, _) = self.auth.token(user(who));
        let mut request = Request::new(message);
        let bearer = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    /// Says something to the model; gives the answer.
    pub(crate) async fn chat(&self, who: &str, text: &str) -> Value {
        let body = json!({"messages": [{"role": "user", "content": text}]});
        let request = self.request(
            who,
            ChatRequest {
                chat: body.to_string().into(),
                ..ChatRequest::default()
            },
        );
        let mut client = ChatServiceClient::new(self.ai.clone());
        let mut parts = client.chat(request).await.unwrap().into_inner();
        let mut answer = Vec::new();
        while let Some(part) = parts.message().await.unwrap() {
            answer.extend_from_slice(&part.data);
        }
        serde_json::from_slice(&answer).unwrap()
    }

    /// Makes the model call a tool that waits; gives the id of the proposal.
    pub(crate) async fn propose(&self, who: &str, tool: &str, input: &Value) -> String {
        let answer = self.chat(who, &format!("call {tool} {input}")).await;
        let id = answer["pendingActions"][0]["id"].as_str();
        id.unwrap_or_else(|| panic!("nothing waits: {answer:#}"))
            .to_owned()
    }

    pub(crate) async fn approve(&self, who: &str, id: &str) -> Result<Value, Status> {
        let id = id.to_owned();
        let request = ApprovePendingActionRequest {
            id,
            ..ApprovePendingActionRequest::default()
        };
        let mut client = PendingActionServiceClient::new(self.ai.clone());
        let answer = client.approve_pending_action(self.request(who, request));
        let outcome = answer.await?.into_inner().outcome;
        Ok(serde_json::from_slice(&outcome).unwrap())
    }

    pub(crate) async fn shown(&self, who: &str, id: &str) -> Value {
        let id = id.to_owned();
        let mut client = PendingActionServiceClient::new(self.ai.clone());
        let request = self.request(who, GetPendingActionRequest { id });
        let answer = client.get_pending_action(request).await.unwrap();
        serde_json::from_slice(&answer.into_inner().action).unwrap()
    }

    /// The database, past ai-svc.
    pub(crate) async fn db(&self) -> Db {
        Db::open(&self.config.db).await.unwrap()
    }

    /// The first column of the rows that a query finds.
    pub(crate) async fn texts(&self, sql: &'static str) -> Vec<String> {
        let text = |row: &Row<'_>| Ok(row.text(0)?.unwrap_or("NULL").to_owned());
        let rows = self.db().await.query(Statement::new(sql), text).await;
        rows.unwrap()
    }
}

async fn serve(services: Router) -> Link {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = services.serve_with_incoming(TcpIncoming::from(listener));
    Tasks::default().spawn(async move { served.await.unwrap() });
    Link::connect(&url).unwrap()
}
