//! What nobody asks for but has to be done: noticing new signing keys, deleting what has ended.

use std::{sync::Arc, time::Duration};

use mesh::{Result, clock};

use super::App;
use crate::store;

/// How often keys are read again; well below how long a retired key verifies.
const EVERY: Duration = Duration::from_secs(60);
/// Expired sessions stay this long, so that their tokens are told "expired", not "unknown".
const KEPT: time::Duration = time::Duration::days(7);
/// Revocations stay this long; nothing that they concern is good for more than a minute.
const FEED_KEPT: time::Duration = time::Duration::HOUR;
/// Rounds between two clean-ups.
const CLEAN_UP_EVERY: u32 = 60;

/// Starts the task; it ends with the node.
pub(super) fn start(app: &Arc<App>) {
    let weak = Arc::downgrade(app);
    let stop = app.tasks.stop_token();
    app.tasks.spawn(async move {
        let mut round: u32 = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            // The task does not keep a node alive that nobody holds any more.
            let Some(app) = weak.upgrade() else { return };
            round = round.wrapping_add(1);
            if let Err(error) = tidy(&app, round.is_multiple_of(CLEAN_UP_EVERY)).await {
                tracing::warn!(error = %error, "keys and sessions were not tidied; trying again");
            }
        }
    });
}

async fn tidy(app: &App, clean_up: bool) -> Result<()> {
    app.keyring.refresh().await?;
    if clean_up {
        let now = clock::now();
        store::keys::purge(&app.store, now - KEPT, now - app.throttle.forget_after).await?;
        store::revocations::purge_feed(&app.store, now - FEED_KEPT).await?;
    }
    Ok(())
}
