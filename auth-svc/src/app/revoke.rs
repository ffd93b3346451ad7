//! Telling everybody that sessions have ended.

use std::{sync::Arc, time::Duration};

use mesh::db::queue::{Backoff, Handled, Job, Slots, Worker};

use super::App;
use crate::{
    domain::session::TokenHash,
    store::{self, sessions::ANNOUNCE_END},
};

/// The longest the session store may take: those who wait for us do not wait for it.
pub(super) const STORE_LIMIT: Duration = Duration::from_millis(500);
/// The wait after a failure; each further one doubles it.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// About a day: no longer does the session store take a session for a live one.
const ATTEMPTS: i64 = 24 * 60;
/// Sessions that a process marks at once.
const CONCURRENCY: usize = 4;
/// How long a replica that fell silent keeps what it was marking.
const TERM: Duration = Duration::from_secs(10);
/// How often it is looked for what other replicas did not mark.
const LOOK: Duration = Duration::from_secs(1);

/// Marks the sessions whose end the call that ended them did not announce, until the node stops.
pub(super) fn start(app: &Arc<App>) {
    let worker = Worker {
        kind: ANNOUNCE_END,
        queue: app.store.queue.clone(),
        slots: Slots::new(CONCURRENCY),
        term: TERM,
        look: LOOK,
        backoff: Backoff {
            first: AGAIN,
            factor: 2.0,
            longest: AGAIN_MAX,
            attempts: ATTEMPTS,
        },
    };
    let (weak, stop) = (Arc::downgrade(app), app.tasks.stop_token());
    let watched = app.tasks.watched("session_ends");
    app.tasks.spawn(async move {
        let announce = move |job: Job| {
            let app = weak.upgrade();
            async move {
                match (app, store::sessions::of_key(&job.key)) {
                    (None, _) => Handled::Later(AGAIN, "the node ends".to_owned()),
                    (_, None) => Handled::Dead("its key is no session".to_owned()),
                    (Some(app), Some(session)) => match mark_ended(&app, &session).await {
                        true => Handled::Done,
                        false => Handled::Failed("the session store is away".to_owned()),
                    },
                }
            }
        };
        worker.run(&stop, watched, announce).await;
    });
}

/// Marks sessions as ended, after the database has them no more. The database is the
/// authority, so a session store that is away fails nothing: the jobs that came with their end tell it when
/// it is back.
pub(super) async fn announce_ended(app: &App, ended: Vec<TokenHash>) {
    if ended.is_empty() {
        return;
    }
    for session in &ended {
        if !mark_ended(app, session).await {
            tracing::warn!("the session store did not learn that a session ended; trying again");
            return;
        }
    }
    if let Err(error) = store::sessions::end_announced(&app.store, &ended).await {
        tracing::debug!(%error, "the end of sessions is announced again");
    }
}

async fn mark_ended(app: &App, session: &TokenHash) -> bool {
    let marked = tokio::time::timeout(STORE_LIMIT, app.sessions.mark_ended(session)).await;
    matches!(marked, Ok(Ok(())))
}
