//! A model provider that says what a test wants, piece by piece: OpenAI's and Anthropic's events over
//! plain HTTP. It counts the connections that its client closed before the answer was whole.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The key that the mesh has; it must show up nowhere else.
pub(crate) const KEY: &str = "sk-hush-hush-0123456789";

/// What an answer does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Says that.
    Text(String),
    /// Calls a tool with that input.
    Call(&'static str, Value),
    /// Is silent for so long.
    Sleep(Duration),
    /// Says nothing more until the client goes.
    Hang,
    /// Breaks off.
    Break,
    /// Counts no tokens at the end.
    Uncounted,
    /// Refuses with that status, before anything else.
    Status(u16),
    /// Refuses with that status and a header.
    Refuse(u16, &'static str),
}

/// Text of a step.
pub(crate) fn text(text: &str) -> Step {
    Step::Text(text.to_owned())
}

type Script = Arc<dyn Fn(usize, &Value) -> Vec<Step> + Send + Sync>;

/// The provider.
pub(crate) struct Fake {
    url: String,
    anthropic: bool,
    /// Bodies of the requests so far.
    requests: Arc<Mutex<Vec<Value>>>,
    /// Heads of the requests so far.
    heads: Arc<Mutex<Vec<String>>>,
    closed: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// Starts one that speaks as OpenAI does; the script is given the number of the request, from 0,
    /// and its body.
    pub(crate) async fn start(
        script: impl Fn(usize, &Value) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::speaking(false, script).await
    }

    /// Starts one that speaks as Anthropic does.
    pub(crate) async fn anthropic(
        script: impl Fn(usize, &Value) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::speaking(true, script).await
    }

    async fn speaking(
        anthropic: bool,
        script: impl Fn(usize, &Value) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (requests, heads, closed) = (
            Arc::<Mutex<Vec<Value>>>::default(),
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<AtomicUsize>::default(),
        );
        let script: Script = Arc::new(script);
        let (all, tops, gone) = (
            Arc::clone(&requests),
            Arc::clone(&heads),
            Arc::clone(&closed),
        );
        let serve = async move {
            let mut calls = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (all, tops, gone, script) = (
                    Arc::clone(&all),
                    Arc::clone(&tops),
                    Arc::clone(&gone),
                    Arc::clone(&script),
                );
                calls.spawn(async move {
                    let mut stream = stream;
                    let Some((head, body)) = request(&mut stream).await else {
                        return;
                    };
                    let number = {
                        let mut all = all.lock().unwrap();
                        all.push(body.clone());
                        tops.lock().unwrap().push(head);
                        all.len() - 1
                    };
                    if !answer(&mut stream, anthropic, script(number, &body)).await {
                        gone.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        };
        #[allow(
            clippy::disallowed_methods,
            clippy::allow_attributes,
            reason = "a test has no node"
        )]
        let task = tokio::spawn(serve);
        Self {
            url,
            anthropic,
            requests,
            heads,
            closed,
            task,
        }
    }

    /// Settings of a mesh that uses it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        match self.anthropic {
            true => vec![
                ("ANTHROPIC_API_KEY", KEY.to_owned()),
                ("ANTHROPIC_BASE_URL", self.url.clone()),
            ],
            false => vec![
                ("OPENAI_API_KEY", KEY.to_owned()),
                ("OPENAI_BASE_URL", format!("{}/v1", self.url)),
            ],
        }
    }

    /// The body of a request.
    pub(crate) fn request(&self, number: usize) -> Value {
        self.requests.lock().unwrap()[number].clone()
    }

    /// The head of a request, as it came.
    pub(crate) fn head(&self, number: usize) -> String {
        self.heads.lock().unwrap()[number].clone()
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// How many connections the client closed before the answer was whole.
    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }
}

async fn request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length: usize = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse().ok())?
            })?;
            if read.len() >= end + 4 + length {
                let body = serde_json::from_slice(&read[end + 4..end + 4 + length]).ok()?;
                return Some((head, body));
            }
        }
        let mut more = [0; 4096];
        let count = stream.read(&mut more).await.ok()?;
        if count == 0 {
            return None;
        }
        read.extend_from_slice(&more[..count]);
    }
}

/// False when the client went before the end.
async fn answer(stream: &mut TcpStream, anthropic: bool, steps: Vec<Step>) -> bool {
    let refusal = match steps.first() {
        Some(Step::Status(status)) => Some((*status, "x-none: x")),
        Some(Step::Refuse(status, header)) => Some((*status, *header)),
        _ => None,
    };
    if let Some((status, header)) = refusal {
        let body =
            json!({"error": {"message": format!("Incorrect API key provided: {KEY}")}}).to_string();
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let _sent = stream.write_all(text.as_bytes()).await;
        return true;
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    if stream.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    let mut events = match anthropic {
        true => vec![
            json!({"type": "message_start", "message": {"usage": {"input_tokens": 11, "output_tokens": 1}}}),
        ],
        false => Vec::new(),
    };
    let mut calls = 0;
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Text(text) if anthropic => {
                events.push(json!({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}));
                events.push(json!({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}));
            }
            Step::Text(text) => {
                events.push(json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
            }
            Step::Call(name, input) => {
                let (id, input) = (format!("call_{index}"), input.to_string());
                // In two pieces, as providers send it.
                let (one, two) = input.split_at(input.len() / 2);
                if anthropic {
                    events.push(json!({"type": "content_block_start", "index": index, "content_block": {"type": "tool_use", "id": id, "name": name, "input": {}}}));
                    for part in [one, two] {
                        events.push(json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": part}}));
                    }
                } else {
                    events.push(json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": calls, "id": id, "function": {"name": name, "arguments": one}}]}}]}));
                    events.push(json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": calls, "function": {"arguments": two}}]}}]}));
                }
                calls += 1;
            }
            _ => {}
        }
        if !send(stream, &mut events).await {
            return false;
        }
        let wait = match step {
            Step::Sleep(time) => *time,
            Step::Hang => Duration::from_secs(600),
            Step::Break => return true,
            _ => continue,
        };
        let mut byte = [0; 1];
        if tokio::time::timeout(wait, stream.read(&mut byte))
            .await
            .is_ok()
        {
            return false;
        }
    }
    if anthropic {
        let reason = if calls > 0 { "tool_use" } else { "end_turn" };
        events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}}));
        events.push(json!({"type": "message_stop"}));
        return send(stream, &mut events).await;
    }
    let reason = if calls > 0 { "tool_calls" } else { "stop" };
    events.push(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}));
    if !steps.iter().any(|step| matches!(step, Step::Uncounted)) {
        let usage = json!({"prompt_tokens": 11, "completion_tokens": 7});
        events.push(json!({"choices": [], "usage": usage}));
    }
    send(stream, &mut events).await && stream.write_all(b"data: [DONE]\n\n").await.is_ok()
}

async fn send(stream: &mut TcpStream, events: &mut Vec<Value>) -> bool {
    for event in events.drain(..) {
        let text = match event["type"].as_str() {
            Some(kind) => format!("event: {kind}\ndata: {event}\n\n"),
            None => format!("data: {event}\n\n"),
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return false;
        }
    }
    true
}
