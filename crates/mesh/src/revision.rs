//! The revision of the metadata, told along with every call, so that who changed metadata sees it
//! in the next request, whichever replica answers (ARCHITECTURE.md).
//!
//! Every reply names the revision that its service knows; the gateway remembers the highest it has
//! seen and sends it with each call; a service that holds a registry and is behind catches up
//! first. A service that holds none passes the number on.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::{Error, Result};

/// Metadata of calls and of replies that names a revision.
pub const REVISION: &str = "objectmesh-revision";
/// A service that is behind may take this long to catch up.
pub const CATCH_UP_MAX: Duration = Duration::from_secs(2);

/// How long a revision is told along after it was first seen. Every replica has it by then or is not
/// ready; and a database that was set back to an older revision is not waited for without end.
const TOLD_FOR: Duration = Duration::from_secs(30);

/// The highest revision seen lately.
#[derive(Debug)]
pub struct Seen {
    highest: AtomicU64,
    /// When it was first seen, in milliseconds since `start`.
    since: AtomicU64,
    start: Instant,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            highest: AtomicU64::new(0),
            since: AtomicU64::new(0),
            start: Instant::now(),
        }
    }
}

impl Seen {
    /// What a call or a reply names; 0 when it names none.
    #[must_use]
    pub fn in_headers(headers: &HeaderMap) -> u64 {
        headers
            .get(REVISION)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or_default()
    }

    /// The highest revision seen; 0 when there was none, or none lately.
    #[must_use]
    pub fn highest(&self) -> u64 {
        let highest = self.highest.load(Ordering::Relaxed);
        let told_for = Duration::from_millis(self.since.load(Ordering::Relaxed)) + TOLD_FOR;
        if highest > 0 && self.start.elapsed() < told_for {
            highest
        } else {
            0
        }
    }

    /// Notes a revision.
    pub fn raise(&self, revision: u64) {
        if self.highest.load(Ordering::Relaxed) < revision {
            let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.since.store(now, Ordering::Relaxed);
            self.highest.fetch_max(revision, Ordering::Relaxed);
        }
    }
}

/// A revision as a header.
#[must_use]
pub fn header(revision: u64) -> Option<HeaderValue> {
    (revision > 0).then(|| revision.into())
}

/// The revision that this process serves; it moves when another process published a newer one.
#[derive(Debug)]
pub struct Served {
    current: watch::Sender<u64>,
    wanted: Notify,
}

impl Default for Served {
    fn default() -> Self {
        Self {
            current: watch::Sender::new(0),
            wanted: Notify::new(),
        }
    }
}

impl Served {
    /// The revision in force.
    #[must_use]
    pub fn current(&self) -> u64 {
        *self.current.borrow()
    }

    /// Says that a revision is in force; it never goes back.
    pub fn publish(&self, revision: u64) {
        self.current.send_if_modified(|current| {
            let moved = revision > *current;
            *current = revision.max(*current);
            moved
        });
    }

    /// Resolves when somebody needs a newer revision than this process serves.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Resolves once a newer revision than that is in force.
    pub async fn newer_than(&self, revision: u64) {
        let mut current = self.current.subscribe();
        // Fails only when this value is gone, and then nobody waits.
        let _found = current.wait_for(|current| *current > revision).await;
    }

    /// Waits until a revision is in force.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when it is not within [`CATCH_UP_MAX`].
    pub async fn catch_up(&self, revision: u64) -> Result<()> {
        self.catch_up_within(revision, CATCH_UP_MAX).await
    }

    async fn catch_up_within(&self, revision: u64, limit: Duration) -> Result<()> {
        if self.current() >= revision {
            return Ok(());
        }
        let mut current = self.current.subscribe();
        self.wanted.notify_one();
        let caught_up = current.wait_for(|current| *current >= revision);
        match timeout(limit, caught_up).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::unavailable("The metadata's newest revision")
                .with("revision", revision)
                .with("servedRevision", self.current())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn who_is_behind_waits_and_not_for_ever() {
        let served = Arc::new(Served::default());
        served.publish(3);
        served.publish(2);
        assert_eq!(served.current(), 3);
        served.catch_up(3).await.unwrap();
        let publisher = async {
            served.wanted().await;
            served.publish(4);
        };
        let (caught_up, ()) = tokio::join!(served.catch_up(4), publisher);
        caught_up.unwrap();
        let refused = served.catch_up_within(5, Duration::from_millis(10)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.reason(), crate::error::Reason::ServiceUnavailable);
        assert_eq!(refused.detail("servedRevision"), Some(&4.into()));
    }

    #[test]
    fn the_highest_counts() {
        let seen = Seen::default();
        let mut headers = HeaderMap::new();
        assert_eq!(Seen::in_headers(&headers), 0);
        headers.insert(REVISION, header(7).unwrap());
        seen.raise(Seen::in_headers(&headers));
        seen.raise(3);
        assert_eq!(seen.highest(), 7);
        headers.insert(REVISION, HeaderValue::from_static("many"));
        assert_eq!(Seen::in_headers(&headers), 0);
        assert_eq!(header(0), None);
    }
}
