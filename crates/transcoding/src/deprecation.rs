//! Routes on their way out: what the contract says of them, as headers of every answer.

use anyhow::Context as _;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use proto::annotations::v1::Deprecation;
use time::{Date, OffsetDateTime, Time, UtcOffset, format_description::well_known::Rfc2822};

/// A route that clients should leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deprecated {
    /// Since when, as a date: `2026-03-01`.
    pub since: String,
    /// The day after which it may be gone.
    pub sunset: Option<String>,
    /// Path of what takes its place.
    pub successor: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Deprecated {
    /// Reads the option.
    ///
    /// # Errors
    /// When a date is none, or the successor no path.
    pub fn of(option: &Deprecation) -> anyhow::Result<Self> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (sunset, successor) = (given(&option.sunset), given(&option.successor));
        let since = moment(&option.since)?;
        // RFC 9745: a date as seconds since 1970, after an `@`.
        let since = HeaderValue::try_from(format!("@{}", since.unix_timestamp()))?;
        let mut headers = vec![(HeaderName::from_static("deprecation"), since)];
        if let Some(day) = &sunset {
            // RFC 8594: an HTTP date.
            let date = moment(day)?.format(&Rfc2822)?.replace("+0000", "GMT");
            headers.push((HeaderName::from_static("sunset"), date.try_into()?));
        }
        if let Some(path) = &successor {
            anyhow::ensure!(path.starts_with('/'), "the successor `{path}` is no path");
            let link = format!("<{path}>; rel=\"successor-version\"");
            headers.push((header::LINK, link.try_into()?));
        }
        Ok(Self {
            since: option.since.clone(),
            sunset,
            successor,
            headers,
        })
    }

    /// Tells it in an answer's headers: `Deprecation`, and `Sunset` and `Link` where they are known.
    pub fn tell(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// The beginning of a day in UTC.
fn moment(day: &str) -> anyhow::Result<OffsetDateTime> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let date = Date::parse(day, &format).with_context(|| format!("`{day}` is no date"))?;
    Ok(date.with_time(Time::MIDNIGHT).assume_offset(UtcOffset::UTC))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(since: &str, sunset: &str, successor: &str) -> Deprecation {
        Deprecation {
            since: since.to_owned(),
            sunset: sunset.to_owned(),
            successor: successor.to_owned(),
        }
    }

    #[test]
    fn what_is_known_is_told() {
        let mut headers = HeaderMap::new();
        let known = option("2026-03-01", "2027-01-01", "/api/v2/data");
        Deprecated::of(&known).unwrap().tell(&mut headers);
        assert_eq!(headers["deprecation"], "@1772323200");
        assert_eq!(headers["sunset"], "Fri, 01 Jan 2027 00:00:00 GMT");
        assert_eq!(headers["link"], "</api/v2/data>; rel=\"successor-version\"");

        let mut headers = HeaderMap::new();
        let known = option("2026-03-01", "", "");
        Deprecated::of(&known).unwrap().tell(&mut headers);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn what_is_wrong_keeps_the_table_from_being_built() {
        for wrong in [
            option("", "", ""),
            option("soon", "", ""),
            option("2026-03-01", "2026-13-01", ""),
            option("2026-03-01", "", "v2"),
        ] {
            assert!(Deprecated::of(&wrong).is_err(), "{wrong:?}");
        }
    }
}
