//! The world of one test: a database of its own, ai-svc over it, and fakes of its peers in this process. The
//! model is the echo, which calls the tools that it is told to, or a scripted provider.

use std::time::Duration;

use ai_svc::{Config, DEFAULTS, Peers, Sections};
use mesh::{
    Error, Link, Node,
    config::Secret,
    db::{Db, Row, Statement},
    identity::Identity,
    process::Runtime,
};
use proto::{
    ai::v1::{
        ApprovePendingActionRequest, ChatRequest, CompleteRequest, CreateConversationRequest,
        GetConversationRequest, GetPendingActionRequest, RejectPendingActionRequest,
        RunConversationRequest, StreamChatRequest, StreamChatResponse,
        chat_service_client::ChatServiceClient,
        conversation_service_client::ConversationServiceClient,
        pending_action_service_client::PendingActionServiceClient,
    },
    google::api::HttpBody,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::{Request, Status, Streaming};

use crate::{
    fake_auth::{FakeAuth, user},
    fake_data::FakeData,
    fake_flow::FakeFlow,
    provider::Fake,
};

/// Nothing that a test waits for takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A test's world.
pub(crate) struct World {
    pub data: FakeData,
    pub flow: FakeFlow,
    pub auth: FakeAuth,
    ai: Link,
    config: Config,
    peers: [Link; 3],
    node: Node,
    _dir: TempDir,
}

impl World {
    /// Starts; `data` tells its metadata from the beginning.
    pub(crate) async fn start(data: FakeData) -> Self {
        Self::start_with(data, &[]).await
    }

    /// The same with that provider.
    pub(crate) async fn with_provider(data: FakeData, fake: &Fake) -> Self {
        Self::with_provider_and(data, fake, &[]).await
    }

    /// The same with that provider and those settings of section `ai`.
    pub(crate) async fn with_provider_and(
        data: FakeData,
        fake: &Fake,
        settings: &[(&str, &str)],
    ) -> Self {
        let provider = fake.environment();
        // `OPENAI_API_KEY` is the setting `OPENAI__API_KEY`.
        let names = provider.iter().map(|(name, _)| name.replacen('_', "__", 1));
        let names: Vec<String> = names.collect();
        let values = provider.iter().map(|(_, value)| value.as_str());
        let mut all: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(values).collect();
        all.extend(settings);
        Self::start_with(data, &all).await
    }

    /// The same with those settings of section `ai`.
    pub(crate) async fn start_with(data: FakeData, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("ai.db").display());
        let settings = settings.iter().copied().chain([("DB__URL", url.as_str())]);
        let settings =
            settings.map(|(name, value)| (format!("OBJECTMESH__AI__{name}"), value.to_owned()));
        let sections: Sections = mesh::config::load(DEFAULTS, None, settings).unwrap();
        let config = sections.ai;
        let (auth, flow) = (FakeAuth::default(), FakeFlow::default());
        let peers = [Link::unbound(), Link::unbound(), Link::unbound()];
        auth.bind(&peers[0]);
        data.bind(&peers[1], &peers[0]);
        flow.bind(&peers[2], &peers[0]);
        let (node, ai) = serve(&config, &peers).await;
        Self {
            data,
            flow,
            auth,
            ai,
            config,
            peers,
            node,
            _dir: dir,
        }
    }

    /// Ends ai-svc, wherever its work is, and starts it again over the same database.
    pub(crate) async fn restart(&mut self) {
        assert!(self.node.tasks.shut_down(PATIENCE).await);
        (self.node, self.ai) = serve(&self.config, &self.peers).await;
    }

    fn request<T>(&self, who: &str, message: T) -> Request<T> {
        self.request_of(user(who), message)
    }

    fn request_of<T>(&self, who: Identity, message: T) -> Request<T> {
        let (token, _) = self.auth.token(who);
        let mut request = Request::new(message);
        mesh::ctx::set_bearer(&mut request, &token);
        request
    }

    fn chats(&self) -> ChatServiceClient<Link> {
        ChatServiceClient::new(self.ai.clone())
    }

    fn conversations(&self) -> ConversationServiceClient<Link> {
        ConversationServiceClient::new(self.ai.clone())
    }

    fn actions(&self) -> PendingActionServiceClient<Link> {
        PendingActionServiceClient::new(self.ai.clone())
    }

    /// Says something to the model; gives the answer.
    pub(crate) async fn chat(&self, who: &str, text: &str) -> Value {
        self.ask(who, &hi(text)).await.unwrap()
    }

    /// Chats with that body; gives the answer.
    pub(crate) async fn ask(&self, who: &str, body: &Value) -> Result<Value, Error> {
        self.ask_as(user(who), body, PATIENCE).await
    }

    /// The same for somebody who waits for so long.
    pub(crate) async fn ask_as(
        &self,
        who: Identity,
        body: &Value,
        limit: Duration,
    ) -> Result<Value, Error> {
        let message = ChatRequest {
            chat: body.to_string().into(),
            ..ChatRequest::default()
        };
        let mut request = self.request_of(who, message);
        request.set_timeout(limit);
        let parts = self.chats().chat(request).await.map_err(error)?;
        whole(parts.into_inner()).await
    }

    /// Chats as events.
    ///
    /// # Errors
    /// What went wrong before the first one.
    pub(crate) async fn stream_as(
        &self,
        who: Identity,
        body: &Value,
    ) -> Result<Streaming<StreamChatResponse>, Error> {
        let message = StreamChatRequest {
            chat: body.to_string().into(),
        };
        let stream = self
            .chats()
            .stream_chat(self.request_of(who, message))
            .await;
        Ok(stream.map_err(error)?.into_inner())
    }

    /// All events of a chat.
    pub(crate) async fn events(&self, text: &str) -> Result<Vec<Value>, Error> {
        let stream = self.stream_as(user("ann"), &hi(text)).await?;
        Ok(all(stream).await)
    }

    pub(crate) async fn complete(&self, prompt: &str) -> Result<Value, Error> {
        let message = CompleteRequest {
            prompt: json!({"prompt": prompt}).to_string().into(),
        };
        let answer = self.chats().complete(self.request("ann", message)).await;
        let answer = answer.map_err(error)?.into_inner().answer;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// Begins a conversation; gives its id.
    pub(crate) async fn converse(&self, who: &str, body: &Value) -> String {
        let message = CreateConversationRequest {
            conversation: body.to_string().into(),
        };
        let mut client = self.conversations();
        let made = client.create_conversation(self.request(who, message)).await;
        let made: Value = serde_json::from_slice(&made.unwrap().into_inner().conversation).unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    /// Begins to say something in a conversation.
    pub(crate) async fn begin_saying(
        &self,
        who: &str,
        id: &str,
        body: &Value,
    ) -> Result<Streaming<HttpBody>, Error> {
        let message = RunConversationRequest {
            id: id.to_owned(),
            message: body.to_string().into(),
            ..RunConversationRequest::default()
        };
        let mut client = self.conversations();
        let parts = client.run_conversation(self.request(who, message)).await;
        Ok(parts.map_err(error)?.into_inner())
    }

    /// Says something in a conversation; gives the turn.
    pub(crate) async fn say(&self, who: &str, id: &str, text: &str) -> Result<Value, Error> {
        let parts = self
            .begin_saying(who, id, &json!({"content": text}))
            .await?;
        whole(parts).await
    }

    /// Roles and texts of a conversation.
    pub(crate) async fn said(&self, who: &str, id: &str) -> Vec<(String, String)> {
        let message = GetConversationRequest { id: id.to_owned() };
        let mut client = self.conversations();
        let found = client.get_conversation(self.request(who, message)).await;
        let found: Value =
            serde_json::from_slice(&found.unwrap().into_inner().conversation).unwrap();
        let messages = found["messages"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        messages
            .map(|one| (text(&one["role"]), text(&one["content"])))
            .collect()
    }

    /// Makes the model call a tool that waits; gives the id of the proposal.
    pub(crate) async fn propose(&self, who: &str, tool: &str, input: &Value) -> String {
        let answer = self.chat(who, &format!("call {tool} {input}")).await;
        let id = answer["pendingActions"][0]["id"].as_str();
        id.unwrap_or_else(|| panic!("nothing waits: {answer:#}"))
            .to_owned()
    }

    pub(crate) async fn approve(&self, who: &str, id: &str) -> Result<Value, Status> {
        self.decide(user(who), id, &Value::Null).await
    }

    /// Approves with that decision.
    pub(crate) async fn decide(
        &self,
        who: Identity,
        id: &str,
        decision: &Value,
    ) -> Result<Value, Status> {
        let decision = match decision {
            Value::Null => String::new(),
            decision => decision.to_string(),
        };
        let message = ApprovePendingActionRequest {
            id: id.to_owned(),
            decision: decision.into(),
        };
        let mut client = self.actions();
        let answer = client.approve_pending_action(self.request_of(who, message));
        let outcome = answer.await?.into_inner().outcome;
        Ok(serde_json::from_slice(&outcome).unwrap())
    }

    pub(crate) async fn reject(
        &self,
        who: Identity,
        id: &str,
        reason: &str,
    ) -> Result<Value, Status> {
        let message = RejectPendingActionRequest {
            id: id.to_owned(),
            decision: json!({"reason": reason}).to_string().into(),
        };
        let mut client = self.actions();
        let answer = client.reject_pending_action(self.request_of(who, message));
        let outcome = answer.await?.into_inner().outcome;
        Ok(serde_json::from_slice(&outcome).unwrap())
    }

    pub(crate) async fn shown(&self, who: &str, id: &str) -> Value {
        let id = id.to_owned();
        let request = self.request(who, GetPendingActionRequest { id });
        let answer = self.actions().get_pending_action(request).await.unwrap();
        serde_json::from_slice(&answer.into_inner().action).unwrap()
    }

    /// The database, past ai-svc.
    pub(crate) async fn db(&self) -> Db {
        Db::open(&self.config.db).await.unwrap()
    }

    /// Changes rows past ai-svc.
    pub(crate) async fn sql(&self, sql: &'static str) {
        let changed = self.db().await.execute(Statement::new(sql)).await.unwrap();
        assert!(changed > 0, "{sql} changed nothing");
    }

    /// The first column of the rows that a query finds.
    pub(crate) async fn texts(&self, sql: &'static str) -> Vec<String> {
        let text = |row: &Row<'_>| Ok(row.text(0)?.unwrap_or("NULL").to_owned());
        let rows = self.db().await.query(Statement::new(sql), text).await;
        rows.unwrap()
    }
}

async fn serve(config: &Config, [auth, data, flow]: &[Link; 3]) -> (Node, Link) {
    let peers = Peers {
        auth: auth.clone(),
        data: data.clone(),
        flow: flow.clone(),
    };
    let node = ai_svc::build(config.clone(), peers, runtime())
        .await
        .unwrap();
    let ai = Link::unbound();
    ai.bind(node.local());
    (node, ai)
}

/// The body of a chat with one message.
pub(crate) fn hi(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

pub(crate) fn error(status: Status) -> Error {
    Error::from_status(&status)
}

async fn whole(mut parts: Streaming<HttpBody>) -> Result<Value, Error> {
    let mut answer = Vec::new();
    while let Some(part) = parts.message().await.map_err(error)? {
        answer.extend_from_slice(&part.data);
    }
    Ok(serde_json::from_slice(&answer).unwrap())
}

/// The next event of a stream; signs of life are none.
pub(crate) async fn next(stream: &mut Streaming<StreamChatResponse>) -> Option<Value> {
    loop {
        let message = stream.message().await.unwrap()?;
        if !message.event.is_empty() {
            return Some(serde_json::from_slice(&message.event).unwrap());
        }
    }
}

/// The events of a stream to its end.
pub(crate) async fn all(mut stream: Streaming<StreamChatResponse>) -> Vec<Value> {
    let mut events = Vec::new();
    while let Some(event) = next(&mut stream).await {
        events.push(event);
    }
    events
}

/// Types of events, in order, deltas of one kind counted once.
pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().map(|event| event["type"].as_str().unwrap());
    let mut kinds: Vec<&str> = kinds.collect();
    kinds.dedup_by(|next, last| next == last && next.ends_with("-delta"));
    kinds
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

fn runtime() -> Runtime {
    Runtime::alone(Secret::new("a mesh secret that is long enough for tests"))
}
