//! For whom the kernel works.

use std::sync::Arc;

use mesh::{
    Error, Result,
    identity::{Identity, Kind, Purpose},
};

/// Why the platform itself works with records, unrestricted. Closed: a new reason is a decision about
/// security, and stands in every audit entry of what is done for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemReason {
    /// Records that a package or the platform brings along are loaded.
    Seed,
    /// The records of users, members and organisations follow what auth-svc tells.
    ResolvePrincipal,
    /// A flow that an app declares to run as the system.
    RunFlow,
}

impl SystemReason {
    /// The word in audit and outbox.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::ResolvePrincipal => "resolve_principal",
            Self::RunFlow => "run_flow",
        }
    }
}

/// The platform itself; made by the kernel only.
#[derive(Debug, Clone, Copy)]
pub struct System {
    reason: SystemReason,
}

impl System {
    /// The one way to act without restrictions.
    pub(in crate::kernel) fn because(reason: SystemReason) -> Self {
        Self { reason }
    }

    /// Why.
    #[must_use]
    pub fn reason(self) -> SystemReason {
        self.reason
    }
}

/// For whom the kernel works. There is no default: a missing identity is a compile error.
#[derive(Debug, Clone)]
pub enum Principal {
    /// A person, within their rights.
    User(Arc<Identity>),
    /// The platform itself; unrestricted, and audited under its reason.
    System(System),
}

impl Principal {
    /// The principal that an identity stands for.
    ///
    /// # Errors
    /// PERMISSION_DENIED for a service that states no purpose for which records are touched.
    pub(in crate::kernel) fn of(identity: &Arc<Identity>) -> Result<Self> {
        let reason = match (identity.kind, identity.purpose) {
            (Kind::User, _) => return Ok(Self::User(Arc::clone(identity))),
            (Kind::Service, Some(Purpose::RunFlow)) => SystemReason::RunFlow,
            (Kind::Service, Some(Purpose::Seed)) => SystemReason::Seed,
            (Kind::Service, Some(Purpose::ResolvePrincipal)) => SystemReason::ResolvePrincipal,
            (
                Kind::Service,
                Some(
                    Purpose::FollowChanges
                    | Purpose::FollowRevocations
                    | Purpose::Delegate
                    | Purpose::FollowMetadata,
                )
                | None,
            ) => {
                let message = "A service must state a purpose for which it works with records";
                return Err(Error::denied(message));
            }
        };
        Ok(Self::System(System::because(reason)))
    }

    /// Whether the hooks and rules of an app apply: to people, and to flows of an app that run as
    /// system. The platform's own writes (seeds, projections) are no business of an app.
    #[must_use]
    pub fn is_bound_by_apps(&self) -> bool {
        match self {
            Self::User(_) => true,
            Self::System(system) => match system.reason() {
                SystemReason::RunFlow => true,
                SystemReason::Seed | SystemReason::ResolvePrincipal => false,
            },
        }
    }

    /// Id of the person; `None` for the platform.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::User(identity) => Some(&identity.subject),
            Self::System(_) => None,
        }
    }

    /// The organisation in which the person acts.
    #[must_use]
    pub fn organization_id(&self) -> Option<&str> {
        match self {
            Self::User(identity) => identity.organization_id.as_deref(),
            Self::System(_) => None,
        }
    }
}
