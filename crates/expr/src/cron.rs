//! Schedules: five fields of cron, in UTC or a time zone.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use time::OffsetDateTime;

/// Why a schedule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// The text is no schedule.
    #[error(
        "`{0}` is not a schedule: write minute, hour, day, month and weekday, as in `0 8 * * *`"
    )]
    Pattern(String),
    /// The time zone does not exist.
    #[error("there is no time zone `{0}`; use a name such as `Europe/Berlin`")]
    Zone(String),
}

/// A schedule in its time zone.
///
/// Where clocks go forward, a time of day that is skipped fires once right after; where they go back,
/// one that comes twice fires once.
#[derive(Debug, Clone)]
pub struct Cron {
    pattern: croner::Cron,
    zone: Tz,
}

impl Cron {
    /// Parses five fields (`minute hour day month weekday`, with names, lists, ranges, steps, `L`, `W`
    /// and `#`) or a nickname such as `@daily`; the zone is an IANA name, without one it is UTC.
    ///
    /// # Errors
    ///
    /// When the pattern or the zone is none.
    pub fn parse(pattern: &str, zone: Option<&str>) -> Result<Cron, CronError> {
        let refused = || CronError::Pattern(pattern.chars().take(100).collect());
        if pattern.len() > 200 {
            return Err(refused());
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let parsed = parser.parse(pattern.trim()).map_err(|_| refused())?;
        let zone = match zone {
            None | Some("") => Tz::UTC,
            Some(name) => Tz::from_str(name).map_err(|_| CronError::Zone(name.to_owned()))?,
        };
        Ok(Cron {
            pattern: parsed,
            zone,
        })
    }

    /// The first time after a moment; none when there is no such time.
    #[must_use]
    pub fn next_after(&self, after: OffsetDateTime) -> Option<OffsetDateTime> {
        let after = DateTime::<Utc>::from_timestamp(after.unix_timestamp(), after.nanosecond())?;
        let local = after.with_timezone(&self.zone);
        let next = self.pattern.find_next_occurrence(&local, false).ok()?;
        OffsetDateTime::from_unix_timestamp(next.timestamp()).ok()
    }
}
