//! The services on the wire: convert, call, convert back.

mod chat;
mod conversations;
mod proposals;

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use mesh::{Ctx, Result};
use proto::google::api::HttpBody;
use serde_json::Value;
use tonic::Status;

use crate::{
    app::App,
    chat::{Answer, STREAM_MAX, Sink, Turn, begin, bytes},
};

/// Serves models, chat and completion.
pub(crate) struct Chats(pub(crate) Arc<App>);
/// Serves conversations.
pub(crate) struct Conversations(pub(crate) Arc<App>);
/// Serves pending actions.
pub(crate) struct PendingActions(pub(crate) Arc<App>);

/// A reply that is one message of JSON, or events.
type Body = Pin<Box<dyn Stream<Item = Result<HttpBody, Status>> + Send>>;

/// The context of an answer as events: it has time of its own.
fn as_events(ctx: Ctx) -> Ctx {
    Ctx {
        deadline: std::time::Instant::now() + STREAM_MAX,
        ..ctx
    }
}

/// Plays a turn as a body of JSON.
async fn whole(turn: Turn, show: impl FnOnce(&Answer) -> Value) -> Result<Body> {
    let answer = turn.play(Sink::Silent).await?;
    let data = Bytes::from(show(&answer).to_string());
    Ok(body("application/json", stream::iter([data])))
}

/// Plays a turn as a body of events.
async fn events(turn: Turn) -> Result<Body> {
    let told = begin(|sink| async move { turn.play(sink).await.map(drop) }).await?;
    Ok(body("text/event-stream", bytes(told)))
}

fn body(content_type: &'static str, data: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    data.map(move |data| {
        Ok(HttpBody {
            content_type: content_type.to_owned(),
            data,
            extensions: Vec::new(),
        })
    })
    .boxed()
}

/// A filter of a list; PostgreSQL knows no NUL, which nothing that is stored holds.
fn filter(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn json(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}
