//! As whom the steps of a run act.

use std::{sync::Arc, time::Duration};

use mesh::{
    Ctx, Error, Result,
    ctx::Caller,
    delegation::{DelegatedIdentity, DelegationGrant, Task},
    error::Reason,
    identity::{self, Identity, Purpose},
    service_identity::ServiceIdentity,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::fault::{Fault, Stop};
use crate::{app::App, scripts::organization_of};

/// One call of a step at most.
const CALL_MAX: Duration = Duration::from_secs(10);
/// For so long a step tries to reach a service that is away.
const PATIENCE: Duration = Duration::from_secs(300);
/// For so long it tries what takes too long, or what others change at the same time.
const PATIENCE_BUSY: Duration = Duration::from_secs(60);
/// For so long it asks for tokens that are refused: a change of rights is known everywhere by then.
const PATIENCE_TOKEN: Duration = Duration::from_secs(10);
/// Pauses between two attempts: from, to.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Whose rights count. Cheap to clone.
#[derive(Clone)]
pub(super) struct Actor {
    kind: Kind,
    /// Request id of all that is done, by which changes tell the run that made them.
    correlation_id: Arc<str>,
    /// The revision of the metadata that the caller has seen.
    revision: u64,
}

#[derive(Clone)]
enum Kind {
    User(DelegatedIdentity),
    System(ServiceIdentity),
}

impl Actor {
    /// The user that began it.
    pub(super) fn user(
        app: &App,
        grant: DelegationGrant,
        run_id: &str,
        correlation_id: &str,
    ) -> Self {
        let delegated = app.delegation.act(grant, task(run_id));
        Self::of(Kind::User(delegated), correlation_id, 0)
    }

    /// The same while their call is here: its token serves as long as it lasts.
    pub(super) fn caller(app: &App, ctx: &Ctx, run_id: &str, correlation_id: &str) -> Result<Self> {
        let delegated = app.delegation.act_for(ctx, task(run_id))?;
        Ok(Self::of(
            Kind::User(delegated),
            correlation_id,
            ctx.revision,
        ))
    }

    /// The platform.
    pub(super) fn system(app: &App, correlation_id: &str) -> Self {
        Self::of(Kind::System(app.own.clone()), correlation_id, 0)
    }

    fn of(kind: Kind, correlation_id: &str, revision: u64) -> Self {
        Self {
            kind,
            correlation_id: correlation_id.into(),
            revision,
        }
    }

    /// Whether it is a user.
    pub(super) fn is_user(&self) -> bool {
        matches!(self.kind, Kind::User(_))
    }

    /// The context of one call, within `limit`.
    ///
    /// # Errors
    /// As [`DelegatedIdentity::caller`] and [`ServiceIdentity::token`].
    pub(super) async fn ctx(&self, limit: Duration) -> Result<Ctx> {
        let caller = match &self.kind {
            Kind::User(delegated) => delegated.caller().await?,
            Kind::System(own) => Caller {
                token: own.token(Purpose::RunFlow).await?,
                identity: Arc::new(Identity {
                    subject: own.name().to_owned(),
                    purpose: Some(Purpose::RunFlow),
                    ..Identity::nobody(identity::Kind::Service)
                }),
            },
        };
        Ok(Ctx {
            request_id: Arc::clone(&self.correlation_id),
            revision: self.revision,
            ..Ctx::background(Some(caller), limit)
        })
    }

    /// Does something as them. What cannot be reached is tried again for a while, so it has to be
    /// safe to repeat.
    ///
    /// # Errors
    /// What was refused, as a fault; one that ends the run when they may not act any more.
    pub(super) async fn act<T, F>(&self, mut work: impl FnMut(Ctx) -> F + Send) -> Result<T, Stop>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let began = Instant::now();
        let mut pause = PAUSE.0;
        loop {
            let (error, is_theirs) = match self.ctx(CALL_MAX).await {
                Ok(ctx) => match work(ctx).await {
                    Ok(done) => return Ok(done),
                    Err(error) => (error, false),
                },
                Err(error) => (error, true),
            };
            // A change of rights overtook the token: another one is asked for, until all nodes have
            // heard of the change.
            if error.reason() == Reason::Unauthenticated {
                self.forget_token().await;
            }
            if began.elapsed() + pause > patience(&error) {
                let fault = match is_theirs {
                    true => Fault::ended(&error),
                    false => Fault::refused(&error),
                };
                return Err(fault.into());
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// The same for what an app wrote, which may take its time and fail as it likes: it is done again
    /// only where a service was away or refused the token.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub(super) async fn act_once<T, F>(
        &self,
        limit: Duration,
        mut work: impl FnMut(Ctx) -> F + Send,
    ) -> Result<T, Stop>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let began = Instant::now();
        let mut pause = PAUSE.0;
        loop {
            let ready = self.act(|ctx| async move { Ok(ctx) }).await?;
            let ctx = Ctx {
                deadline: std::time::Instant::now() + limit,
                ..ready
            };
            match work(ctx).await {
                Ok(done) => return Ok(done),
                // As after a crash it is done again, under the same keys.
                Err(error)
                    if (error.is_outcome_unknown()
                        || !matches!(
                            error.reason(),
                            Reason::Timeout | Reason::ConcurrentUpdate
                        ))
                        && began.elapsed() + pause < patience(&error) =>
                {
                    if error.reason() == Reason::Unauthenticated {
                        self.forget_token().await;
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
                Err(error) => return Err(Fault::refused(&error).into()),
            }
        }
    }

    /// A node has refused the token: rights have changed, and that node heard of it first.
    async fn forget_token(&self) {
        if let Kind::User(delegated) = &self.kind {
            delegated.forget_token().await;
        }
    }

    /// The user as expressions see them: of a run for the platform, only who started it.
    pub(super) async fn shown(&self, started_by: Option<&str>) -> Result<(Value, Value), Stop> {
        if !self.is_user() {
            let user = started_by.map_or(Value::Null, |id| json!({"id": id}));
            return Ok((user, Value::Null));
        }
        self.act(|ctx| async move {
            let identity = ctx.identity()?;
            Ok((identity.shown_to_apps(), organization_of(identity)))
        })
        .await
    }
}

/// For how long it is worth while to try again.
fn patience(error: &Error) -> Duration {
    match error.reason() {
        Reason::ServiceUnavailable => PATIENCE,
        Reason::Timeout if error.is_outcome_unknown() => PATIENCE,
        Reason::Timeout | Reason::ConcurrentUpdate => PATIENCE_BUSY,
        Reason::Unauthenticated => PATIENCE_TOKEN,
        _ => Duration::ZERO,
    }
}

fn task(run_id: &str) -> Task {
    Task {
        run_id: run_id.to_owned(),
        reason: "flow".to_owned(),
        // A run needs no session (docs/reference/security.md §10).
        while_waiting: false,
    }
}
