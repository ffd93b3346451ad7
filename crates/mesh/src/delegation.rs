//! Work of a service for a user that outlives the token it began with: fresh tokens of auth-svc, with
//! today's rights, until the work ends or has to (docs/reference/security.md §10).
//!
//! Invariant: the work never has more than the organisation and the scopes it began with, and ends
//! with the session or key while a caller waits for it.

use std::{sync::Arc, time::Duration};

use proto::auth::v1::{
    DelegatedScopes, IssueDelegatedTokenRequest, identity_service_client::IdentityServiceClient,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, time::sleep};

use crate::{
    Ctx, Error, Link, Result, clock,
    ctx::Caller,
    error::Reason,
    identity::{Identity, Kind, Purpose},
    resolver::{Credential, Resolver},
    service_identity::ServiceIdentity,
    telemetry::Trace,
};

/// A token is renewed when less than this is left of it, in milliseconds.
const LEFT_MIN_MS: i64 = 15_000;
/// The longest auth-svc may take to issue one.
const LIMIT: Duration = Duration::from_secs(5);
/// How often it is looked whether the work may go on, by [`DelegatedIdentity::ended`].
const LOOK: Duration = Duration::from_millis(500);

/// How the work began; stored with it, so that it goes on after a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DelegationGrant {
    /// The user.
    pub user_id: String,
    /// The session in which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The API key by which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The organisation in which the user acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// What the key was narrowed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

impl DelegationGrant {
    /// As that identity says.
    ///
    /// # Errors
    /// PERMISSION_DENIED for a service, which acts for nobody.
    pub fn of(identity: &Identity) -> Result<Self> {
        if identity.kind != Kind::User {
            return Err(Error::denied("Only a user can begin this"));
        }
        Ok(Self {
            user_id: identity.subject.clone(),
            session_id: identity.session_id.clone(),
            key_id: identity.key_id.clone(),
            organization_id: identity.organization_id.clone(),
            scopes: identity.scopes.clone(),
        })
    }

    /// For that user, whatever they began it with: what a trigger or a decision starts.
    #[must_use]
    pub fn by_itself(user_id: &str, organization_id: Option<&str>) -> Self {
        Self {
            user_id: user_id.to_owned(),
            session_id: None,
            key_id: None,
            organization_id: organization_id.map(str::to_owned),
            scopes: None,
        }
    }
}

/// Why the work is done.
#[derive(Clone, Debug)]
pub struct Task {
    /// Id of the run, conversation or approval.
    pub run_id: String,
    /// In a word or two, for the audit.
    pub reason: String,
    /// Whether a caller waits: then the session or key must live, too.
    pub while_waiting: bool,
}

/// The way to tokens for users. Cheap to clone.
#[derive(Clone)]
pub struct Delegation {
    auth: Link,
    own: ServiceIdentity,
    resolver: Resolver,
}

impl Delegation {
    /// Of a service with that identity.
    #[must_use]
    pub fn new(auth: Link, own: ServiceIdentity, resolver: Resolver) -> Self {
        Self {
            auth,
            own,
            resolver,
        }
    }

    /// Begins to act; the first token is asked for when it is needed.
    #[must_use]
    pub fn act(&self, grant: DelegationGrant, task: Task) -> DelegatedIdentity {
        DelegatedIdentity(Arc::new(Inner {
            delegation: self.clone(),
            grant,
            task,
            held: Mutex::default(),
        }))
    }

    /// The same for a call in progress: the caller's own token serves as long as it lasts.
    ///
    /// # Errors
    /// As [`DelegationGrant::of`], UNAUTHENTICATED without a caller.
    pub fn act_for(&self, ctx: &Ctx, task: Task) -> Result<DelegatedIdentity> {
        let grant = DelegationGrant::of(ctx.identity()?)?;
        // A caller that is itself somebody's work has no session to wait with.
        let while_waiting =
            task.while_waiting && (grant.session_id.is_some() || grant.key_id.is_some());
        let held = ctx.caller.clone().map(|caller| Held {
            // When it ends is not known here; so it is renewed soon.
            expires_at_ms: clock::unix_ms() + LEFT_MIN_MS + 10_000,
            caller,
        });
        Ok(DelegatedIdentity(Arc::new(Inner {
            delegation: self.clone(),
            grant,
            task: Task {
                while_waiting,
                ..task
            },
            held: Mutex::new(held),
        })))
    }

    async fn ask(&self, grant: &DelegationGrant, task: &Task) -> Result<Held> {
        let message = IssueDelegatedTokenRequest {
            user_id: grant.user_id.clone(),
            session_id: grant.session_id.clone().unwrap_or_default(),
            key_id: grant.key_id.clone().unwrap_or_default(),
            while_waiting: task.while_waiting,
            organization_id: grant.organization_id.clone().unwrap_or_default(),
            scopes: grant.scopes.clone().map(|names| DelegatedScopes { names }),
            run_id: task.run_id.clone(),
            reason: task.reason.clone(),
        };
        let request = self.own.request(Purpose::Delegate, LIMIT, message).await?;
        let answer = IdentityServiceClient::new(self.auth.clone())
            .issue_delegated_token(request)
            .await
            .map_err(|status| Error::from_status(&status))?
            .into_inner();
        let credential = Credential::Bearer(answer.identity_token);
        Ok(Held {
            caller: self.resolver.resolve(&credential).await?,
            expires_at_ms: answer.expires_at_ms,
        })
    }
}

/// Work in progress. Clones share the token.
#[derive(Clone)]
pub struct DelegatedIdentity(Arc<Inner>);

struct Inner {
    delegation: Delegation,
    grant: DelegationGrant,
    task: Task,
    held: Mutex<Option<Held>>,
}

struct Held {
    caller: Caller,
    expires_at_ms: i64,
}

impl DelegatedIdentity {
    /// The same work with a token that is yet to be asked for: after one was refused because the
    /// user's rights changed in that moment.
    #[must_use]
    pub fn renewed(&self) -> Self {
        let inner = &self.0;
        let grant = inner.grant.clone();
        inner.delegation.act(grant, inner.task.clone())
    }

    /// How the work began.
    #[must_use]
    pub fn grant(&self) -> &DelegationGrant {
        &self.0.grant
    }

    /// Who acts, with a token that is good for a while and today's rights.
    ///
    /// # Errors
    /// PERMISSION_DENIED with `reason` USER_DISABLED, SESSION_ENDED, KEY_ENDED or NOT_A_MEMBER when
    /// the work must end; SERVICE_UNAVAILABLE.
    pub async fn caller(&self) -> Result<Caller> {
        let mut slot = self.0.held.lock().await;
        if let Some(held) = &*slot
            && held.expires_at_ms - clock::unix_ms() > LEFT_MIN_MS
        {
            let credential = Credential::Bearer(held.caller.token.to_string());
            // Verified here, with what the feed of revocations told: asks nobody.
            match self.0.delegation.resolver.resolve(&credential).await {
                Ok(caller) => return Ok(caller),
                Err(error) if error.reason() == Reason::Unauthenticated => {}
                Err(error) => return Err(error),
            }
        }
        let fresh = self.0.delegation.ask(&self.0.grant, &self.0.task).await;
        let fresh = fresh.inspect_err(|error| {
            if error.reason() == Reason::PermissionDenied {
                tracing::info!(run.id = self.0.task.run_id, %error, "work for a user has to end");
            }
        })?;
        Ok(slot.insert(fresh).caller.clone())
    }

    /// Forgets the token that is held: another node has refused it, because it heard of a change of
    /// rights before this one did.
    pub async fn forget_token(&self) {
        *self.0.held.lock().await = None;
    }

    /// The context of one call of this work, within `limit`. It belongs to the trace of the current
    /// span.
    ///
    /// # Errors
    /// As [`DelegatedIdentity::caller`].
    pub async fn ctx(&self, limit: Duration) -> Result<Ctx> {
        Ok(Ctx::background(Some(self.caller().await?), limit))
    }

    /// The same as part of a call in progress: its request id and trace, and no later than it.
    ///
    /// # Errors
    /// As [`DelegatedIdentity::caller`].
    pub async fn ctx_within(&self, ctx: &Ctx, limit: Duration) -> Result<Ctx> {
        Ok(Ctx {
            caller: Some(self.caller().await?),
            deadline: ctx.deadline.min(std::time::Instant::now() + limit),
            now: clock::now(),
            trace: Trace::current().or_else(|| ctx.trace.clone()),
            records_as_json: true,
            ..ctx.clone()
        })
    }

    /// Resolves, with the reason, once the work has to end; looks twice a second. While that cannot
    /// be told the work goes on, until its token ends.
    pub async fn ended(&self) -> Error {
        loop {
            match self.caller().await {
                Err(error)
                    if matches!(
                        error.reason(),
                        Reason::PermissionDenied | Reason::Unauthenticated
                    ) =>
                {
                    return error;
                }
                Ok(_) | Err(_) => sleep(LOOK).await,
            }
        }
    }
}
