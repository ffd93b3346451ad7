//! What users change about themselves, and telling data-svc.

use std::{sync::Arc, time::Duration};

use mesh::{
    Ctx, Error, Result,
    audit::Actor,
    db::queue::{Backoff, Handled, Job, Slots, Worker},
};

use super::{App, admit, entry};
use crate::{
    domain::{audit::Action, input},
    store::{self, profiles::TELL},
};

/// The longest that telling of one user may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The wait after a failure; each further one doubles it.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Users that a process tells of at once.
const CONCURRENCY: usize = 2;
/// How long a replica that fell silent keeps what it was telling.
const TERM: Duration = Duration::from_secs(10);
/// How often it is looked for what other replicas did not tell.
const LOOK: Duration = Duration::from_secs(1);

/// Tells data-svc of users who changed, where the call that changed them did not, until the node stops.
pub(super) fn start(app: &Arc<App>) {
    let worker = Worker {
        kind: TELL,
        queue: app.store.queue.clone(),
        slots: Slots::new(CONCURRENCY),
        term: TERM,
        look: LOOK,
        backoff: Backoff {
            first: AGAIN,
            factor: 2.0,
            longest: AGAIN_MAX,
            // data-svc learns of it, however long it is away.
            attempts: i64::MAX,
        },
    };
    let (weak, stop) = (Arc::downgrade(app), app.tasks.stop_token());
    let watched = app.tasks.watched("profiles");
    app.tasks.spawn(async move {
        let tell_of = move |job: Job| {
            // The task does not keep a node alive that nobody holds any more.
            let app = weak.upgrade();
            async move {
                let Some(app) = app else {
                    return Handled::Later(AGAIN, "the node ends".to_owned());
                };
                match tell(&app, &Ctx::background(None, LIMIT), &job.key).await {
                    Ok(()) => Handled::Done,
                    Err(error) => {
                        tracing::warn!(%error, user.id = job.key, "data-svc was not told about a user; trying again");
                        Handled::Failed(error.to_string())
                    }
                }
            }
        };
        worker.run(&stop, watched, tell_of).await;
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
    let signed_in = admit::signed_in(app, ctx).await?;
    if name.is_none() && image.is_none() {
        return Err(Error::validation("INVALID_REQUEST", "No fields to update"));
    }
    let name = name.map(input::name).transpose()?;
    let image = image.map(|image| input::image(Some(image))).transpose()?;
    let actor = Actor::User(signed_in.user.id.clone());
    let noted = entry(ctx, Action::UserUpdated, actor, Some(&signed_in.user.id));
    let updated =
        store::users::update_user(&app.store, &signed_in.user.id, name, image, noted).await?;
    if let Some(user) = updated {
        tell_data(app, ctx, &user.id).await;
    }
    Ok(())
}

/// Tells data-svc about a user who changed, so that lookups know it at once. What does not
/// arrive now is told by the job that came with the change.
pub(super) async fn tell_data(app: &App, ctx: &Ctx, user_id: &str) {
    if let Err(error) = tell(app, ctx, user_id).await {
        tracing::warn!(%error, user.id = user_id, "data-svc was not told about a user; trying again");
        if let Err(error) = app.store.queue.hasten(TELL, user_id, AGAIN).await {
            tracing::warn!(%error, "the queue cannot be written");
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
