//! Telling everybody that sessions have ended.

use std::{sync::Arc, time::Duration};

use super::App;
use crate::domain::session::TokenHash;

/// The longest the session store may take: those who wait for us do not wait for it.
pub(super) const STORE_LIMIT: Duration = Duration::from_millis(500);
/// Waits between attempts to reach the session store, in seconds. Together they outlast every
/// identity token minted before the session ended.
const RETRY_S: [u64; 6] = [1, 2, 5, 10, 20, 40];

/// Marks sessions as ended, after the database has them no more. The database is the
/// authority, so a session store that is away fails nothing: the news follow when it is back.
pub(super) async fn announce_ended(app: &Arc<App>, ended: Vec<TokenHash>) {
    let Some(missed) = mark_ended(app, ended).await else {
        return;
    };
    let (app, tasks) = (app.clone(), &app.tasks);
    let stop = tasks.stop_token();
    tasks.spawn(async move {
        let mut missed = missed;
        for wait in RETRY_S {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(Duration::from_secs(wait)) => {}
            }
            match mark_ended(&app, missed).await {
                Some(still) => missed = still,
                None => return,
            }
        }
        tracing::error!(
            session.count = missed.len(),
            "the session store did not learn that sessions ended"
        );
    });
}

/// Those that could not be marked.
async fn mark_ended(app: &App, ended: Vec<TokenHash>) -> Option<Vec<TokenHash>> {
    for (done, session) in ended.iter().enumerate() {
        let marked = tokio::time::timeout(STORE_LIMIT, app.sessions.mark_ended(session)).await;
        if !matches!(marked, Ok(Ok(()))) {
            tracing::warn!("the session store did not learn that a session ended; trying again");
            return Some(ended[done..].to_vec());
        }
    }
    None
}
