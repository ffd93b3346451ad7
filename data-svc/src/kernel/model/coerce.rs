//! From JSON to typed values: the one canonicaliser of what is written and of what is compared
//! with (docs/reference/field-types.md §2).
//!
//! Invariant: what comes out prints canonically: moments are UTC cut to milliseconds, years lie in
//! 1..=9999, doubles are finite, decimals fit 64 bits at their scale.

use std::str::FromStr as _;

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive as _};
use serde_json::{Number, Value as Json};
use time::{Date, Duration, Month, OffsetDateTime, Time, UtcOffset};

/// The whole-number doubles below this are exact.
const EXACT_DOUBLE: f64 = 9_007_199_254_740_992.0;

/// A moment: ISO text with offset, without one (UTC), a bare day (midnight), or epoch milliseconds.
#[must_use]
pub fn datetime(value: &Json) -> Option<OffsetDateTime> {
    match value {
        Json::String(text) => datetime_text(text.trim()),
        Json::Number(number) => epoch_ms(number),
        _ => None,
    }
}

/// A day: an ISO date, a longer ISO text (cut), or the UTC day of epoch milliseconds.
#[must_use]
pub fn date(value: &Json) -> Option<Date> {
    match value {
        Json::String(text) => {
            let text = text.trim();
            if text.len() > 10 {
                // The day as written: a date is never shifted by a zone.
                datetime_text(text)?;
            }
            date_text(text.get(..10)?)
        }
        Json::Number(number) => epoch_ms(number).map(OffsetDateTime::date),
        _ => None,
    }
}

/// A time of day: `HH:MM` or `HH:MM:SS[.fff]`, cut to milliseconds.
#[must_use]
pub fn time(value: &Json) -> Option<Time> {
    let Json::String(text) = value else {
        return None;
    };
    let text = text.trim();
    time_text(text.strip_suffix('Z').unwrap_or(text))
}

/// A whole number: a JSON number without fraction, or text of one.
#[must_use]
pub fn integer(value: &Json) -> Option<i64> {
    match value {
        Json::Number(number) => number.as_i64().or_else(|| {
            let double = number.as_f64()?;
            whole(double)
        }),
        Json::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| {
                let decimal = decimal_text(text)?;
                decimal.fract().is_zero().then(|| decimal.to_i64())?
            })
        }
        _ => None,
    }
}

/// A finite double: a JSON number, or text of one.
#[must_use]
pub fn double(value: &Json) -> Option<f64> {
    let double = match value {
        Json::Number(number) => number.as_f64()?,
        Json::String(text) => {
            let text = text.trim();
            // `inf`, `nan` and their kin parse as f64, and are no numbers here.
            if text
                .bytes()
                .any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E'))
            {
                return None;
            }
            text.parse::<f64>().ok()?
        }
        _ => return None,
    };
    // Negative zero would print differently from zero and compare equal to it.
    double
        .is_finite()
        .then_some(if double == 0.0 { 0.0 } else { double })
}

/// An exact decimal rounded half away from zero to `scale` digits; `None` as well when it does not
/// fit 64 bits at that scale. The older `{value,currency}` object gives its value.
#[must_use]
pub fn decimal(value: &Json, scale: u32) -> Option<Decimal> {
    let value = match value {
        Json::Object(map) => map.get("value")?,
        other => other,
    };
    fit(decimal_exact(value)?, scale)
}

/// The decimal rounded half away from zero to `scale` digits.
#[must_use]
pub fn round(decimal: Decimal, scale: u32) -> Decimal {
    decimal.round_dp_with_strategy(scale, RoundingStrategy::MidpointAwayFromZero)
}

/// The decimal rounded to `scale` digits, if it then fits 64 bits at that scale.
#[must_use]
pub fn fit(decimal: Decimal, scale: u32) -> Option<Decimal> {
    let rounded = round(decimal, scale).normalize();
    decimal_fits(&rounded, scale).then_some(rounded)
}

/// A decimal with all its digits, read from the number's own text.
#[must_use]
pub fn decimal_exact(value: &Json) -> Option<Decimal> {
    match value {
        Json::Number(number) => decimal_text(&number.to_string()),
        Json::String(text) => decimal_text(text.trim()),
        _ => None,
    }
}

/// Whether the decimal, scaled to a whole number, fits 64 bits.
#[must_use]
pub fn decimal_fits(decimal: &Decimal, scale: u32) -> bool {
    scaled(decimal, scale).is_some()
}

/// The decimal times ten to the `scale`, when that is a whole number of 64 bits.
#[must_use]
pub fn scaled(decimal: &Decimal, scale: u32) -> Option<i64> {
    let factor = Decimal::from(10_i64.checked_pow(scale)?);
    let product = decimal.checked_mul(factor)?;
    product.fract().is_zero().then(|| product.to_i64())?
}

/// True or false, also as `0`, `1` and their texts.
#[must_use]
pub fn boolean(value: &Json) -> Option<bool> {
    match value {
        Json::Bool(value) => Some(*value),
        Json::Number(number) => match number.as_f64()? {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        },
        Json::String(text) => match text.trim() {
            "0" | "false" => Some(false),
            "1" | "true" => Some(true),
            _ => None,
        },
        _ => None,
    }
}

/// The id of a reference: a text, or the `id` of an object.
#[must_use]
pub fn reference(value: &Json) -> Option<&str> {
    match value {
        Json::String(id) => Some(id),
        Json::Object(map) => map.get("id")?.as_str(),
        _ => None,
    }
}

/// Whether the text is a bare day, `YYYY-MM-DD`.
#[must_use]
pub fn is_bare_day(text: &str) -> bool {
    date_text(text.trim()).is_some()
}

/// Midnight, UTC.
#[must_use]
pub fn midnight(day: Date) -> OffsetDateTime {
    day.midnight().assume_utc()
}

/// The moment cut to milliseconds, when its year has four digits.
#[must_use]
pub fn canonical_moment(moment: OffsetDateTime) -> Option<OffsetDateTime> {
    let utc = moment.checked_to_offset(UtcOffset::UTC)?;
    let cut = utc.replace_millisecond(utc.millisecond()).ok()?;
    (1..=9999).contains(&cut.year()).then_some(cut)
}

fn epoch_ms(number: &Number) -> Option<OffsetDateTime> {
    let ms = number.as_i64().or_else(|| {
        let double = number.as_f64()?;
        whole(double.trunc())
    })?;
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?;
    canonical_moment(moment)
}

fn whole(double: f64) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole double below 2^53 is an exact i64"
    )]
    (double.fract() == 0.0 && double.abs() <= EXACT_DOUBLE).then_some(double as i64)
}

fn decimal_text(text: &str) -> Option<Decimal> {
    // `from_str` accepts underscores between digits; numbers here do not.
    if text.contains('_') {
        return None;
    }
    if text.contains(['e', 'E']) {
        Decimal::from_scientific(text).ok()
    } else {
        // Digits beyond the 28 that it holds are refused, not rounded away.
        Decimal::from_str_exact(text)
            .or_else(|_| Decimal::from_str(text))
            .ok()
    }
}

fn datetime_text(text: &str) -> Option<OffsetDateTime> {
    let day = date_text(text.get(..10)?)?;
    let rest = text.get(10..)?;
    if rest.is_empty() {
        return canonical_moment(midnight(day));
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset) = split_offset(rest)?;
    let time = time_text(clock)?;
    let moment = day.with_time(time).assume_offset(offset);
    canonical_moment(moment)
}

/// Parts the clock from its offset; none is UTC.
fn split_offset(text: &str) -> Option<(&str, UtcOffset)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, UtcOffset::UTC));
    }
    let Some(at) = text.find(['+', '-']) else {
        return Some((text, UtcOffset::UTC));
    };
    let (clock, offset) = text.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let offset = &offset[1..];
    let (hours, minutes) = match offset.len() {
        2 => (offset, "00"),
        4 => offset.split_at_checked(2)?,
        5 => {
            let (hours, minutes) = offset.split_at_checked(2)?;
            (hours, minutes.strip_prefix(':')?)
        }
        _ => return None,
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = sign * (i32::try_from(hours).ok()? * 3600 + i32::try_from(minutes).ok()? * 60);
    Some((clock, UtcOffset::from_whole_seconds(seconds).ok()?))
}

fn date_text(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = i32::try_from(digits(text.get(..4)?)?).ok()?;
    let month = Month::try_from(u8::try_from(digits(text.get(5..7)?)?).ok()?).ok()?;
    let day = u8::try_from(digits(text.get(8..)?)?).ok()?;
    if year == 0 {
        return None;
    }
    Date::from_calendar_date(year, month, day).ok()
}

fn time_text(text: &str) -> Option<Time> {
    let (clock, fraction) = text
        .split_once('.')
        .map_or((text, None), |(clock, f)| (clock, Some(f)));
    let mut parts = clock.split(':');
    let mut part = || -> Option<Option<u8>> {
        let Some(text) = parts.next() else {
            return Some(None);
        };
        if text.len() != 2 {
            return None;
        }
        Some(Some(u8::try_from(digits(text)?).ok()?))
    };
    let (hour, minute, second) = (part()??, part()??, part()?);
    if part()?.is_some() {
        return None;
    }
    let ms = match (second, fraction) {
        (_, None) => 0,
        (None, Some(_)) => return None,
        (Some(_), Some(fraction)) => {
            if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let padded = format!("{fraction:0<3}");
            u16::try_from(digits(padded.get(..3)?)?).ok()?
        }
    };
    Time::from_hms_milli(hour, minute, second.unwrap_or(0), ms).ok()
}

fn digits(text: &str) -> Option<u32> {
    // `parse` alone would take a sign.
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

/// The day after, when there is one with a four-digit year.
#[must_use]
pub fn next_day(moment: OffsetDateTime) -> Option<OffsetDateTime> {
    canonical_moment(moment.checked_add(Duration::days(1))?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;
    use crate::kernel::model::cell::{format_date, format_datetime, format_time};

    #[test]
    fn moments_become_utc_milliseconds() {
        for (input, output) in [
            (
                json!("2026-05-30T10:00:00+02:00"),
                "2026-05-30T08:00:00.000Z",
            ),
            (
                json!("2026-05-30T08:00:00.123456Z"),
                "2026-05-30T08:00:00.123Z",
            ),
            (json!("2026-05-30 08:00"), "2026-05-30T08:00:00.000Z"),
            (json!("2026-05-30T08:00:00.5"), "2026-05-30T08:00:00.500Z"),
            (json!("2026-05-30"), "2026-05-30T00:00:00.000Z"),
            (
                json!("2026-01-01T00:30:00+0100"),
                "2025-12-31T23:30:00.000Z",
            ),
            (json!(1_780_128_000_123_i64), "2026-05-30T08:00:00.123Z"),
            (json!(-1), "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(
                crate::kernel::model::coerce::datetime(&input)
                    .map(format_datetime)
                    .as_deref(),
                Some(output),
                "{input}"
            );
        }
        for bad in [
            json!("2026-02-30"),
            json!("2026-05-30T24:00"),
            json!("0000-01-01"),
            json!("tomorrow"),
            json!("2026-05-30T08:00:00+25:00"),
            json!("2026-05-30T8:00"),
            json!("2026-05-30T"),
            json!("9999-12-31T23:59:59-01:00"),
            json!(1e300),
            json!(true),
            json!(null),
            json!("é026-05-30"),
            json!("2026-05-3é"),
            json!("+026-05-30"),
        ] {
            assert_eq!(crate::kernel::model::coerce::datetime(&bad), None, "{bad}");
        }
    }

    #[test]
    fn days_are_never_shifted() {
        let day = |value| date(&value).map(format_date);
        assert_eq!(
            day(json!("2026-05-30T23:00:00-05:00")).as_deref(),
            Some("2026-05-30")
        );
        assert_eq!(day(json!("2026-05-30")).as_deref(), Some("2026-05-30"));
        assert_eq!(day(json!("2026-05-30x")), None);
        assert_eq!(
            day(json!(1_780_128_000_123_i64)).as_deref(),
            Some("2026-05-30")
        );
    }

    #[test]
    fn times_take_minutes_and_fractions() {
        let clock = |text| time(&json!(text)).map(format_time);
        assert_eq!(clock("07:05").as_deref(), Some("07:05:00"));
        assert_eq!(clock("07:05:09.1239").as_deref(), Some("07:05:09.123"));
        assert_eq!(clock("7:05"), None);
        assert_eq!(clock("07:60"), None);
        assert_eq!(clock("07:05:01:02"), None);
    }

    #[test]
    fn numbers_are_exact_or_refused() {
        assert_eq!(integer(&json!(i64::MAX)), Some(i64::MAX));
        assert_eq!(integer(&json!(9_223_372_036_854_775_808_u64)), None);
        assert_eq!(integer(&json!(5.0)), Some(5));
        assert_eq!(integer(&json!(5.5)), None);
        assert_eq!(integer(&json!(" 12 ")), Some(12));
        assert_eq!(double(&json!("1e3")), Some(1000.0));
        for bad in ["inf", "NaN", "infinity", "1e999", "abc", ""] {
            assert_eq!(double(&json!(bad)), None, "{bad}");
        }
        assert_eq!(decimal(&json!(0.1), 2), Decimal::from_str("0.1").ok());
        assert_eq!(decimal(&json!("2.345"), 2), Decimal::from_str("2.35").ok());
        assert_eq!(
            decimal(&json!("-2.345"), 2),
            Decimal::from_str("-2.35").ok()
        );
        assert_eq!(
            decimal(&json!({"value": 3, "currency": "EUR"}), 2),
            Some(Decimal::from(3))
        );
        assert_eq!(decimal(&json!(1e18), 2), None);
        assert_eq!(decimal(&json!("1_000"), 2), None);
        assert_eq!(
            scaled(&Decimal::from_str("12.34").expect("decimal"), 2),
            Some(1234)
        );
    }

    #[test]
    fn the_next_day_follows() {
        assert_eq!(
            next_day(datetime!(2026-02-28 00:00 UTC)),
            Some(datetime!(2026-03-01 00:00 UTC))
        );
        assert_eq!(next_day(datetime!(9999-12-31 00:00 UTC)), None);
    }
}
