//! Where an answer is told as it comes: as events of the UI message stream (docs/reference/ai.md §5).

use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Takes events, or leaves them.
#[derive(Clone)]
pub(crate) enum Sink {
    /// The answer is wanted as a whole.
    Silent,
    /// To whoever reads the stream; waits for a reader that is slow.
    Events(mpsc::Sender<Value>),
}

impl Sink {
    /// Tells an event.
    pub(crate) async fn send(&self, event: Value) {
        if let Self::Events(events) = self {
            // Without a reader nobody works on either: the work is part of the reader's stream.
            let _gone = events.send(event).await;
        }
    }

    /// Tells an event that has nothing but a type.
    pub(crate) async fn mark(&self, kind: &str) {
        self.send(json!({"type": kind})).await;
    }
}
