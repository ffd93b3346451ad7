//! Dates and moments: how they are read, written and counted.

use time::{
    Date, Duration, Month, OffsetDateTime, Time, UtcOffset,
    format_description::well_known::Rfc3339, macros::format_description,
};

/// A date `YYYY-MM-DD`, or nothing.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    Date::parse(text, format_description!("[year]-[month]-[day]")).ok()
}

/// A moment in RFC 3339; `T` may be a space, seconds may lack, and without an offset it is UTC.
pub(crate) fn parse_moment(text: &str) -> Option<OffsetDateTime> {
    let mut text = text.trim().to_owned();
    if text.as_bytes().get(10) == Some(&b' ') {
        text.replace_range(10..11, "T");
    }
    let clock = text.get(11..)?;
    if !clock.ends_with(['Z', 'z']) && !clock.contains(['+', '-']) {
        text.push('Z');
    }
    let parsed = OffsetDateTime::parse(&text, &Rfc3339);
    let parsed = parsed.or_else(|error| {
        // `2026-05-01T10:00Z`: browsers' inputs leave the seconds out.
        if text.as_bytes().get(13) == Some(&b':') && text.as_bytes().get(16) != Some(&b':') {
            let mut padded = text.clone();
            if padded.is_char_boundary(16) {
                padded.insert_str(16, ":00");
            }
            return OffsetDateTime::parse(&padded, &Rfc3339);
        }
        Err(error)
    });
    Some(parsed.ok()?.to_offset(UtcOffset::UTC))
}

/// `YYYY-MM-DD`.
pub(crate) fn format_date(date: Date) -> String {
    date.format(format_description!("[year]-[month]-[day]"))
        .unwrap_or_default()
}

/// RFC 3339 in UTC with milliseconds, as records hold moments.
pub(crate) fn format_moment(moment: OffsetDateTime) -> String {
    moment
        .to_offset(UtcOffset::UTC)
        .format(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        ))
        .unwrap_or_default()
}

/// Midnight in UTC.
pub(crate) fn midnight(date: Date) -> OffsetDateTime {
    date.with_time(Time::MIDNIGHT).assume_utc()
}

/// A date some months later; the day is cut to the end of its month.
pub(crate) fn add_months(date: Date, months: i64) -> Option<Date> {
    let month = i64::from(date.year()) * 12 + i64::from(u8::from(date.month())) - 1;
    let month = month.checked_add(months)?;
    let year = i32::try_from(month.div_euclid(12)).ok()?;
    let month = Month::try_from(u8::try_from(month.rem_euclid(12)).ok()? + 1).ok()?;
    let day = date.day().min(month.length(year));
    Date::from_calendar_date(year, month, day).ok()
}

/// A duration: `720h`, `1h30m`, `1.5s`, `-10ms` or ISO 8601 (`P30D`, `PT1H30M`, weeks included;
/// years and months have no fixed length and are refused).
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let seconds = match rest.strip_prefix(['P', 'p']) {
        Some(iso) => iso_seconds(iso)?,
        None => units(rest, |unit| {
            Some(match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            })
        })?,
    };
    let duration = Duration::checked_seconds_f64(seconds)?;
    Some(if negative { -duration } else { duration })
}

fn iso_seconds(text: &str) -> Option<f64> {
    let (days, clock) = match text.split_once(['T', 't']) {
        Some((days, clock)) => (days, Some(clock)),
        None => (text, None),
    };
    let mut seconds = 0.0;
    if !days.is_empty() {
        seconds += units(days, |unit| match unit {
            "W" | "w" => Some(604_800.0),
            "D" | "d" => Some(86_400.0),
            _ => None,
        })?;
    }
    match clock {
        Some(clock) => {
            seconds += units(clock, |unit| match unit {
                "H" | "h" => Some(3600.0),
                "M" | "m" => Some(60.0),
                "S" | "s" => Some(1.0),
                _ => None,
            })?;
        }
        None if days.is_empty() => return None,
        None => {}
    }
    Some(seconds)
}

/// The sum of numbers with units; at least one.
fn units(mut text: &str, length: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    if text == "0" {
        return Some(0.0);
    }
    if text.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = text.get(..digits)?.parse().ok()?;
        let rest = text.get(digits..)?;
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        seconds += number * length(rest.get(..end)?)?;
        text = rest.get(end..)?;
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    #[test]
    fn moments_are_read_in_the_forms_that_clients_send() {
        for text in [
            "2026-05-01T10:00:00Z",
            "2026-05-01T10:00:00.000Z",
            "2026-05-01 10:00:00",
            "2026-05-01T12:00:00+02:00",
            "2026-05-01T10:00",
            "2026-05-01T10:00Z",
        ] {
            assert_eq!(
                parse_moment(text),
                Some(datetime!(2026-05-01 10:00 UTC)),
                "{text}"
            );
        }
        for text in [
            "",
            "soon",
            "2026-05-01",
            "2026-13-01T00:00:00Z",
            "äääääääääää",
        ] {
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }

    #[test]
    fn a_month_later_is_never_in_the_month_after_it() {
        assert_eq!(
            add_months(date!(2026 - 01 - 31), 1),
            Some(date!(2026 - 02 - 28))
        );
        assert_eq!(
            add_months(date!(2026 - 03 - 15), -3),
            Some(date!(2025 - 12 - 15))
        );
        assert_eq!(
            add_months(date!(2024 - 02 - 29), 12),
            Some(date!(2025 - 02 - 28))
        );
        assert_eq!(add_months(date!(2024 - 02 - 29), i64::MAX), None);
    }

    #[test]
    fn durations_are_read_in_both_spellings() {
        assert_eq!(parse_duration("720h"), Some(Duration::days(30)));
        assert_eq!(parse_duration("P30D"), Some(Duration::days(30)));
        assert_eq!(parse_duration("P1W"), Some(Duration::weeks(1)));
        assert_eq!(parse_duration("PT1H30M"), Some(Duration::minutes(90)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::minutes(90)));
        assert_eq!(parse_duration("-1.5s"), Some(Duration::milliseconds(-1500)));
        for text in ["", "P", "PT", "P1Y", "3", "h", "1x", "1e400s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
