//! What users change about themselves, and telling data-svc.

use std::sync::Arc;

use mesh::{Ctx, Error, Result, audit::Actor, clock};
use time::Duration;

use super::{App, admit, entry};
use crate::{
    domain::{audit::Action, input},
    store,
};

/// How often the outbox is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);
/// The longest one user may take.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
/// The wait after a failure; each further one doubles it.
const AGAIN_AFTER: Duration = Duration::SECOND;
const AGAIN_AFTER_MAX: Duration = Duration::seconds(30);

/// Tells data-svc what is in the outbox, until the node stops. Replicas may tell the same: what is
/// told is how a user is.
pub(super) fn start(app: &Arc<App>) {
    let (weak, stop) = (Arc::downgrade(app), app.tasks.stop_token());
    app.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let Some(app) = weak.upgrade() else { return };
            if let Err(error) = tell_untold(&app).await {
                tracing::warn!(error = %error, "the outbox of profiles cannot be read; trying again");
            }
        }
    });
}

/// Changes the caller's name or picture; an empty picture removes it.
///
/// # Errors
/// VALIDATION_ERROR, also when nothing is to be changed; as [`admit::acting`].
pub(crate) async fn update_user(
    app: &Arc<App>,
    ctx: &Ctx,
    name: Option<&str>,
    image: Option<&str>,
) -> Result<()> {
    let acting = admit::acting(app, ctx).await?;
    if name.is_none() && image.is_none() {
        return Err(Error::validation("INVALID_REQUEST", "No fields to update"));
    }
    let name = name.map(input::name).transpose()?;
    let image = image.map(|image| input::image(Some(image))).transpose()?;
    let actor = Actor::User(acting.user.id.clone());
    let noted = entry(ctx, Action::UserUpdated, actor, Some(&acting.user.id));
    let updated =
        store::users::update_user(&app.store, &acting.user.id, name, image, noted).await?;
    if let Some(user) = updated {
        tell_data(app, ctx, &user.id).await;
    }
    Ok(())
}

/// Tells data-svc about a user who changed, so that lookups know it at once. What does not
/// arrive now is told from the outbox.
pub(super) async fn tell_data(app: &App, ctx: &Ctx, user_id: &str) {
    if let Err(error) = tell(app, ctx, user_id).await {
        tracing::warn!(error = %error, user.id = user_id, "data-svc was not told about a user; trying again");
        let soon = clock::now() + AGAIN_AFTER;
        if let Err(error) = store::profiles::put_off(&app.store, user_id, soon).await {
            tracing::warn!(error = %error, "the outbox of profiles cannot be written");
        }
    }
}

/// Tells data-svc how a user is now.
async fn tell(app: &App, ctx: &Ctx, user_id: &str) -> Result<()> {
    let mut user = store::users::find(&app.store, user_id).await?;
    loop {
        match &user {
            Some(user) => {
                let owner = store::users::is_owner(&app.store, &user.id).await?;
                app.principals.resolve(ctx, user, owner, None).await?;
            }
            None => app.principals.remove(ctx, user_id).await?,
        }
        // Whoever tells last tells the latest: others may have told it before us.
        let now = store::users::find(&app.store, user_id).await?;
        if now == user {
            return Ok(());
        }
        user = now;
    }
}

/// Tells what is due in the outbox.
async fn tell_untold(app: &App) -> Result<()> {
    for untold in store::profiles::untold(&app.store, clock::now()).await? {
        let ctx = Ctx::background(None, LIMIT);
        match tell(app, &ctx, &untold.user_id).await {
            Ok(()) => store::profiles::told(&app.store, &untold).await?,
            Err(error) => {
                tracing::warn!(error = %error, user.id = untold.user_id, "data-svc was not told about a user; trying again");
                let doublings = u32::try_from(untold.attempts.clamp(0, 6)).unwrap_or_default();
                let pause = (AGAIN_AFTER * 2_i32.pow(doublings)).min(AGAIN_AFTER_MAX);
                store::profiles::put_off(&app.store, &untold.user_id, clock::now() + pause).await?;
                // It is away for the others, too.
                return Ok(());
            }
        }
    }
    Ok(())
}
