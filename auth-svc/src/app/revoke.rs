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
/// Jobs that a process does at once.
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
                match (app, store::sessions::to_announce(&job.payload)) {
                    (None, _) => Handled::Later(AGAIN, "the node ends".to_owned()),
                    (_, None) => Handled::Dead("it names no sessions".to_owned()),
                    (Some(app), Some(ended)) => match mark_all(&app, &ended).await {
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
    if !mark_all(app, &ended).await {
        tracing::warn!("the session store did not learn that a session ended; trying again");
        return;
    }
    if let Err(error) = store::sessions::end_announced(&app.store, &ended).await {
        tracing::debug!(%error, "the end of sessions is announced again");
    }
}

/// False at the first that could not be marked: the store is away for the others as well.
async fn mark_all(app: &App, ended: &[TokenHash]) -> bool {
    for session in ended {
        let marked = tokio::time::timeout(STORE_LIMIT, app.sessions.mark_ended(session)).await;
        if !matches!(marked, Ok(Ok(()))) {
            return false;
        }
    }
    true
}
