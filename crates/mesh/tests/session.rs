//! The session store: one suite, both backends.

use std::time::Duration;

use mesh::session::{SessionStore, State, hash};

/// Runs the suite on the embedded store, and on Redis where `TEST_REDIS_URL` names one.
macro_rules! both {
    ($name:ident, $body:expr) => {
        mod $name {
            use super::*;

            #[tokio::test]
            async fn embedded() {
                ($body)(SessionStore::embedded()).await;
            }

            #[tokio::test]
            async fn redis() {
                match std::env::var("TEST_REDIS_URL") {
                    Ok(url) => {
                        let store = SessionStore::redis(&url).expect("a URL");
                        ($body)(store).await;
                    }
                    Err(_) => eprintln!("skipped: TEST_REDIS_URL is not set"),
                }
            }
        }
    };
}

fn session() -> [u8; 32] {
    hash(&mesh::id::new())
}

const HOUR: Duration = Duration::from_secs(3600);

both!(
    a_session_is_absent_then_live_then_ended,
    |store: SessionStore| async move {
        let (one, other) = (session(), session());
        assert_eq!(store.state(&one).await.unwrap(), State::Absent);
        store.mark_live(&one, HOUR).await.unwrap();
        assert_eq!(store.state(&one).await.unwrap(), State::Live);
        store.mark_ended(&one).await.unwrap();
        assert_eq!(store.state(&one).await.unwrap(), State::Ended);
        assert_eq!(store.state(&other).await.unwrap(), State::Absent);
    }
);

both!(
    an_ended_session_does_not_come_back,
    |store: SessionStore| async move {
        let one = session();
        store.mark_ended(&one).await.unwrap();
        store.mark_live(&one, HOUR).await.unwrap();
        assert_eq!(store.state(&one).await.unwrap(), State::Ended);
        store.mark_ended(&one).await.unwrap();
        assert_eq!(store.state(&one).await.unwrap(), State::Ended);
    }
);

both!(
    clones_share_what_they_know,
    |store: SessionStore| async move {
        let one = session();
        store.clone().mark_live(&one, HOUR).await.unwrap();
        assert_eq!(store.state(&one).await.unwrap(), State::Live);
        store.ping().await.unwrap();
    }
);

#[tokio::test]
async fn redis_that_is_away_is_an_error_and_not_an_answer() {
    // Nobody listens on port 1.
    let store = SessionStore::redis("redis://127.0.0.1:1").expect("a URL");
    let refused = store.state(&session()).await.unwrap_err();
    assert_eq!(refused.reason(), mesh::error::Reason::ServiceUnavailable);
    assert!(store.ping().await.is_err());
}
