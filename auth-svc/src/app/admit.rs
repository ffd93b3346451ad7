//! Who acts, told by the database: an identity token outlives its session by up to a minute, and
//! nothing about accounts may be done with one whose session is over.

use mesh::{
    Ctx, Error, Result,
    identity::{Identity, Kind},
};

use super::App;
use crate::{
    domain::{session::Session, user::User},
    store,
};

/// A user who acts in a live session.
pub(crate) struct SignedIn {
    /// The session.
    pub session: Session,
    /// The user.
    pub user: User,
}

/// The user and session behind the call.
///
/// # Errors
/// UNAUTHENTICATED when nobody is signed in or the session is over; PERMISSION_DENIED for API
/// keys, which reach no credentials, and for services.
pub(crate) async fn signed_in(app: &App, ctx: &Ctx) -> Result<SignedIn> {
    let identity = ctx.identity()?;
    if identity.key_id.is_some() {
        return Err(Error::denied("An API key does not reach credentials").with("reason", "SCOPE"));
    }
    if identity.kind == Kind::Service {
        return Err(Error::denied("Only users have sessions"));
    }
    not_delegated(identity)?;
    current(app, ctx, identity).await?.ok_or_else(over)
}

/// The user and session behind the call, if somebody is signed in.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn signed_in_if_any(app: &App, ctx: &Ctx) -> Result<Option<SignedIn>> {
    match &ctx.caller {
        Some(caller) => current(app, ctx, &caller.identity).await,
        None => Ok(None),
    }
}

/// Checks that the administrator who calls is still signed in. The guard has checked their
/// right.
///
/// # Errors
/// UNAUTHENTICATED when the session is over or the user is gone.
pub(super) async fn admin<'c>(app: &App, ctx: &'c Ctx) -> Result<&'c Identity> {
    let identity = ctx.identity()?;
    not_delegated(identity)?;
    let good = match (identity.kind, &identity.key_id) {
        (Kind::Service, _) => true,
        (Kind::User, Some(_)) => {
            let user = store::users::find(&app.store, &identity.subject).await?;
            user.is_some_and(|user| user.ban_at(ctx.now).is_none())
        }
        (Kind::User, None) => current(app, ctx, identity).await?.is_some(),
    };
    if good { Ok(identity) } else { Err(over()) }
}

async fn current(app: &App, ctx: &Ctx, identity: &Identity) -> Result<Option<SignedIn>> {
    let Some(id) = &identity.session_id else {
        return Ok(None);
    };
    let found = store::sessions::session_by_id(&app.store, id).await?;
    let live = found.filter(|(session, user)| {
        session.is_live(ctx.now) && user.ban_at(ctx.now).is_none() && user.id == identity.subject
    });
    Ok(live.map(|(session, user)| SignedIn { session, user }))
}

/// # Errors
/// PERMISSION_DENIED for a service that works for the user: agents and flows change no accounts.
fn not_delegated(identity: &Identity) -> Result<()> {
    match &identity.actor {
        Some(actor) => {
            let message = format!("{} does not reach accounts for a user", actor.service);
            Err(Error::denied(message).with("reason", "DELEGATED"))
        }
        None => Ok(()),
    }
}

fn over() -> Error {
    Error::unauthenticated("The session is not valid or has ended")
}
