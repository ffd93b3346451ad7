//! What administrators do to users. The guard has checked `manage_users`.

use std::sync::Arc;

use mesh::{
    Ctx, Error, Result,
    audit::{Actor, Entry},
    error::Reason,
    identity::Identity,
};
use time::Duration;

use super::{App, admit, entry, profile, revoke, sign_in};
use crate::{
    domain::{
        audit::Action,
        identity::covers,
        input::{self, Page},
        throttle,
        user::{Ban, User},
    },
    store::{self, NewUser},
};

/// A user to create.
pub(crate) struct Account {
    /// Display name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// Password.
    pub password: String,
}

/// Creates a user who can sign in at once.
///
/// # Errors
/// As sign-up; PERMISSION_DENIED for API keys.
pub(crate) async fn create_user(app: &App, ctx: &Ctx, account: Account) -> Result<User> {
    let admin = admin_by_session(app, ctx).await?;
    let (user, password_hash) =
        sign_in::prepare_user(app, account.name, &account.email, account.password, None).await?;
    let new = NewUser {
        entry: by(ctx, admin, Action::UserCreated, &user.id),
        owner_entry_id: mesh::id::new(),
        user: user.clone(),
        password_hash,
        session: None,
    };
    if !store::users::create_user(&app.store, new).await? {
        return Err(Error::new(Reason::UserAlreadyExists, "User already exists"));
    }
    profile::tell_data(app, ctx, &user.id).await;
    Ok(user)
}

/// A page of users, oldest first, and how many fit in all.
///
/// # Errors
/// UNAUTHENTICATED when the administrator's session is over.
pub(crate) async fn list_users(app: &App, ctx: &Ctx, page: &Page) -> Result<(Vec<User>, i64)> {
    admit::admin(app, ctx).await?;
    store::users::page(&app.store, page).await
}

/// Sets a user's password and ends their sessions.
///
/// # Errors
/// PASSWORD_TOO_SHORT, PASSWORD_TOO_LONG; NOT_FOUND; PERMISSION_DENIED for API keys, and for a
/// user with rights that the administrator lacks: whoever sets a password can sign in with it.
pub(crate) async fn set_user_password(
    app: &Arc<App>,
    ctx: &Ctx,
    user_id: &str,
    new: String,
) -> Result<()> {
    let admin = admin_by_session(app, ctx).await?;
    input::new_password(&new, app.email_and_password.min_password_length)?;
    let user = find(app, user_id).await?;
    if !admin.is_admin() && user.id != admin.subject {
        let owner = store::users::is_owner(&app.store, &user.id).await?;
        let rights = app.principals.resolve(ctx, &user, owner, None).await?;
        if owner || !covers(admin, &rights) {
            return Err(
                Error::denied("The user has rights that you lack").with("reason", "ESCALATION")
            );
        }
    }
    let hash = app.passwords.hash(new).await?;
    let accounts = vec![
        throttle::sign_in_key(&user.email),
        throttle::current_password_key(&user.id),
    ];
    let noted = by(ctx, admin, Action::PasswordSet, &user.id);
    let ended =
        store::credentials::set_password(&app.store, &user.id, hash, accounts, noted).await?;
    revoke::announce_ended(app, ended.ok_or_else(not_found)?).await;
    Ok(())
}

/// Keeps a user from signing in, for some seconds or for good, and ends their sessions.
///
/// # Errors
/// NOT_FOUND; INVALID_STATE for oneself and for the platform's owner; VALIDATION_ERROR.
pub(crate) async fn ban_user(
    app: &Arc<App>,
    ctx: &Ctx,
    user_id: &str,
    reason: Option<&str>,
    expires_in_s: Option<u32>,
) -> Result<User> {
    let admin = admit::admin(app, ctx).await?;
    let reason = input::ban_reason(reason)?;
    if expires_in_s == Some(0) {
        let message = "banExpiresIn must be more than 0 seconds";
        return Err(Error::validation("INVALID_REQUEST", message).with("parameter", "banExpiresIn"));
    }
    let user = find(app, user_id).await?;
    dispensable(app, admin, &user, "banned").await?;
    let noted = by(ctx, admin, Action::UserBanned, &user.id);
    let until = expires_in_s.map(|seconds| noted.at + Duration::seconds(seconds.into()));
    let ban = Ban { reason, until };
    let (user, ended) = store::users::set_ban(&app.store, &user.id, Some(ban), noted)
        .await?
        .ok_or_else(not_found)?;
    revoke::announce_ended(app, ended).await;
    profile::tell_data(app, ctx, &user.id).await;
    Ok(user)
}

/// Lets a user sign in again.
///
/// # Errors
/// NOT_FOUND.
pub(crate) async fn unban_user(app: &App, ctx: &Ctx, user_id: &str) -> Result<User> {
    let admin = admit::admin(app, ctx).await?;
    let user = find(app, user_id).await?;
    let noted = by(ctx, admin, Action::UserUnbanned, &user.id);
    let (user, _ended) = store::users::set_ban(&app.store, &user.id, None, noted)
        .await?
        .ok_or_else(not_found)?;
    profile::tell_data(app, ctx, &user.id).await;
    Ok(user)
}

/// Deletes a user, their credentials and sessions.
///
/// # Errors
/// NOT_FOUND; INVALID_STATE for oneself and for the platform's owner.
pub(crate) async fn remove_user(app: &Arc<App>, ctx: &Ctx, user_id: &str) -> Result<()> {
    let admin = admit::admin(app, ctx).await?;
    let user = find(app, user_id).await?;
    dispensable(app, admin, &user, "removed").await?;
    let noted = by(ctx, admin, Action::UserRemoved, &user.id);
    let ended = store::users::remove_user(&app.store, &user.id, noted)
        .await?
        .ok_or_else(not_found)?;
    revoke::announce_ended(app, ended).await;
    profile::tell_data(app, ctx, &user.id).await;
    Ok(())
}

/// An administrator in a session of their own.
async fn admin_by_session<'c>(app: &App, ctx: &'c Ctx) -> Result<&'c Identity> {
    let admin = admit::admin(app, ctx).await?;
    if admin.key_id.is_some() {
        return Err(Error::denied("An API key does not reach credentials").with("reason", "SCOPE"));
    }
    Ok(admin)
}

async fn find(app: &App, user_id: &str) -> Result<User> {
    if !input::can_be_id(user_id) {
        return Err(not_found());
    }
    store::users::find(&app.store, user_id)
        .await?
        .ok_or_else(not_found)
}

/// # Errors
/// INVALID_STATE when the platform cannot do without the user, or it is the caller.
async fn dispensable(app: &App, admin: &Identity, user: &User, verb: &str) -> Result<()> {
    let (message, reason) = if store::users::is_owner(&app.store, &user.id).await? {
        (
            format!("The platform's owner cannot be {verb}"),
            "LAST_ADMIN",
        )
    } else if user.id == admin.subject {
        (format!("You cannot be {verb} by yourself"), "SELF")
    } else {
        return Ok(());
    };
    Err(Error::new(Reason::InvalidState, message).with("reason", reason))
}

fn by(ctx: &Ctx, admin: &Identity, action: Action, subject: &str) -> Entry {
    entry(ctx, action, Actor::of(admin), Some(subject))
}

fn not_found() -> Error {
    Error::not_found("USER_NOT_FOUND", "User not found")
}
