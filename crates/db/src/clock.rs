//! The wall clock: the one place that reads it. For display and expiry only; order comes from
//! versions and sequences, durations from [`std::time::Instant`].

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// Now, in UTC, cut to milliseconds: what both databases and the wire can hold.
#[must_use]
pub fn now() -> OffsetDateTime {
    from_unix_ms(unix_ms())
}

/// Milliseconds since 1970.
#[must_use]
pub fn unix_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The moment that many milliseconds after 1970; out of range gives 1970.
#[must_use]
pub fn from_unix_ms(ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
