//! A service behind the gateway, and the only layer of the mesh that makes calls again
//!.
//!
//! Invariant: a call is made again only when that does no harm (it surely did not run, or running
//! twice is the same as once), at most [`REPEATS_MAX`] times, within its deadline, and within a
//! budget of a fifth of the calls, so that an outage is not multiplied.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use mesh::{
    Ctx, Error, Link,
    call::{self, Answer, Failure, Outcome},
    error::Reason,
};
use tower::retry::budget::{Budget as _, TpsBudget};
use transcoding::{Form, Route};

use crate::{
    stream::{self, Opened},
    upload::Upload,
};

/// How often a call is made again at most.
const REPEATS_MAX: u32 = 2;
/// Longest pause before the first repeat; half of it is random. Short, since the link turns to
/// another replica by itself. Each further one is longer by [`GROWTH`].
const PAUSE: Duration = Duration::from_millis(20);
const GROWTH: u32 = 6;
/// Time that must be left after the pause for a repeat to make sense.
const MARGIN: Duration = Duration::from_millis(20);

/// Calls and repeats are weighed over this time.
const BUDGET_FOR: Duration = Duration::from_secs(10);
/// Repeats a second that are always there: without them a service that is seldom called had none.
const RESERVE_PER_S: u32 = 1;
/// What a call is worth of a repeat.
const SHARE: f32 = 0.2;

/// A service and what may be repeated to it.
pub(crate) struct Upstream {
    pub(crate) name: &'static str,
    pub(crate) link: Link,
    budget: TpsBudget,
}

impl Upstream {
    pub(crate) fn new(name: &'static str, link: Link) -> Self {
        Self {
            name,
            link,
            budget: TpsBudget::new(BUDGET_FOR, RESERVE_PER_S, SHARE),
        }
    }

    /// Calls the route's RPC; again when it fails in a way that allows it.
    pub(crate) async fn call(
        &self,
        route: &Route,
        message: Bytes,
        ctx: &Ctx,
        cookie: Option<&str>,
        repeatable: bool,
    ) -> Result<Answer, Error> {
        self.note_call();
        let mut retries = Retries::new(self);
        loop {
            let called = call::unary(self.link.clone(), route, message.clone(), ctx, cookie).await;
            let failure = match called {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let may = match failure.outcome {
                Outcome::NotSent => true,
                Outcome::Declined | Outcome::Unknown => repeatable,
                Outcome::Answered => false,
            };
            if !may || !retries.another(ctx.deadline).await {
                return Err(told(failure, route));
            }
        }
    }

    /// Opens the stream of the route's RPC; again when it surely did not begin.
    pub(crate) async fn open(
        &self,
        route: &Route,
        form: &Arc<Form>,
        message: Bytes,
        ctx: &Ctx,
    ) -> Result<Opened, Error> {
        self.note_call();
        let mut retries = Retries::new(self);
        loop {
            let opened = stream::open(self.link.clone(), route, form, message.clone(), ctx).await;
            let failure = match opened {
                Ok(opened) => return Ok(opened),
                Err(failure) => failure,
            };
            let may = failure.outcome == Outcome::NotSent;
            if !may || !retries.another(ctx.deadline).await {
                return Err(told(failure, route));
            }
        }
    }

    /// Passes a body on to the route's RPC; again when it surely did not run and nothing of the body was
    /// taken.
    pub(crate) async fn upload(
        &self,
        route: &Route,
        upload: &Upload,
        first: &Bytes,
        ctx: &Ctx,
        cookie: Option<&str>,
    ) -> Result<Answer, Error> {
        self.note_call();
        let mut retries = Retries::new(self);
        loop {
            let messages = upload.messages(first.clone());
            let called = call::streaming(self.link.clone(), route, messages, ctx, cookie).await;
            let failure = match called {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let may = failure.outcome == Outcome::NotSent && !upload.has_begun();
            if !may || !retries.another(ctx.deadline).await {
                return Err(told(failure, route));
            }
        }
    }

    /// A call was made, so more may be repeated.
    pub(crate) fn note_call(&self) {
        self.budget.deposit();
    }
}

/// What a client is told of a call that failed for good. A change of which nobody knows whether it was
/// made must not look like one that was not.
fn told(failure: Failure, route: &Route) -> Error {
    let silent = failure.outcome == Outcome::Unknown && !route.safe;
    if !silent || failure.error.is_outcome_unknown() {
        return failure.error;
    }
    match failure.error.reason() {
        // It names the deadline.
        Reason::Timeout => failure.error.with("outcome", "unknown"),
        _ => Error::outcome_unknown("The service").with_cause(failure.error),
    }
}

/// The repeats of one call.
pub(crate) struct Retries<'u> {
    upstream: &'u Upstream,
    made: u32,
}

impl<'u> Retries<'u> {
    pub(crate) fn new(upstream: &'u Upstream) -> Self {
        Self { upstream, made: 0 }
    }

    /// Whether the call may be made again, after a pause. The caller has made sure that it does no
    /// harm.
    pub(crate) async fn another(&mut self, deadline: Instant) -> bool {
        let pause = jittered(PAUSE * GROWTH.pow(self.made));
        let left = deadline.saturating_duration_since(Instant::now());
        if self.made >= REPEATS_MAX || left <= pause + MARGIN {
            return false;
        }
        let within_budget = self.upstream.budget.withdraw();
        metrics::counter!(
            "objectmesh_repeats_total",
            "peer" => self.upstream.name,
            "outcome" => if within_budget { "made" } else { "over_budget" }
        )
        .increment(1);
        if !within_budget {
            return false;
        }
        self.made += 1;
        tokio::time::sleep(pause).await;
        true
    }
}

/// Between half of `longest` and all of it: gateways that saw the same failure come back apart.
fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_a_fifth_of_the_calls_and_a_reserve() {
        let upstream = Upstream::new("test", Link::unbound());
        let spent = |upstream: &Upstream| (0..).take_while(|_| upstream.budget.withdraw()).count();
        assert_eq!(spent(&upstream), 10);
        for _ in 0..100 {
            upstream.note_call();
        }
        assert_eq!(spent(&upstream), 20);
    }

    #[tokio::test]
    async fn a_call_is_not_repeated_for_ever_nor_past_its_deadline() {
        tokio::time::pause();
        let upstream = Upstream::new("test", Link::unbound());
        let mut retries = Retries::new(&upstream);
        let deadline = Instant::now() + Duration::from_secs(10);
        assert!(retries.another(deadline).await);
        assert!(retries.another(deadline).await);
        assert!(!retries.another(deadline).await);
        let soon = Instant::now() + MARGIN;
        assert!(!Retries::new(&upstream).another(soon).await);
    }
}
