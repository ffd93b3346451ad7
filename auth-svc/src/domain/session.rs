//! How long sessions live.

use time::{Duration, OffsetDateTime};

/// SHA-256 of a session token: the only form in which the server keeps it.
pub(crate) type TokenHash = mesh::session::CredentialHash;

/// A session, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Id (ULID); also the handle shown instead of the token.
    pub id: String,
    /// Hash of the token.
    pub token_hash: TokenHash,
    /// Whose it is.
    pub user_id: String,
    /// When it began.
    pub created_at: OffsetDateTime,
    /// When it was last prolonged.
    pub updated_at: OffsetDateTime,
    /// When it ends unless it is used.
    pub expires_at: OffsetDateTime,
    /// When it ends in any case.
    pub absolute_expires_at: OffsetDateTime,
    /// Address it began from.
    pub ip_address: Option<String>,
    /// Program it began from.
    pub user_agent: Option<String>,
    /// The organisation in which the user acts.
    pub active_organization_id: Option<String>,
    /// False for a session that ends with the browser, or after a day.
    pub remember: bool,
}

/// Where a session began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// Address.
    pub ip_address: Option<String>,
    /// Program (`User-Agent`).
    pub user_agent: Option<String>,
}

/// The lifetimes in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    /// A session that is not used for this long ends.
    pub idle: Duration,
    /// A session is prolonged at most this often.
    pub update_age: Duration,
    /// The longest a session lives, however much it is used.
    pub absolute: Duration,
    /// How long a session lives that is not to be remembered; it is never prolonged.
    pub unremembered: Duration,
}

impl Session {
    /// Whether the session is good at that moment.
    #[must_use]
    pub(crate) fn is_live(&self, now: OffsetDateTime) -> bool {
        now < self.expires_at && now < self.absolute_expires_at
    }

    /// When it ends unless it is used.
    #[must_use]
    pub(crate) fn end(&self) -> OffsetDateTime {
        self.expires_at.min(self.absolute_expires_at)
    }

    /// What is left of it, never negative.
    #[must_use]
    pub(crate) fn remaining(&self, now: OffsetDateTime) -> std::time::Duration {
        (self.end() - now).try_into().unwrap_or_default()
    }
}

impl Lifetimes {
    /// When a session that begins now ends: unless used, and in any case.
    #[must_use]
    pub(crate) fn begin(
        &self,
        now: OffsetDateTime,
        remember: bool,
    ) -> (OffsetDateTime, OffsetDateTime) {
        let absolute = now + self.absolute;
        let idle = if remember {
            self.idle
        } else {
            self.unremembered
        };
        ((now + idle).min(absolute), absolute)
    }

    /// The new end of a session that is used now; `None` when it stays as it is.
    #[must_use]
    pub(crate) fn prolong(&self, session: &Session, now: OffsetDateTime) -> Option<OffsetDateTime> {
        if !session.remember || !session.is_live(now) || now - session.updated_at < self.update_age
        {
            return None;
        }
        let end = (now + self.idle).min(session.absolute_expires_at);
        (end > session.expires_at).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: Lifetimes = Lifetimes {
        idle: Duration::days(7),
        update_age: Duration::days(1),
        absolute: Duration::days(30),
        unremembered: Duration::days(1),
    };

    fn session(remember: bool) -> Session {
        let now = OffsetDateTime::UNIX_EPOCH;
        let (expires_at, absolute_expires_at) = LIFETIMES.begin(now, remember);
        Session {
            id: "s".into(),
            token_hash: [0; 32],
            user_id: "u".into(),
            created_at: now,
            updated_at: now,
            expires_at,
            absolute_expires_at,
            ip_address: None,
            user_agent: None,
            active_organization_id: None,
            remember,
        }
    }

    #[test]
    fn a_used_session_slides_once_a_day_up_to_the_absolute_limit() {
        let start = OffsetDateTime::UNIX_EPOCH;
        let mut session = session(true);
        assert_eq!(
            LIFETIMES.prolong(&session, start + Duration::hours(23)),
            None
        );
        for day in 1..=30 {
            let now = start + Duration::days(day);
            if let Some(end) = LIFETIMES.prolong(&session, now) {
                (session.expires_at, session.updated_at) = (end, now);
            }
        }
        assert_eq!(session.expires_at, start + Duration::days(30));
        assert!(!session.is_live(start + Duration::days(30)));
    }

    #[test]
    fn an_idle_session_ends_and_is_not_prolonged_any_more() {
        let session = session(true);
        let end = OffsetDateTime::UNIX_EPOCH + Duration::days(7);
        assert!(session.is_live(end - Duration::MILLISECOND) && !session.is_live(end));
        assert_eq!(LIFETIMES.prolong(&session, end), None);
    }

    #[test]
    fn a_session_that_is_not_remembered_ends_after_a_day() {
        let session = session(false);
        assert!(!session.is_live(OffsetDateTime::UNIX_EPOCH + Duration::days(1)));
        assert_eq!(
            LIFETIMES.prolong(&session, OffsetDateTime::UNIX_EPOCH + Duration::hours(23)),
            None
        );
    }
}
