//! Fresh tokens for work that outlives one: an agent's loop, a flow, a schedule, an approved action
//! (docs/reference/security.md §10).

use mesh::{
    Ctx, Error, Result,
    identity::{Actor, Identity, Purpose},
};

use super::{App, exchange};
use crate::{
    domain::{
        api_key::ApiKey, audit::Action, identity::delegated_identity, input, key::Minted,
        session::Session, user::User,
    },
    store,
};

/// The services that work for users beyond a call.
const DELEGATES: [&str; 2] = ["flow-svc", "ai-svc"];
const REASON_LEN_MAX: usize = 100;

/// Work of a service for a user.
pub(crate) struct Work<'w> {
    /// The user.
    pub user_id: &'w str,
    /// The session in which it began.
    pub session_id: Option<&'w str>,
    /// The API key by which it began.
    pub key_id: Option<&'w str>,
    /// Whether a caller waits for it.
    pub while_waiting: bool,
    /// The organisation in which it began.
    pub organization_id: Option<&'w str>,
    /// What the key was narrowed to.
    pub scopes: Option<Vec<String>>,
    /// The run.
    pub run_id: &'w str,
    /// Why.
    pub reason: &'w str,
}

/// A token for the user, naming the service that calls.
///
/// # Errors
/// PERMISSION_DENIED when the caller is no service that works for users, and when the work has
/// to end; VALIDATION_ERROR; SERVICE_UNAVAILABLE when the rights cannot be told.
pub(crate) async fn issue_delegated_token(app: &App, ctx: &Ctx, work: Work<'_>) -> Result<Minted> {
    let caller = ctx.identity()?;
    let may =
        caller.is_service_for(Purpose::Delegate) && DELEGATES.contains(&caller.subject.as_str());
    if !may {
        return Err(Error::denied(
            "Only services that work for users may ask for this",
        ));
    }
    let reason = input::plain_text("reason", work.reason, REASON_LEN_MAX)?;
    if reason.is_empty() || !input::can_be_id(work.run_id) {
        let message = "run_id and reason must say what the token is for";
        return Err(Error::validation("INVALID_REQUEST", message));
    }
    // The position first: whatever ends after it overtakes the token.
    let position = store::revocations::feed_position(&app.store).await?;
    let user = store::users::find(&app.store, work.user_id).await?;
    let user = user.filter(|user| user.ban_at(ctx.now).is_none());
    let user = user.ok_or_else(|| ends("USER_DISABLED", "The user may not act any more"))?;
    let (session, key) = waiting_for(app, ctx, &work, &user).await?;
    let owner = store::users::is_owner(&app.store, &user.id).await?;
    let rights = app
        .principals
        .resolve(ctx, &user, owner, work.organization_id)
        .await?;
    if work.organization_id.is_some() && rights.organization_id.as_deref() != work.organization_id {
        let message = "The user is no member of the organisation any more";
        return Err(ends("NOT_A_MEMBER", message));
    }
    let actor = Actor {
        service: caller.subject.clone(),
        run_id: work.run_id.to_owned(),
        reason: reason.clone(),
    };
    let end = session.as_ref().map(Session::end);
    let end = end.or_else(|| key.as_ref().and_then(|key| key.expires_at));
    let identity = Identity {
        session_id: session.map(|session| session.id),
        key_id: key.map(|key| key.id),
        // Those of the beginning, also when nobody waits any more.
        scopes: work.scopes,
        organization_id: work.organization_id.map(str::to_owned),
        ..delegated_identity(&user, actor, rights)
    };
    let minted = app.keyring.mint(identity, position, end)?;
    let detail = format!("{} {reason}", work.run_id);
    exchange::note_once_an_hour(
        app,
        ctx,
        Action::DelegatedTokenIssued,
        &caller.subject,
        Some(&user.id),
        detail,
    )
    .await?;
    Ok(minted)
}

/// The session or key that has to live because somebody waits.
async fn waiting_for(
    app: &App,
    ctx: &Ctx,
    work: &Work<'_>,
    user: &User,
) -> Result<(Option<Session>, Option<ApiKey>)> {
    if !work.while_waiting {
        return Ok((None, None));
    }
    match (work.session_id, work.key_id) {
        (Some(id), None) => {
            let found = store::sessions::session_by_id(&app.store, id).await?;
            let live =
                found.filter(|(session, owner)| session.is_live(ctx.now) && owner.id == user.id);
            let ended = || ends("SESSION_ENDED", "The session has ended");
            Ok((Some(live.ok_or_else(ended)?.0), None))
        }
        (None, Some(id)) => {
            let found = store::api_keys::find(&app.store, id).await?;
            let live = found.filter(|key| key.is_live(ctx.now) && key.user_id == user.id);
            let ended = || ends("KEY_ENDED", "The API key has ended");
            Ok((None, Some(live.ok_or_else(ended)?)))
        }
        (None, None) | (Some(_), Some(_)) => {
            let message = "Who waits must have come by a session or by a key";
            Err(Error::validation("INVALID_REQUEST", message))
        }
    }
}

fn ends(reason: &str, message: &str) -> Error {
    Error::denied(message).with("reason", reason)
}
