//! What this node knows about revocations: it follows the feed of auth-svc and refuses identity
//! tokens that were overtaken (docs/reference/security.md §3).
//!
//! Invariant: order comes from positions in the feed, never from a clock. A token states the
//! position that was read before its session and rights were (claim `rev`); an entry that concerns
//! it and has a higher position overtakes it. While the feed is cut a token lives out its minute.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use proto::auth::v1::{
    Revocation, RevocationKind, WatchRevocationsRequest,
    revocation_service_client::RevocationServiceClient,
};
use rand::RngExt as _;

use crate::{
    Error, Link, Result,
    error::Reason,
    identity::{Identity, Kind, LIFETIME_S, Purpose, Verified},
    service_identity::ServiceIdentity,
};

/// `details.reason` of a refused identity token: whoever made the call with it may exchange the
/// caller's own credential again and repeat the call, since nothing ran.
pub const REVOKED_TOKEN: &str = "REVOKED_TOKEN";

/// How long an entry is kept one by one: two minutes longer than any token it can concern lives.
const KEPT: Duration = Duration::from_secs(LIFETIME_S.unsigned_abs() + 120);
/// Entries kept one by one; beyond, the oldest are folded into [`Known::floor`].
const ENTRIES_MAX: usize = 100_000;
/// A feed that says nothing for this long is dead: it says something every second.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// The longest wait before the feed is opened again.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What is known about revocations. Shared by a node's resolver and its follower.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    /// Everything up to here is known. Tokens at or above it need no look at the entries.
    position: AtomicI64,
    // A lock, not a task with a handle: the hot path only reads, for nanoseconds.
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Users' tokens below this are refused, whomever they concern: the position of the last entry
    /// about everybody, or of the newest entry that is not kept any more. A token from before an
    /// entry as old as that has ended, whatever a clock says, so this refuses nobody too early.
    floor: i64,
    /// The newest entry about each session, key and user, in the order of [`Subject`].
    about: [HashMap<Box<str>, i64>; 3],
    /// The same by age, to forget them.
    ages: VecDeque<(Instant, i64, Subject, Box<str>)>,
    /// When the feed last said something.
    heard: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Subject {
    Session,
    Key,
    User,
}

impl Revocations {
    /// Refuses a token that was overtaken.
    ///
    /// # Errors
    /// UNAUTHENTICATED with `reason` [`REVOKED_TOKEN`].
    pub(crate) fn check(&self, verified: &Verified) -> Result<()> {
        if self.overtakes(&verified.identity, verified.position) {
            return Err(Error::new(
                Reason::Unauthenticated,
                "The credential's session or rights have changed",
            )
            .with("reason", REVOKED_TOKEN));
        }
        Ok(())
    }

    fn overtakes(&self, identity: &Identity, minted_at: i64) -> bool {
        // Services are not revoked: their tokens end by themselves, with the mesh secret.
        if identity.kind == Kind::Service || minted_at >= self.position.load(Ordering::Acquire) {
            return false;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let newer = |subject: Subject, id: Option<&str>| {
            let about = id.and_then(|id| known.about[subject as usize].get(id));
            about.is_some_and(|position| *position > minted_at)
        };
        known.floor > minted_at
            || newer(Subject::User, Some(&identity.subject))
            || newer(Subject::Session, identity.session_id.as_deref())
            || newer(Subject::Key, identity.key_id.as_deref())
    }

    /// Whether the feed has been heard within that time, so that what is not revoked here is not
    /// revoked at all, but for what happened since.
    pub(crate) fn is_fresh(&self, within: Duration) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.heard.is_some_and(|heard| heard.elapsed() < within)
    }

    fn position(&self) -> i64 {
        self.position.load(Ordering::Acquire)
    }

    /// Takes in what the feed said.
    fn hear(&self, revocations: Vec<Revocation>, position: i64) {
        let now = Instant::now();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if position < self.position() {
            // Another database than before: what the old one told means nothing any more.
            *known = Known::default();
            self.position.store(0, Ordering::Release);
        }
        for revocation in revocations {
            known.add(now, revocation);
        }
        known.forget(now);
        known.heard = Some(now);
        self.position.fetch_max(position, Ordering::AcqRel);
    }

    /// Follows the feed until the node stops.
    pub(crate) async fn follow(&self, auth: &Link, service: &ServiceIdentity) {
        let mut pause = Duration::ZERO;
        let mut failures = 0_u32;
        loop {
            let began = Instant::now();
            let Err(error) = self.listen(auth, service).await else {
                // Ended in order, as streams do after half an hour or when a replica stops.
                failures = 0;
                tokio::time::sleep(jittered(Duration::from_millis(50))).await;
                continue;
            };
            if began.elapsed() > PAUSE_MAX {
                (failures, pause) = (0, Duration::ZERO);
            }
            failures += 1;
            // In one process the first attempts come before everything is bound.
            if failures == 5 {
                tracing::warn!(error = %error, "revocations cannot be followed; trying on");
            }
            pause = (pause * 2).clamp(Duration::from_millis(50), PAUSE_MAX);
            tokio::time::sleep(jittered(pause)).await;
        }
    }

    async fn listen(&self, auth: &Link, service: &ServiceIdentity) -> Result<()> {
        let message = WatchRevocationsRequest {
            after_position: self.position(),
        };
        let request = service
            .stream_request(Purpose::FollowRevocations, message)
            .await?;
        let mut client = RevocationServiceClient::new(auth.clone());
        let opening = tokio::time::timeout(SILENCE_MAX, client.watch_revocations(request));
        let answer = opening.await.map_err(|_| silent())?;
        let mut feed = answer
            .map_err(|status| Error::from_status(&status))?
            .into_inner();
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, feed.message()).await;
            match next
                .map_err(|_| silent())?
                .map_err(|s| Error::from_status(&s))?
            {
                Some(heard) => self.hear(heard.revocations, heard.position),
                None => return Ok(()),
            }
        }
    }
}

impl Known {
    fn add(&mut self, now: Instant, revocation: Revocation) {
        let position = revocation.position;
        let subject = match revocation.kind() {
            RevocationKind::Session => Subject::Session,
            RevocationKind::Key => Subject::Key,
            RevocationKind::User | RevocationKind::UserRights => Subject::User,
            // A kind of a newer auth-svc: too much is refused rather than too little.
            RevocationKind::Everybody | RevocationKind::Unspecified => {
                self.floor = self.floor.max(position);
                return;
            }
        };
        let id: Box<str> = revocation.subject.into();
        self.about[subject as usize].insert(id.clone(), position);
        self.ages.push_back((now, position, subject, id));
    }

    /// Folds entries that are too old or too many into the floor.
    fn forget(&mut self, now: Instant) {
        while let Some((heard, position, ..)) = self.ages.front()
            && (now.duration_since(*heard) > KEPT || self.ages.len() > ENTRIES_MAX)
        {
            self.floor = self.floor.max(*position);
            if let Some((_, position, subject, id)) = self.ages.pop_front() {
                let about = &mut self.about[subject as usize];
                // A newer entry about the same stays.
                if about.get(&id) == Some(&position) {
                    about.remove(&id);
                }
            }
        }
    }
}

fn silent() -> Error {
    Error::unavailable("The feed of revocations")
}

/// Between half of it and all, so that the nodes do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn user(session: &str, key: Option<&str>) -> Identity {
        Identity {
            subject: "ann".into(),
            session_id: Some(session.into()),
            key_id: key.map(Into::into),
            ..Identity::nobody(Kind::User)
        }
    }

    fn entry(position: i64, kind: RevocationKind, subject: &str) -> Revocation {
        Revocation {
            position,
            kind: kind.into(),
            subject: subject.into(),
        }
    }

    fn heard(entries: Vec<Revocation>) -> Revocations {
        let revocations = Revocations::default();
        let position = entries.iter().map(|entry| entry.position).max();
        revocations.hear(entries, position.unwrap_or_default());
        revocations
    }

    #[test]
    fn a_token_is_overtaken_by_later_entries_about_it_only() {
        let all = heard(vec![
            entry(3, RevocationKind::Session, "s1"),
            entry(4, RevocationKind::Key, "k1"),
            entry(5, RevocationKind::User, "bob"),
            entry(6, RevocationKind::UserRights, "cid"),
        ]);
        assert!(all.overtakes(&user("s1", None), 2));
        assert!(!all.overtakes(&user("s1", None), 3));
        assert!(!all.overtakes(&user("s2", None), 0));
        assert!(all.overtakes(&user("s2", Some("k1")), 3));
        for name in ["bob", "cid"] {
            let other = Identity {
                subject: name.into(),
                ..user("s9", None)
            };
            assert!(all.overtakes(&other, 4), "{name}");
            assert!(!all.overtakes(&other, 6), "{name}");
        }
        // A session of that id says nothing about a user of that id.
        let everybody = heard(vec![entry(3, RevocationKind::Session, "ann")]);
        assert!(!everybody.overtakes(&user("s1", None), 0));
    }

    #[test]
    fn an_entry_about_everybody_spares_services() {
        let all = heard(vec![entry(7, RevocationKind::Everybody, "")]);
        assert!(all.overtakes(&user("s", None), 6));
        assert!(!all.overtakes(&user("s", None), 7));
        assert!(!all.overtakes(&Identity::nobody(Kind::Service), 0));
        let verified = Verified {
            identity: Arc::new(user("s", None)),
            expires_at_ms: i64::MAX,
            position: 6,
        };
        let refusal = all.check(&verified).unwrap_err();
        assert_eq!(refusal.detail("reason").unwrap(), REVOKED_TOKEN);
    }

    #[test]
    fn entries_that_are_forgotten_still_refuse_tokens_older_than_them() {
        let count = i64::try_from(ENTRIES_MAX).unwrap() + 10;
        let entries = (1..=count).map(|n| entry(n, RevocationKind::Session, &format!("s{n}")));
        let all = heard(entries.collect());
        assert!(all.overtakes(&user("s1", None), 0));
        assert!(all.overtakes(&user("other", None), 9));
        assert!(!all.overtakes(&user("other", None), 10));
        assert!(all.overtakes(&user("s11", None), 10));
        let known = all.known.read().unwrap();
        assert_eq!((known.about[0].len(), known.floor), (ENTRIES_MAX, 10));
    }

    #[test]
    fn a_newer_entry_outlives_the_older_one_about_the_same() {
        let mut known = Known::default();
        let start = Instant::now();
        known.add(start, entry(1, RevocationKind::Session, "s1"));
        known.add(start + KEPT, entry(2, RevocationKind::Session, "s1"));
        known.forget(start + KEPT + Duration::from_secs(1));
        assert_eq!(known.floor, 1);
        assert_eq!(known.about[0].values().collect::<Vec<_>>(), [&2]);
    }

    #[test]
    fn a_feed_that_starts_over_is_begun_anew() {
        let all = heard(vec![entry(90, RevocationKind::Everybody, "")]);
        all.hear(vec![entry(2, RevocationKind::Session, "s1")], 2);
        assert!(!all.overtakes(&user("s2", None), 1));
        assert!(all.overtakes(&user("s1", None), 1));
        assert!(all.is_fresh(Duration::from_secs(60)));
        assert!(!Revocations::default().is_fresh(Duration::from_secs(60)));
    }
}
