//! Whose turn it is while a request streams: the client's, who is to send on, or the service's, which is to
//! read on or to answer. A whole upload may take long; what neither may do is keep the other waiting.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status, body::Body};

/// How long a service waits for a caller whose request streams. Longer than gateways wait for their clients,
/// so that they are the ones to say it.
pub const CLIENT_IDLE_MAX: Duration = Duration::from_secs(60);

/// Who is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Who sends the body.
    Client,
    /// What takes it.
    Service,
}

/// Whose turn it is, and since when.
#[derive(Debug)]
pub struct Pace(Mutex<(Turn, Instant)>);

impl Default for Pace {
    /// The service's turn, from now on.
    fn default() -> Self {
        Self(Mutex::new((Turn::Service, Instant::now())))
    }
}

impl Pace {
    /// The service asks for more, and there is none yet. Saying it again changes nothing.
    pub fn awaits_client(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 == Turn::Service {
            *state = (Turn::Client, Instant::now());
        }
    }

    /// The service was given something, or the end.
    pub fn feeds_service(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (Turn::Service, Instant::now());
    }

    fn now(&self) -> (Turn, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when one of them has kept the other waiting for too long.
    pub async fn overdue(&self, client: Duration, service: Duration) -> Turn {
        let shortest = client.min(service);
        let mut looked_at = None;
        loop {
            let state = self.now();
            let (turn, since) = state;
            let patience = match turn {
                Turn::Client => client,
                Turn::Service => service,
            };
            if since.elapsed() >= patience {
                return turn;
            }
            // The turn may change to the one with less patience while we sleep.
            let look = if looked_at == Some(state) {
                patience
            } else {
                shortest
            };
            looked_at = Some(state);
            sleep_until(since + look).await;
        }
    }
}

/// The body of a request that streams, which tells the pace at which it is read.
///
/// Invariant: one that broke off is an error to whoever reads it. tonic takes a cancelled request for one
/// that has ended, and half a file would look like a whole one.
pub(crate) struct Paced {
    body: Body,
    pace: Arc<Pace>,
}

impl Paced {
    pub(crate) fn new(body: Body, pace: Arc<Pace>) -> Self {
        Self { body, pace }
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match frame {
            Poll::Pending => self.pace.awaits_client(),
            Poll::Ready(_) => self.pace.feeds_service(),
        }
        frame.map_err(|status| match status.code() {
            Code::Cancelled => Status::aborted("the request broke off"),
            _ => status,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Duration = Duration::from_secs(30);
    const SERVICE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn each_has_patience_with_the_other_from_its_own_turn_on() {
        tokio::time::pause();
        let began = Instant::now();
        let pace = Pace::default();
        let playing = async {
            // The service takes as long as it may, then the client, and in all it is more than either.
            for _ in 0..5 {
                tokio::time::sleep(SERVICE - Duration::from_secs(1)).await;
                pace.awaits_client();
                tokio::time::sleep(CLIENT - Duration::from_secs(1)).await;
                // Asked twice: the wait goes on.
                pace.awaits_client();
                pace.feeds_service();
            }
            std::future::pending().await
        };
        let overdue = tokio::select! {
            turn = pace.overdue(CLIENT, SERVICE) => turn,
            () = playing => unreachable!("it goes on for ever"),
        };
        assert_eq!(overdue, Turn::Service);
        assert_eq!(began.elapsed().as_secs(), 5 * (9 + 29) + 10);
    }

    #[tokio::test]
    async fn a_client_that_stalls_is_told_at_its_own_time() {
        tokio::time::pause();
        let began = Instant::now();
        let pace = Pace::default();
        tokio::time::sleep(Duration::from_secs(3)).await;
        pace.awaits_client();
        assert_eq!(pace.overdue(CLIENT, SERVICE).await, Turn::Client);
        assert_eq!(began.elapsed().as_secs(), 33);
    }
}
