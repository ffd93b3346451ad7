//! Tokens of string comparands: `{today}`, `{30_days_ago}`, `{current_user_id}` …
//!
//! Invariant: weeks start on Monday, everything is UTC, and nothing asks the clock: the moment of
//! the query is passed in.

use time::{Date, Duration, Month, OffsetDateTime};

use crate::kernel::model::coerce;

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Moment {
    /// A moment.
    At(OffsetDateTime),
    /// A whole day.
    Day(Date),
}

/// The name in a token: text wholly in braces.
pub(super) fn name(text: &str) -> Option<&str> {
    text.trim()
        .strip_prefix('{')?
        .strip_suffix('}')
        .map(str::trim)
}

/// What the named token of time stands for; `None` when it is unknown or out of range.
pub(super) fn moment(name: &str, now: OffsetDateTime) -> Option<Moment> {
    let now = coerce::canonical_moment(now)?;
    let today = now.date();
    match name {
        "now" => return Some(Moment::At(now)),
        "today" => return Some(Moment::Day(today)),
        "yesterday" => return shifted(today, -1).map(Moment::Day),
        "tomorrow" => return shifted(today, 1).map(Moment::Day),
        _ => {}
    }
    if let Some(rest) = name.strip_suffix("_ago") {
        return relative(rest, now, -1);
    }
    if let Some(rest) = name.strip_suffix("_from_now") {
        return relative(rest, now, 1);
    }
    period(name, today).map(Moment::Day)
}

/// `30_days`, `1_hour`.
fn relative(text: &str, now: OffsetDateTime, sign: i64) -> Option<Moment> {
    let (count, unit) = text.split_once('_')?;
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: i64 = count.parse::<u32>().ok().map(i64::from)? * sign;
    let unit = unit.strip_suffix('s').unwrap_or(unit);
    let day = |day: Option<Date>| day.map(Moment::Day);
    match unit {
        "minute" => at(now, Duration::minutes(count)),
        "hour" => at(now, Duration::hours(count)),
        "day" => day(shifted(now.date(), count)),
        "week" => day(shifted(now.date(), count * 7)),
        "month" => day(months(now.date(), count)),
        "year" => day(months(now.date(), count * 12)),
        _ => None,
    }
}

fn at(now: OffsetDateTime, by: Duration) -> Option<Moment> {
    coerce::canonical_moment(now.checked_add(by)?).map(Moment::At)
}

/// `current_week_start`, `last_month_end`, `quarter_start`.
fn period(name: &str, today: Date) -> Option<Date> {
    let (rest, is_end) = match name.strip_suffix("_start") {
        Some(rest) => (rest, false),
        None => (name.strip_suffix("_end")?, true),
    };
    let (offset, unit) = match rest.split_once('_') {
        Some(("current", unit)) => (0, unit),
        Some(("last", unit)) => (-1, unit),
        Some(("next", unit)) => (1, unit),
        Some(_) => return None,
        None => (0, rest),
    };
    // The first day of the period after is one day past the last day of this one.
    let offset = offset + i64::from(is_end);
    let start = match unit {
        "week" => {
            let monday = i64::from(today.weekday().number_days_from_monday());
            shifted(today, offset * 7 - monday)?
        }
        "month" => months(first_of(today.year(), today.month())?, offset)?,
        "quarter" => {
            let first = u8::from(today.month()) - (u8::from(today.month()) - 1) % 3;
            months(
                first_of(today.year(), Month::try_from(first).ok()?)?,
                offset * 3,
            )?
        }
        "year" => months(first_of(today.year(), Month::January)?, offset * 12)?,
        _ => return None,
    };
    if is_end {
        shifted(start, -1)
    } else {
        Some(start)
    }
}

fn first_of(year: i32, month: Month) -> Option<Date> {
    Date::from_calendar_date(year, month, 1).ok()
}

fn shifted(day: Date, days: i64) -> Option<Date> {
    canonical(day.checked_add(Duration::days(days))?)
}

/// The same day of another month, or that month's last day.
fn months(day: Date, months: i64) -> Option<Date> {
    let total = i64::from(day.year()) * 12 + i64::from(u8::from(day.month())) - 1 + months;
    let year = i32::try_from(total.div_euclid(12)).ok()?;
    let month = Month::try_from(u8::try_from(total.rem_euclid(12) + 1).ok()?).ok()?;
    if !(1..=9999).contains(&year) {
        return None;
    }
    canonical(Date::from_calendar_date(year, month, day.day().min(month.length(year))).ok()?)
}

fn canonical(day: Date) -> Option<Date> {
    (1..=9999).contains(&day.year()).then_some(day)
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    #[test]
    fn tokens_stand_for_days_and_moments() {
        // A Saturday.
        let now = datetime!(2026-05-30 10:20:30.456789 UTC);
        let day = |name: &str| match moment(name, now) {
            Some(Moment::Day(day)) => Some(day),
            _ => None,
        };
        for (token, expected) in [
            ("today", date!(2026 - 05 - 30)),
            ("yesterday", date!(2026 - 05 - 29)),
            ("tomorrow", date!(2026 - 05 - 31)),
            ("current_week_start", date!(2026 - 05 - 25)),
            ("week_end", date!(2026 - 05 - 31)),
            ("last_week_start", date!(2026 - 05 - 18)),
            ("next_week_end", date!(2026 - 06 - 07)),
            ("month_start", date!(2026 - 05 - 01)),
            ("last_month_end", date!(2026 - 04 - 30)),
            ("current_quarter_start", date!(2026 - 04 - 01)),
            ("quarter_end", date!(2026 - 06 - 30)),
            ("next_quarter_end", date!(2026 - 09 - 30)),
            ("last_year_start", date!(2025 - 01 - 01)),
            ("year_end", date!(2026 - 12 - 31)),
            ("30_days_ago", date!(2026 - 04 - 30)),
            ("1_day_from_now", date!(2026 - 05 - 31)),
            ("2_weeks_ago", date!(2026 - 05 - 16)),
            ("3_months_ago", date!(2026 - 02 - 28)),
            ("1_year_from_now", date!(2027 - 05 - 30)),
        ] {
            assert_eq!(day(token), Some(expected), "{token}");
        }
        assert_eq!(
            moment("now", now),
            Some(Moment::At(datetime!(2026-05-30 10:20:30.456 UTC)))
        );
        assert_eq!(
            moment("90_minutes_ago", now),
            Some(Moment::At(datetime!(2026-05-30 08:50:30.456 UTC)))
        );
        for bad in [
            "todya",
            "days_ago",
            "-1_days_ago",
            "+1_days_ago",
            "5_eons_ago",
            "this_week_start",
            "",
            "4000000000_years_ago",
            "9999999999_days_ago",
            "4000000000_hours_from_now",
            "week",
        ] {
            assert_eq!(moment(bad, now), None, "{bad}");
        }
    }
}
