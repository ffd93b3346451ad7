//! A plain reader of server-sent events.

use serde_json::Value;

use crate::support::TestMesh;

/// A stream of events that has begun.
pub(crate) struct Reader {
    pub(crate) response: reqwest::Response,
    buffer: Vec<u8>,
}

/// What a reader saw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// An event.
    Event(Value),
    /// `[DONE]`.
    Done,
    /// A comment.
    Comment(String),
    /// The end of the body.
    End,
}

impl Reader {
    /// Opens a stream.
    pub(crate) async fn open(
        mesh: &TestMesh,
        token: &str,
        path: &str,
        body: &Value,
        accept: &str,
    ) -> Self {
        let request = reqwest::Client::new()
            .post(mesh.url(path))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", accept)
            .body(body.to_string());
        Self {
            response: request.send().await.expect("an answer"),
            buffer: Vec::new(),
        }
    }

    /// Asserts that it is a stream of events with the headers of the contract.
    #[track_caller]
    pub(crate) fn is_events(&self) {
        let header = |name: &str| {
            self.response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(self.response.status(), 200);
        assert_eq!(header("content-type").as_deref(), Some("text/event-stream"));
        assert_eq!(header("cache-control").as_deref(), Some("no-cache"));
        assert_eq!(
            header("x-vercel-ai-ui-message-stream").as_deref(),
            Some("v1")
        );
        assert_eq!(header("x-accel-buffering").as_deref(), Some("no"));
    }

    /// The next thing on the stream.
    pub(crate) async fn next(&mut self) -> Seen {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let block = String::from_utf8(block).expect("UTF-8");
                let block = block.trim_end();
                if let Some(comment) = block.strip_prefix(':') {
                    return Seen::Comment(comment.trim().to_owned());
                }
                let data = block
                    .strip_prefix("data: ")
                    .unwrap_or_else(|| panic!("no data: {block}"));
                assert!(!data.contains('\n'), "one line an event: {data}");
                return match data {
                    "[DONE]" => Seen::Done,
                    json => Seen::Event(serde_json::from_str(json).expect("JSON")),
                };
            }
            match self.response.chunk().await.expect("a body") {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => {
                    assert!(self.buffer.is_empty(), "half an event");
                    return Seen::End;
                }
            }
        }
    }

    /// All events to the end; asserts that `[DONE]` is the last thing, and there once.
    pub(crate) async fn all(mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Seen::Event(event) => events.push(event),
                Seen::Comment(_) => {}
                Seen::Done => break,
                Seen::End => panic!("no [DONE] behind {events:#?}"),
            }
        }
        assert_eq!(self.next().await, Seen::End);
        events
    }
}

/// Types of events, in order, deltas of one kind counted once.
pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().expect("a type"))
        .collect();
    kinds.dedup_by(|next, last| next == last && next.ends_with("-delta"));
    kinds
}

/// The text of a stream.
pub(crate) fn said(events: &[Value]) -> String {
    let deltas = events.iter().filter(|event| event["type"] == "text-delta");
    deltas
        .map(|event| event["delta"].as_str().expect("text"))
        .collect()
}
