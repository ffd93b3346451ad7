//! How dates, times and decimals are written in SQLite, which has no types for them.
//!
//! Invariant: dates and moments have a fixed width, so that comparing text compares time.

use std::fmt::Write as _;

use rust_decimal::Decimal;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// `2024-02-29`.
pub(super) fn date(value: Date) -> String {
    let mut text = String::with_capacity(24);
    push_date(&mut text, value);
    text
}

/// `09:30:00`, with `.125` when there are milliseconds.
pub(super) fn time(value: Time) -> String {
    let mut text = String::with_capacity(12);
    push_time(&mut text, value);
    if value.millisecond() != 0 {
        push_millisecond(&mut text, value);
    }
    text
}

/// `2024-02-29T09:30:00.125Z`: always UTC, always three digits.
pub(super) fn date_time(value: OffsetDateTime) -> String {
    let utc = value.to_offset(UtcOffset::UTC);
    let mut text = String::with_capacity(24);
    push_date(&mut text, utc.date());
    text.push('T');
    push_time(&mut text, utc.time());
    push_millisecond(&mut text, utc.time());
    text.push('Z');
    text
}

/// Without exponent and trailing zeros, so that equal numbers are equal text.
pub(super) fn decimal(value: Decimal) -> String {
    value.normalize().to_string()
}

/// Cut to what both databases keep.
pub(super) fn cut_time(value: Time) -> Time {
    value
        .replace_nanosecond(u32::from(value.millisecond()) * 1_000_000)
        .unwrap_or(value)
}

/// Cut to what both databases keep, in UTC.
pub(super) fn cut(value: OffsetDateTime) -> OffsetDateTime {
    let utc = value.to_offset(UtcOffset::UTC);
    utc.replace_time(cut_time(utc.time()))
}

// Writing into a String cannot fail, hence the ignored results.
fn push_date(text: &mut String, value: Date) {
    let (year, month, day) = value.to_calendar_date();
    let _ = write!(text, "{year:04}-{:02}-{day:02}", u8::from(month));
}

fn push_time(text: &mut String, value: Time) {
    let (hour, minute, second) = value.as_hms();
    let _ = write!(text, "{hour:02}:{minute:02}:{second:02}");
}

fn push_millisecond(text: &mut String, value: Time) {
    let _ = write!(text, ".{:03}", value.millisecond());
}

/// Reads [`date`], also at the head of a moment.
pub(super) fn parse_date(text: &str) -> Option<Date> {
    let (date, rest) = take_date(text.as_bytes())?;
    matches!(rest, [] | [b'T' | b' ', ..]).then_some(date)
}

/// Reads [`time`].
pub(super) fn parse_time(text: &str) -> Option<Time> {
    let (time, rest) = take_time(text.as_bytes())?;
    rest.is_empty().then_some(time)
}

/// Reads [`date_time`], and what SQLite's own functions write (`2024-02-29 09:30:00`, UTC).
pub(super) fn parse_date_time(text: &str) -> Option<OffsetDateTime> {
    let (date, rest) = take_date(text.as_bytes())?;
    let (time, zone) = match rest {
        [] => (Time::MIDNIGHT, rest),
        [b'T' | b' ', rest @ ..] => take_time(rest)?,
        _ => return None,
    };
    let local = PrimitiveDateTime::new(date, time);
    let offset = match zone {
        [] | b"Z" => UtcOffset::UTC,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let sign = if *sign == b'-' { -1 } else { 1 };
            let hours = i8::try_from(number(&[*h1, *h2])?).ok()?;
            let minutes = i8::try_from(number(&[*m1, *m2])?).ok()?;
            UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()?
        }
        _ => return None,
    };
    local
        .assume_offset(offset)
        .checked_to_offset(UtcOffset::UTC)
}

/// Reads [`decimal`].
pub(super) fn parse_decimal(text: &str) -> Option<Decimal> {
    let value = Decimal::from_str_exact(text).ok();
    value.or_else(|| Decimal::from_scientific(text).ok())
}

fn take_date(text: &[u8]) -> Option<(Date, &[u8])> {
    let (head, rest) = text.split_at_checked(10)?;
    if head[4] != b'-' || head[7] != b'-' {
        return None;
    }
    let year = i32::try_from(number(&head[..4])?).ok()?;
    let month = Month::try_from(u8::try_from(number(&head[5..7])?).ok()?).ok()?;
    let day = u8::try_from(number(&head[8..])?).ok()?;
    Some((Date::from_calendar_date(year, month, day).ok()?, rest))
}

fn take_time(text: &[u8]) -> Option<(Time, &[u8])> {
    let (head, rest) = text.split_at_checked(8)?;
    if head[2] != b':' || head[5] != b':' {
        return None;
    }
    let part = |range: &[u8]| u8::try_from(number(range)?).ok();
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            rest.split_at(digits)
        }
        _ => (&[][..], rest),
    };
    let mut millisecond = 0;
    for place in 0..3 {
        let digit = fraction.get(place).map_or(0, |digit| digit - b'0');
        millisecond = millisecond * 10 + u16::from(digit);
    }
    let (hour, minute, second) = (part(&head[..2])?, part(&head[3..5])?, part(&head[6..])?);
    let time = Time::from_hms_milli(hour, minute, second, millisecond).ok()?;
    Some((time, rest))
}

fn number(digits: &[u8]) -> Option<u32> {
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u32::from(digit - b'0');
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime, time};

    use super::*;

    #[test]
    fn moments_are_utc_and_milliseconds() {
        let moment = datetime!(2024-02-29 23:30:00.123_999 -01:00);
        assert_eq!(date_time(moment), "2024-03-01T00:30:00.123Z");
        assert_eq!(
            parse_date_time("2024-03-01T00:30:00.123Z"),
            Some(cut(moment))
        );
        // Before 1970 the cut still goes towards the past.
        let old = datetime!(1969-12-31 23:59:59.999_9 UTC);
        assert_eq!(parse_date_time(&date_time(old)), Some(cut(old)));
    }

    #[test]
    fn what_sqlite_writes_is_read_as_utc() {
        let noon = Some(datetime!(2024-02-29 12:00 UTC));
        assert_eq!(parse_date_time("2024-02-29 12:00:00"), noon);
        assert_eq!(parse_date_time("2024-02-29T13:00:00+01:00"), noon);
        for bad in [
            "",
            "2024-02-30",
            "2024-02-29T25:00:00Z",
            "2024-02-29x",
            "2024-02-29T12:00:00?",
        ] {
            assert_eq!(parse_date_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date(date!(0987 - 01 - 02)), "0987-01-02");
        assert_eq!(parse_date("0987-01-02"), Some(date!(0987 - 01 - 02)));
        assert_eq!(time(time!(9:05:00)), "09:05:00");
        assert_eq!(time(time!(9:05:00.007)), "09:05:00.007");
        assert_eq!(parse_time("09:05:00.007"), Some(time!(9:05:00.007)));
        assert_eq!(parse_time("9:05"), None);
    }

    #[test]
    fn equal_decimals_are_equal_text() {
        let text = |s: &str| parse_decimal(s).map(decimal);
        assert_eq!(text("1.50").as_deref(), Some("1.5"));
        assert_eq!(text("-0.00").as_deref(), Some("0"));
        assert_eq!(text("1e3").as_deref(), Some("1000"));
        assert_eq!(text("x"), None);
    }
}
