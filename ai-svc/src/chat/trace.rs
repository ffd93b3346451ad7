//! The trace of a model call: written whatever becomes of the call, also when whoever asked has gone.

use std::time::Instant;

use mesh::{Error, tasks::Tasks};

use crate::{
    domain::usage::Usage,
    store::{Store, Trace},
};

/// A call in progress; its trace is kept when this goes.
pub(crate) struct Traced {
    store: Store,
    tasks: Tasks,
    began: Instant,
    trace: Option<Trace>,
}

impl Traced {
    /// Begins; the trace says `cancelled` until it is told otherwise.
    pub(crate) fn begin(store: Store, tasks: Tasks, trace: Trace) -> Self {
        Self {
            store,
            tasks,
            began: Instant::now(),
            trace: Some(trace),
        }
    }

    /// The call answered.
    pub(crate) fn answered(mut self, usage: Usage) {
        if let Some(trace) = &mut self.trace {
            (trace.status, trace.usage) = ("ok", usage);
        }
    }

    /// The call failed.
    pub(crate) fn failed(mut self, error: &Error) {
        if let Some(trace) = &mut self.trace {
            trace.status = "error";
            trace.error = Some(error.to_string());
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let Some(mut trace) = self.trace.take() else {
            return;
        };
        let took = self.began.elapsed().as_millis();
        trace.latency_ms = i64::try_from(took).unwrap_or(i64::MAX);
        let store = self.store.clone();
        self.tasks.spawn(async move {
            if let Err(error) = store.add_trace(trace).await {
                tracing::warn!(%error, "the trace of a model call is lost");
            }
        });
    }
}
