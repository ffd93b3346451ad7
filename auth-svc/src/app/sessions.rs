//! Sessions of the one who asks.

use std::sync::Arc;

use mesh::{Ctx, Error, Result, audit::Actor, error::Reason};

use super::{App, Begun, SignedIn, admit, entry, revoke, sign_in};
use crate::{
    domain::{audit::Action, input, session::Session, throttle},
    store::{self, Which},
};

/// No token has this hash that anybody could find.
const NO_TOKEN: [u8; 32] = [0; 32];

/// Ends the session of the call, if there is one.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn sign_out(app: &Arc<App>, ctx: &Ctx) -> Result<()> {
    let Some(identity) = ctx.caller.as_ref().map(|caller| &caller.identity) else {
        return Ok(());
    };
    // Not asked whether it is live: what has ended is cleared away all the same.
    let Some(session_id) = identity.session_id.clone() else {
        return Ok(());
    };
    let which = Which::One {
        id: session_id,
        token_hash: NO_TOKEN,
    };
    end(app, ctx, &identity.subject, which, Action::SignOut).await
}

/// Prolongs a session that is used now, when it is time.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn prolong(app: &App, ctx: &Ctx, session: &mut Session) -> Result<()> {
    if let Some(expires_at) = app.lifetimes.prolong(session, ctx.now) {
        store::sessions::prolong(&app.store, session, ctx.now, expires_at).await?;
        (session.updated_at, session.expires_at) = (ctx.now, expires_at);
    }
    Ok(())
}

/// The token of a session, when this is what the caller sent along, as a cookie or otherwise.
#[must_use]
pub(crate) fn token_of<'t>(app: &App, session: &Session, sent: Option<&'t str>) -> Option<&'t str> {
    let token = app.secrets.open_bearer(sent?)?;
    (mesh::session::hash(token) == session.token_hash).then_some(token)
}

/// The `Set-Cookie` value that prolongs a cookie with its session.
#[must_use]
pub(crate) fn renewed_cookie(app: &App, session: &Session, token: &str) -> String {
    app.cookie_for(session, token)
}

/// The sessions of the caller, newest first.
///
/// # Errors
/// As [`admit::acting`].
pub(crate) async fn list_sessions(app: &App, ctx: &Ctx) -> Result<Vec<Session>> {
    let signed_in = admit::signed_in(app, ctx).await?;
    store::sessions::live_sessions(&app.store, &signed_in.user.id, ctx.now).await
}

/// Ends the session of that handle or token, if it is the caller's.
///
/// # Errors
/// As [`admit::acting`].
pub(crate) async fn revoke_session(app: &Arc<App>, ctx: &Ctx, handle_or_token: &str) -> Result<()> {
    let signed_in = admit::signed_in(app, ctx).await?;
    let token_hash = app
        .secrets
        .open_bearer(handle_or_token)
        .map_or(NO_TOKEN, mesh::session::hash);
    let id = if input::can_be_id(handle_or_token) {
        handle_or_token
    } else {
        ""
    };
    let which = Which::One {
        id: id.to_owned(),
        token_hash,
    };
    end(app, ctx, &signed_in.user.id, which, Action::SessionRevoked).await
}

/// Ends all sessions of the caller, or all but the one that asks.
///
/// # Errors
/// As [`admit::acting`].
pub(crate) async fn revoke_sessions(app: &Arc<App>, ctx: &Ctx, but_own: bool) -> Result<()> {
    let SignedIn { session, user } = admit::signed_in(app, ctx).await?;
    let which = if but_own {
        Which::AllBut(session.id)
    } else {
        Which::All
    };
    end(app, ctx, &user.id, which, Action::SessionRevoked).await
}

async fn end(app: &Arc<App>, ctx: &Ctx, user_id: &str, which: Which, action: Action) -> Result<()> {
    let noted = entry(ctx, action, Actor::User(user_id.to_owned()), Some(user_id));
    let ended = store::sessions::end_sessions(&app.store, user_id, which, noted).await?;
    revoke::announce_ended(app, ended).await;
    Ok(())
}

/// Changes the caller's password, ends all their sessions and begins a new one.
///
/// # Errors
/// PASSWORD_TOO_SHORT, PASSWORD_TOO_LONG; INVALID_PASSWORD when the current one does not fit;
/// RATE_LIMITED after too many such misses; as [`admit::acting`].
pub(crate) async fn change_password(
    app: &Arc<App>,
    ctx: &Ctx,
    current: String,
    new: String,
) -> Result<Begun> {
    let SignedIn { session: old, user } = admit::signed_in(app, ctx).await?;
    input::new_password(&new, app.email_and_password.min_password_length)?;
    let account = throttle::current_password_key(&user.id);
    let _turn = sign_in::take_attempt(app, account).await?;
    let actor = Actor::User(user.id.clone());
    let old_hash = store::credentials::password_hash(&app.store, &user.id).await?;
    let fits = app.passwords.verify(current, old_hash.as_deref()).await?;
    let (Some(old_hash), true) = (old_hash, fits) else {
        let noted = entry(ctx, Action::PasswordChangeFailed, actor, Some(&user.id));
        store::audit::note(&app.store, noted).await?;
        return Err(invalid_password());
    };
    let new_hash = app.passwords.hash(new).await?;
    let (mut session, token) = app.new_session(ctx, &user.id, old.remember);
    session.active_organization_id = old.active_organization_id;
    let cookie = app.cookie_for(&session, &token);
    let noted = entry(ctx, Action::PasswordChange, actor, Some(&user.id));
    let ended = store::credentials::change_password(
        &app.store, session, old_hash, new_hash, account, noted,
    )
    .await?
    .ok_or_else(invalid_password)?;
    revoke::announce_ended(app, ended).await;
    Ok(Begun {
        token,
        cookie,
        user,
    })
}

fn invalid_password() -> Error {
    Error::new(Reason::InvalidPassword, "Invalid password")
}
