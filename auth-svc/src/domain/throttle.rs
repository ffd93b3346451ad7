//! How failed sign-ins slow an account down.

use time::{Duration, OffsetDateTime};

/// SHA-256 of what is throttled, so that the table of misses tells no address.
pub(crate) type AccountKey = [u8; 32];

/// The limits in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throttle {
    /// Misses an account may have before it has to wait.
    pub misses: i64,
    /// The first wait; each further miss doubles it.
    pub delay: Duration,
    /// The longest wait.
    pub delay_max: Duration,
    /// Misses older than this are forgotten.
    pub forget_after: Duration,
}

impl Throttle {
    /// Until when an account waits after its `misses`-th miss; `None` = not yet at all.
    #[must_use]
    pub(crate) fn blocked_until(&self, misses: i64, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let beyond = misses
            .checked_sub(self.misses)
            .filter(|beyond| *beyond >= 0)?;
        let factor = 1_i32 << beyond.min(30);
        let delay = self.delay.checked_mul(factor).unwrap_or(self.delay_max);
        Some(now + delay.min(self.delay_max))
    }
}

/// What is counted for a sign-in with that address, whether or not it is known.
#[must_use]
pub(crate) fn sign_in_key(email: &str) -> AccountKey {
    mesh::session::hash(&format!("sign-in\n{email}"))
}

/// What is counted for a user who states their current password.
#[must_use]
pub(crate) fn current_password_key(user_id: &str) -> AccountKey {
    mesh::session::hash(&format!("current-password\n{user_id}"))
}

/// Whole seconds until that moment, at least one.
#[must_use]
pub(crate) fn retry_after_s(until: OffsetDateTime, now: OffsetDateTime) -> i64 {
    let left = (until - now).whole_milliseconds();
    i64::try_from(left.div_euclid(1000) + i128::from(left.rem_euclid(1000) > 0))
        .unwrap_or(i64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_begins_at_the_limit_doubles_and_is_bounded() {
        let throttle = Throttle {
            misses: 5,
            delay: Duration::seconds(10),
            delay_max: Duration::minutes(15),
            forget_after: Duration::days(1),
        };
        let now = OffsetDateTime::UNIX_EPOCH;
        let wait = |misses| {
            throttle
                .blocked_until(misses, now)
                .map(|until| (until - now).whole_seconds())
        };
        assert_eq!(wait(4), None);
        assert_eq!(
            [5, 6, 7, 11].map(wait),
            [Some(10), Some(20), Some(40), Some(640)]
        );
        assert_eq!([12, 60, i64::MAX].map(wait), [Some(900); 3]);
    }

    #[test]
    fn retry_after_rounds_up() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let at = |ms| retry_after_s(now + Duration::milliseconds(ms), now);
        assert_eq!([at(-5), at(1), at(1000), at(1001)], [1, 1, 1, 2]);
    }
}
