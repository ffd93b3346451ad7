//! The feed of revocations: every replica tells those who watch it, whoever revoked.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mesh::{Error, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::store::{self, FeedPage, Store};

/// How often other replicas' revocations are looked for.
const LOOK: Duration = Duration::from_millis(400);
/// A watcher hears at least this often.
const HEARTBEAT: Duration = Duration::from_millis(800);
/// A feed that could not be read for this long tells its watchers so: they go to another replica.
const STALE: Duration = Duration::from_secs(2);
/// A stream ends after this time, so that watchers spread over the replicas.
const STREAM_MAX: Duration = Duration::from_secs(30 * 60);
/// Rows in a message.
const PAGE: i64 = 1000;

/// Where the feed stands.
#[derive(Clone, Copy, Debug)]
struct Head {
    position: i64,
    /// When that was read.
    at: Instant,
}

/// The feed as this process sees it.
pub(super) struct Feed(watch::Sender<Head>);

impl Feed {
    /// A feed that was read last just now.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Head {
            position: 0,
            at: Instant::now(),
        }))
    }
}

/// Looks for new rows until the node stops.
pub(super) fn start(app: &Arc<App>) {
    let weak = Arc::downgrade(app);
    let store = app.store.clone();
    let stop = app.tasks.stop_token();
    app.tasks.spawn(async move {
        let mut failed = false;
        loop {
            let Some(app) = weak.upgrade() else { return };
            match store::revocations::feed_position(&store).await {
                Ok(position) => {
                    failed = false;
                    app.feed.0.send_replace(Head {
                        position,
                        at: Instant::now(),
                    });
                }
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(error = %error, "the feed of revocations cannot be read; trying on");
                    }
                }
            }
            drop(app);
            tokio::select! {
                () = stop.cancelled() => return,
                () = store::revocations::revoked(&store) => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
}

/// Somebody who watches the feed.
pub(crate) struct Watcher {
    store: Store,
    head: watch::Receiver<Head>,
    drain: CancellationToken,
    /// Everything up to here was told.
    position: i64,
    told_at: Option<Instant>,
    ends_at: Instant,
    failed: bool,
}

/// Watches the feed from a position on.
pub(crate) fn watch_revocations(app: &App, after_position: i64) -> Watcher {
    Watcher {
        store: app.store.clone(),
        head: app.feed.0.subscribe(),
        drain: app.tasks.drain_token(),
        position: after_position,
        told_at: None,
        ends_at: Instant::now() + STREAM_MAX,
        failed: false,
    }
}

impl Watcher {
    /// What is to be told next; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<FeedPage>> {
        if self.failed {
            return None;
        }
        let page = self.page().await.transpose()?;
        match &page {
            Ok(page) => {
                self.position = page.position;
                self.told_at = Some(Instant::now());
            }
            Err(_) => self.failed = true,
        }
        Some(page)
    }

    async fn page(&mut self) -> Result<Option<FeedPage>> {
        let Some(told_at) = self.told_at else {
            // Read here and not waited for: who begins to watch hears at once where it stands.
            return store::revocations::feed_after(&self.store, self.position, PAGE)
                .await
                .map(Some);
        };
        loop {
            let head = *self.head.borrow_and_update();
            if head.position > self.position {
                return store::revocations::feed_after(&self.store, self.position, PAGE)
                    .await
                    .map(Some);
            }
            if head.at.elapsed() > STALE {
                return Err(Error::unavailable("The feed of revocations"));
            }
            // A heartbeat says that nothing was revoked up to now, so it needs a recent look.
            if told_at.elapsed() >= HEARTBEAT && head.at >= told_at {
                return Ok(Some(FeedPage {
                    rows: Vec::new(),
                    position: self.position,
                }));
            }
            let next = HEARTBEAT.saturating_sub(told_at.elapsed()).max(LOOK / 4);
            tokio::select! {
                () = self.drain.cancelled() => return Ok(None),
                () = tokio::time::sleep_until(self.ends_at.into()) => return Ok(None),
                changed = self.head.changed() => if changed.is_err() { return Ok(None) },
                () = tokio::time::sleep(next) => {}
            }
        }
    }
}
