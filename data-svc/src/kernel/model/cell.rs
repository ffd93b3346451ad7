//! One value of a record, typed as it is stored, with its canonical JSON form.
//!
//! Invariant: a value prints the same whichever database it came from.

use std::fmt::Write as _;

use rust_decimal::Decimal;
use serde_json::Value as Json;
use time::{Date, OffsetDateTime, Time, UtcOffset};

/// One value of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// Text.
    Text(String),
    /// 64-bit integer.
    Integer(i64),
    /// Double; always finite.
    Double(f64),
    /// Exact decimal.
    Decimal(Decimal),
    /// True or false.
    Boolean(bool),
    /// A day.
    Date(Date),
    /// A time of day.
    Time(Time),
    /// A moment in UTC, cut to milliseconds.
    DateTime(OffsetDateTime),
    /// JSON text.
    Json(String),
}

impl Cell {
    /// Whether there is no value.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a text cell.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Appends the canonical JSON form.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Text(text) => write_text(out, text),
            Self::Integer(number) => write_display(out, number),
            Self::Double(number) => write_double(out, *number),
            Self::Decimal(number) => write_decimal(out, number),
            Self::Boolean(true) => out.extend_from_slice(b"true"),
            Self::Boolean(false) => out.extend_from_slice(b"false"),
            Self::Date(date) => write_quoted(out, &format_date(*date)),
            Self::Time(time) => write_quoted(out, &format_time(*time)),
            Self::DateTime(moment) => {
                out.push(b'"');
                write_datetime(out, *moment);
                out.push(b'"');
            }
            Self::Json(text) => out.extend_from_slice(text.as_bytes()),
        }
    }

    /// The canonical JSON form as a value.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut out = Vec::new();
        self.write_json(&mut out);
        serde_json::from_slice(&out).unwrap_or(Json::Null)
    }
}

/// Appends a JSON string.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    // Writing into a Vec cannot fail.
    let _infallible = serde_json::to_writer(out, text);
}

/// Appends text that needs no escapes, in quotes.
pub fn write_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Appends an integer.
pub fn write_display(out: &mut Vec<u8>, number: &i64) {
    use std::io::Write as _;
    let _infallible = write!(out, "{number}");
}

/// Appends a double: whole numbers without a point, as JavaScript prints them.
pub fn write_double(out: &mut Vec<u8>, number: f64) {
    use std::io::Write as _;
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        let _infallible = write!(out, "{number:.0}");
    } else {
        let _infallible = serde_json::to_writer(out, &number);
    }
}

/// Appends a decimal without trailing zeros.
pub fn write_decimal(out: &mut Vec<u8>, number: &Decimal) {
    use std::io::Write as _;
    let _infallible = write!(out, "{}", number.normalize());
}

/// `YYYY-MM-DD`.
#[must_use]
pub fn format_date(date: Date) -> String {
    format!(
        "{:04}-{:02}-{:02}",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}

/// `HH:MM:SS`, with `.fff` only when it is not zero.
#[must_use]
pub fn format_time(time: Time) -> String {
    let mut text = format!(
        "{:02}:{:02}:{:02}",
        time.hour(),
        time.minute(),
        time.second()
    );
    if time.millisecond() != 0 {
        // Writing into a String cannot fail.
        let _infallible = write!(text, ".{:03}", time.millisecond());
    }
    text
}

/// `YYYY-MM-DDTHH:MM:SS.sssZ`.
#[must_use]
pub fn format_datetime(moment: OffsetDateTime) -> String {
    let mut text = Vec::with_capacity(24);
    write_datetime(&mut text, moment);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends `YYYY-MM-DDTHH:MM:SS.sssZ`. Digit by digit: every record has moments, and the formatting
/// machinery took a tenth of a list's time.
fn write_datetime(out: &mut Vec<u8>, moment: OffsetDateTime) {
    let utc = moment.to_offset(UtcOffset::UTC);
    match u16::try_from(utc.year()) {
        Ok(year @ 0..=9999) => {
            out.extend(pair(year / 100));
            out.extend(pair(year % 100));
        }
        // No column holds such a year.
        _ => out.extend(utc.year().to_string().bytes()),
    }
    let parts = [
        (b'-', u8::from(utc.month())),
        (b'-', utc.day()),
        (b'T', utc.hour()),
        (b':', utc.minute()),
        (b':', utc.second()),
    ];
    for (before, part) in parts {
        out.push(before);
        out.extend(pair(part.into()));
    }
    let millisecond = utc.millisecond();
    out.extend([b'.', digit(millisecond / 100)]);
    out.extend(pair(millisecond % 100));
    out.push(b'Z');
}

/// The two digits of a number below 100.
fn pair(number: u16) -> [u8; 2] {
    [digit(number / 10), digit(number % 10)]
}

/// The digit of a number below 10.
fn digit(number: u16) -> u8 {
    b"0123456789"[usize::from(number % 10)]
}
