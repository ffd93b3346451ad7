//! An answer as it comes. The work is part of the stream: whoever lets go of the stream ends the work,
//! and with it the call of the provider.
//!
//! Invariant: once something was told, the stream ends with `finish`, whatever becomes of the work.

use std::{collections::VecDeque, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use mesh::{Error, Result};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::Sink;

/// Between two signs of life.
const PING: Duration = Duration::from_secs(15);
/// Events that may wait for a reader.
const BUFFER: usize = 16;

/// What a reader is told.
#[derive(Debug, PartialEq)]
pub(crate) enum Relayed {
    /// An event.
    Event(Value),
    /// That the work goes on.
    Alive,
}

struct State {
    work: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>,
    events: mpsc::Receiver<Value>,
    last: VecDeque<Value>,
    ping_at: Instant,
    begun: bool,
    started: bool,
    in_step: bool,
}

/// Begins work that tells what it does; resolves once it has told something, or fell silent so long
/// that a sign of life is due.
///
/// # Errors
/// Those of the work, if it failed before it told anything.
pub(crate) async fn begin<F>(
    work: impl FnOnce(Sink) -> F,
) -> Result<impl Stream<Item = Relayed> + Send + 'static>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, events) = mpsc::channel(BUFFER);
    let mut state = State {
        work: Some(Box::pin(work(Sink::Events(sender)))),
        events,
        last: VecDeque::new(),
        ping_at: Instant::now() + PING,
        begun: false,
        started: false,
        in_step: false,
    };
    let first = match state.next().await {
        Some(Ok(first)) => Some(first),
        Some(Err(error)) => return Err(error),
        None => None,
    };
    let rest = stream::unfold(state, |mut state| async move {
        match state.next().await {
            Some(Ok(told)) => Some((told, state)),
            // Only the first one can be an error.
            Some(Err(_)) | None => None,
        }
    });
    Ok(stream::iter(first).chain(rest))
}

impl State {
    async fn next(&mut self) -> Option<Result<Relayed>> {
        loop {
            if let Some(event) = self.last.pop_front() {
                return Some(Ok(self.tell(event)));
            }
            let work = self.work.as_mut()?;
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => return Some(Ok(self.tell(event))),
                done = work => {
                    self.work = None;
                    while let Ok(event) = self.events.try_recv() {
                        self.last.push_back(event);
                    }
                    if let Err(error) = done {
                        if !self.begun && self.last.is_empty() {
                            return Some(Err(error));
                        }
                        self.fail(&error);
                    }
                }
                () = sleep_until(self.ping_at) => {
                    self.begun = true;
                    self.ping_at = Instant::now() + PING;
                    return Some(Ok(Relayed::Alive));
                }
            }
        }
    }

    fn tell(&mut self, event: Value) -> Relayed {
        self.begun = true;
        self.ping_at = Instant::now() + PING;
        match event["type"].as_str() {
            Some("start") => self.started = true,
            Some("start-step") => self.in_step = true,
            Some("finish-step") => self.in_step = false,
            _ => {}
        }
        Relayed::Event(event)
    }

    /// The events that end a stream whose work failed.
    fn fail(&mut self, error: &Error) {
        if let Some(cause) = error.cause() {
            tracing::error!(error = format!("{cause:#}"), "an answer failed");
        }
        let is = |event: &Value, kind: &str| event["type"] == kind;
        let started = self.started || self.last.iter().any(|event| is(event, "start"));
        let step = self
            .last
            .iter()
            .rev()
            .find(|event| is(event, "start-step") || is(event, "finish-step"));
        let in_step = step.map_or(self.in_step, |event| is(event, "start-step"));
        if !started {
            self.last.push_back(json!({"type": "start"}));
        }
        self.last
            .push_back(json!({"type": "error", "errorText": error.message()}));
        if in_step {
            self.last.push_back(json!({"type": "finish-step"}));
        }
        self.last
            .push_back(json!({"type": "finish", "finishReason": "error"}));
    }
}

/// The bytes of server-sent events, to the very last line.
pub(crate) fn bytes(told: impl Stream<Item = Relayed>) -> impl Stream<Item = Bytes> {
    let lines = told.map(|told| match told {
        Relayed::Event(event) => Bytes::from(format!("data: {event}\n\n")),
        Relayed::Alive => Bytes::from_static(b": ping\n\n"),
    });
    lines.chain(stream::iter([Bytes::from_static(b"data: [DONE]\n\n")]))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(
        work: impl FnOnce(Sink) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>,
    ) -> Vec<String> {
        let stream = begin(work).await.unwrap();
        let kinds = stream.map(|told| match told {
            Relayed::Event(event) => event["type"].as_str().unwrap_or_default().to_owned(),
            Relayed::Alive => "ping".to_owned(),
        });
        kinds.collect().await
    }

    #[tokio::test]
    async fn a_failure_behind_the_first_event_ends_in_good_order() {
        let kinds = told(|sink| {
            Box::pin(async move {
                sink.mark("start").await;
                sink.mark("start-step").await;
                Err(Error::unavailable("x"))
            })
        });
        assert_eq!(
            kinds.await,
            ["start", "start-step", "error", "finish-step", "finish"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_and_a_late_failure_still_ends_in_good_order() {
        let kinds = told(|_sink| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(40)).await;
                Err(Error::unavailable("x"))
            })
        });
        assert_eq!(kinds.await, ["ping", "ping", "start", "error", "finish"]);
    }

    #[tokio::test]
    async fn a_failure_before_anything_was_told_is_an_error() {
        let refused = begin(|_sink| async { Err(Error::unavailable("x")) }).await;
        assert!(refused.is_err());
    }
}
