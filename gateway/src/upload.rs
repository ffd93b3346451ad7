//! A request body on its way to the service, as it arrives: no more of it is taken from the client than
//! the service asks for.
//!
//! Invariant: a body that does not arrive whole never looks whole to the service. Its stream of messages
//! ends only where the body did; otherwise the call is let go of, which cancels it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use mesh::{
    Error,
    error::Reason,
    pace::{Pace, Turn},
};
use tokio::sync::Notify;
use transcoding::{PIECE_MAX, RawBody, Route};

use crate::{
    body,
    response::{Refusal, timed_out},
};

/// A body that is being passed on.
pub(crate) struct Upload {
    shared: Arc<Shared>,
    raw_body: RawBody,
}

struct Shared {
    state: Mutex<State>,
    pace: Pace,
    failed: Notify,
}

struct State {
    /// What is left of it; `None` once it has ended, or is somebody else's.
    body: Option<Body>,
    /// Bytes that were taken from the client.
    taken: usize,
    limit: usize,
    /// How many there will be, where the client says it.
    declared: Option<u64>,
    failure: Option<Refusal>,
}

impl Upload {
    /// The body of a request to a route.
    pub(crate) fn new(body: Body, raw_body: RawBody, route: &Route, headers: &HeaderMap) -> Self {
        let state = State {
            body: Some(body),
            taken: 0,
            limit: route.body_limit,
            declared: body::declared(headers),
            failure: None,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                pace: Pace::default(),
                failed: Notify::new(),
            }),
            raw_body,
        }
    }

    /// The call is about to be made: from now on client and service may keep each other waiting.
    pub(crate) fn begin(&self) {
        self.shared.pace.feeds_service();
    }

    /// The messages of one call: `first`, then the body in pieces. Another call may be made of the same
    /// body as long as nothing of it was taken.
    pub(crate) fn messages(&self, first: Bytes) -> Messages {
        Messages {
            shared: Arc::clone(&self.shared),
            raw_body: self.raw_body,
            first: Some(first),
            rest: Bytes::new(),
        }
    }

    /// Whether anything was taken from the client, so that no other call can be made of the body.
    pub(crate) fn has_begun(&self) -> bool {
        self.shared.state().taken > 0
    }

    /// Resolves when the upload has to end before the service answers: the client sends too much, breaks
    /// off, or sends nothing for `idle`; or the service neither reads on nor answers for as long as its
    /// RPC may be silent.
    pub(crate) async fn failure(&self, route: &Route, idle: Duration) -> Refusal {
        let silence = route.entry.deadline + mesh::ctx::HOP_MARGIN;
        let turn = tokio::select! {
            () = self.shared.failed.notified() => None,
            turn = self.shared.pace.overdue(idle, silence) => Some(turn),
        };
        if let Some(refusal) = self.shared.state().failure.take() {
            return refusal;
        }
        match turn {
            Some(Turn::Service) => timed_out(route.entry.deadline, route.safe).into(),
            Some(Turn::Client) | None => {
                // Who sends nothing is not waited for any more.
                self.shared.state().body = None;
                idled(idle)
            }
        }
    }

    /// What the client still has to send, once the call is over; `None` when it has sent all.
    pub(crate) fn into_rest(self) -> Option<Body> {
        self.shared.state().body.take()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next bytes of the body. After a failure there is nothing more, and no end either.
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state();
        if state.failure.is_some() {
            return Poll::Pending;
        }
        loop {
            // Without a body nobody waits for messages any more.
            let Some(body) = &mut state.body else {
                return Poll::Ready(None);
            };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                self.pace.awaits_client();
                return Poll::Pending;
            };
            self.pace.feeds_service();
            let failure = match frame {
                None => {
                    state.body = None;
                    let taken = state.taken as u64;
                    if state.declared.is_none_or(|declared| declared == taken) {
                        return Poll::Ready(None);
                    }
                    // An HTTP/2 stream that is reset without an error ends like a whole one.
                    broke_off("it is shorter than declared")
                }
                Some(Err(error)) => broke_off(error),
                Some(Ok(frame)) => {
                    // Trailers have no place in a message.
                    let bytes = frame.into_data().unwrap_or_default();
                    if bytes.is_empty() {
                        continue;
                    }
                    state.taken = state.taken.saturating_add(bytes.len());
                    if state.taken <= state.limit {
                        return Poll::Ready(Some(bytes));
                    }
                    Refusal::too_large(state.limit)
                }
            };
            state.failure = Some(failure);
            self.failed.notify_one();
            return Poll::Pending;
        }
    }
}

/// See [`Upload::messages`].
pub(crate) struct Messages {
    shared: Arc<Shared>,
    raw_body: RawBody,
    first: Option<Bytes>,
    /// What arrived in one piece and is more than one message.
    rest: Bytes,
}

impl Stream for Messages {
    type Item = (Bytes, Bytes);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(Bytes, Bytes)>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            this.shared.pace.feeds_service();
            return Poll::Ready(Some((first, Bytes::new())));
        }
        if this.rest.is_empty() {
            match ready!(this.shared.poll_body(cx)) {
                Some(bytes) => this.rest = bytes,
                None => return Poll::Ready(None),
            }
        } else {
            this.shared.pace.feeds_service();
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_MAX));
        Poll::Ready(Some((this.raw_body.head(piece.len()), piece)))
    }
}

/// Checks what the head of a request says of a body, before any of it is taken.
///
/// # Errors
/// PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE.
pub(crate) fn check_head(route: &Route, headers: &HeaderMap) -> Result<(), Refusal> {
    let declared = body::declared(headers);
    if declared.is_some_and(|declared| declared > route.body_limit as u64) {
        return Err(Refusal::too_large(route.body_limit));
    }
    Ok(route.check_media_type(headers)?)
}

/// 408: nothing came for so long.
fn idled(idle: Duration) -> Refusal {
    let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    let message = format!("Nothing of the body arrived for {idle} ms");
    let error = Error::new(Reason::Timeout, message).with("idleMs", idle);
    Refusal::with_status(error, StatusCode::REQUEST_TIMEOUT)
}

/// 400: the connection, or the stream on it, ended before the body did.
fn broke_off(cause: impl std::fmt::Display) -> Refusal {
    tracing::debug!(error = %cause, "a body broke off");
    let error = Error::new(Reason::ValidationError, "The body broke off");
    Refusal::with_status(error, StatusCode::BAD_REQUEST)
}
