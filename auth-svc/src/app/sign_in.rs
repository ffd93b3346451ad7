//! Signing up and in.

use std::sync::Arc;

use mesh::{Ctx, Error, Result, audit::Actor, clock, error::Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ATTEMPTS_AT_ONCE, App, Begun, entry};
use crate::{
    domain::{
        audit::Action,
        input,
        throttle::{self, AccountKey},
        user::User,
    },
    store::{self, NewUser},
};

/// A new user.
pub(crate) struct SignUp {
    /// Display name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// Password.
    pub password: String,
    /// Address of a picture.
    pub image: Option<String>,
    /// False makes a session that ends with the browser.
    pub remember: bool,
    /// Where to go on.
    pub callback_url: Option<String>,
}

/// A credential.
pub(crate) struct SignIn {
    /// E-mail address.
    pub email: String,
    /// Password.
    pub password: String,
    /// False makes a session that ends with the browser.
    pub remember: bool,
    /// Where to go on.
    pub callback_url: Option<String>,
}

/// Creates a user and signs them in.
///
/// # Errors
/// EMAIL_PASSWORD_SIGN_UP_DISABLED, VALIDATION_ERROR, INVALID_EMAIL, PASSWORD_TOO_SHORT,
/// PASSWORD_TOO_LONG, INVALID_ORIGIN, USER_ALREADY_EXISTS.
pub(crate) async fn sign_up(app: &App, ctx: &Ctx, asked: SignUp) -> Result<Begun> {
    if !app.email_and_password.enabled || app.email_and_password.disable_sign_up {
        return Err(Error::new(
            Reason::EmailPasswordSignUpDisabled,
            "Email and password sign up is not enabled",
        ));
    }
    input::callback_url(asked.callback_url.as_deref(), &app.callback_origins)?;
    let image = input::image(asked.image.as_deref())?;
    let (user, password_hash) =
        prepare_user(app, asked.name, &asked.email, asked.password, image).await?;
    let (session, token) = app.new_session(ctx, &user.id, asked.remember);
    let cookie = app.cookie_for(&session, &token);
    let actor = Actor::User(user.id.clone());
    let new = NewUser {
        entry: entry(ctx, Action::UserCreated, actor, Some(&user.id)),
        owner_entry_id: mesh::id::new(),
        user: user.clone(),
        password_hash,
        session: Some(session),
    };
    if !store::users::create_user(&app.store, new).await? {
        return Err(taken());
    }
    Ok(Begun {
        token,
        cookie,
        user,
    })
}

/// Checks what is said about a new user and hashes the password.
pub(super) async fn prepare_user(
    app: &App,
    name: String,
    email: &str,
    password: String,
    image: Option<String>,
) -> Result<(User, String)> {
    let name = input::name(&name)?;
    let email = input::email(email)?;
    input::new_password(&password, app.email_and_password.min_password_length)?;
    // Asked before hashing only to save the work: the insert decides.
    if store::users::email_taken(&app.store, &email).await? {
        return Err(taken());
    }
    let hash = app.passwords.hash(password).await?;
    let user = User::new(mesh::id::new(), name, email, image, clock::now());
    Ok((user, hash))
}

/// Signs a user in. The session, and where to go on.
///
/// # Errors
/// INVALID_EMAIL_OR_PASSWORD, the same and after the same work whether or not there is such a
/// user; RATE_LIMITED after too many misses, likewise; BANNED_USER; INVALID_EMAIL;
/// INVALID_ORIGIN.
pub(crate) async fn sign_in(
    app: &App,
    ctx: &Ctx,
    asked: SignIn,
) -> Result<(Begun, Option<String>)> {
    if !app.email_and_password.enabled {
        return Err(Error::denied("Email and password sign in is not enabled"));
    }
    let email = input::email(&asked.email)?;
    let callback_url = input::callback_url(asked.callback_url.as_deref(), &app.callback_origins)?;
    let account = throttle::sign_in_key(&email);
    let _turn = take_attempt(app, account).await?;
    let (user, hash) = match store::credentials::credential(&app.store, &email).await? {
        Some((user, hash)) => (Some(user), hash),
        None => (None, None),
    };
    let fits = app
        .passwords
        .verify(asked.password, hash.as_deref())
        .await?;
    let (Some(user), Some(hash), true) = (&user, hash, fits) else {
        let subject = user.as_ref().map(|user| &*user.id);
        return Err(missed(app, ctx, subject).await?);
    };
    let (session, token) = app.new_session(ctx, &user.id, asked.remember);
    let cookie = app.cookie_for(&session, &token);
    let actor = Actor::User(user.id.clone());
    let noted = entry(ctx, Action::SignIn, actor, Some(&user.id));
    match store::credentials::sign_in(&app.store, session, hash, account, noted).await? {
        Some(user) => Ok((
            Begun {
                token,
                cookie,
                user,
            },
            callback_url,
        )),
        // The password changed while it was being verified.
        None => Err(missed(app, ctx, Some(&user.id)).await?),
    }
}

/// Takes an attempt at an account, in turn. The attempt counts as a miss until the password was
/// right.
///
/// # Errors
/// RATE_LIMITED while the account has to wait.
pub(super) async fn take_attempt(app: &App, account: AccountKey) -> Result<OwnedSemaphorePermit> {
    // A burst at a blocked account is turned away by a read, without waiting for a turn.
    let now = clock::now();
    if let Some(until) = store::throttle::blocked_until(&app.store, &account, now).await? {
        return Err(wait(until, now));
    }
    let turns = app
        .attempts
        .get_or_insert(account, || Arc::new(Semaphore::new(ATTEMPTS_AT_ONCE)));
    let turn = turns.acquire_owned().await.map_err(Error::internal)?;
    let now = clock::now();
    match store::throttle::take_attempt(&app.store, account, app.throttle, now).await? {
        Some(until) => Err(wait(until, now)),
        None => Ok(turn),
    }
}

async fn missed(app: &App, ctx: &Ctx, subject: Option<&str>) -> Result<Error> {
    let noted = entry(ctx, Action::SignInFailed, Actor::Anonymous, subject);
    store::audit::note(&app.store, noted).await?;
    Ok(Error::new(
        Reason::InvalidEmailOrPassword,
        "Invalid email or password",
    ))
}

fn taken() -> Error {
    Error::new(Reason::UserAlreadyExists, "User already exists")
}

fn wait(until: time::OffsetDateTime, now: time::OffsetDateTime) -> Error {
    let seconds = throttle::retry_after_s(until, now);
    Error::new(
        Reason::RateLimited,
        format!("Too many failed attempts; try again in {seconds} seconds"),
    )
    .with("retryAfter", seconds)
}
