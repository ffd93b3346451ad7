//! Failures of the transport, and what they say about the request.

use std::{error::Error as StdError, fmt, sync::Arc};

use tonic::Status;

/// Why a call broke off before its answer was complete.
#[derive(Debug)]
pub(super) struct Broken {
    /// Whether the peer may have seen the request.
    reached: bool,
    /// Whether the peer, or the way to it, is at fault, and not only this call.
    lost_connection: bool,
    what: String,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Broken {
    /// No connection could be had, so the request was not sent.
    pub(super) fn unconnected(what: impl Into<String>) -> Self {
        Self {
            reached: false,
            lost_connection: true,
            what: what.into(),
            cause: None,
        }
    }

    /// The connection failed with the call on it.
    pub(super) fn on_connection(error: hyper::Error) -> Self {
        let reached = !surely_unprocessed(&error);
        Self {
            reached,
            lost_connection: reached && !is_reset(&error),
            what: "the connection broke off".to_owned(),
            cause: Some(Arc::new(error)),
        }
    }

    /// Whether the connection is lost, in a way that the peer did not announce.
    pub(super) fn lost_connection(&self) -> bool {
        self.lost_connection
    }

    /// As the status that generated clients answer.
    pub(super) fn into_status(self) -> Status {
        let mut status = Status::unavailable(self.to_string());
        status.set_source(Arc::new(self));
        status
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Broken {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause
            .as_deref()
            .map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// Whether the call surely was not processed, so that even one that changes something may be made
/// again: no connection, the connection ended before the request was on it, or the peer said that
/// it did not take the stream (HTTP/2 `REFUSED_STREAM`, or a `GOAWAY` that names an earlier one).
///
/// What a service itself answered is never meant: the call did reach it.
#[must_use]
pub fn never_reached(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(broken) = error.downcast_ref::<Broken>() {
            return !broken.reached;
        }
        if surely_unprocessed(error) {
            return true;
        }
        source = error.source();
    }
    false
}

fn surely_unprocessed(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_canceled()
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            // h2 hands a remote GOAWAY only to streams beyond the last one the peer took.
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (refused || error.is_go_away());
        }
        next = error.source();
    }
    false
}

fn is_reset(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_reset();
        }
        next = error.source();
    }
    false
}
