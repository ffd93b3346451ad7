//! Owns the demo data's times: working hours, arrivals, and how moments are written.
//!
//! Invariant: everything is UTC and in milliseconds since 1970; no clock is read.

use super::random::{Random, Stream};

pub(super) const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// How far back the history reaches: 18 months.
pub(super) const HISTORY_DAYS: i64 = 548;

const OPENS: i64 = 7;
const CLOSES: i64 = 18;

/// How busy an hour is, from midnight on, and a weekday, from Monday on.
const HOUR_WEIGHTS: [i64; 24] = [
    1, 1, 1, 1, 1, 2, 5, 12, 22, 28, 30, 28, 22, 24, 27, 25, 20, 14, 8, 6, 4, 3, 2, 1,
];
const WEEKDAY_WEIGHTS: [i64; 7] = [12, 11, 10, 10, 9, 3, 2];

/// `2026-05-30T08:00:00.000Z`
pub(super) fn datetime(ms: i64) -> String {
    let of_day = ms.rem_euclid(DAY);
    format!(
        "{}T{:02}:{:02}:{:02}.{:03}Z",
        date(ms),
        of_day / HOUR,
        of_day % HOUR / MINUTE,
        of_day % MINUTE / 1000,
        of_day % 1000
    )
}

/// `2026-05-30`
pub(super) fn date(ms: i64) -> String {
    // Days to a civil date, counted from 0000-03-01 so that the leap day comes last.
    let days = ms.div_euclid(DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Monday is 0.
pub(super) fn weekday(ms: i64) -> usize {
    (ms.div_euclid(DAY) + 3).rem_euclid(7) as usize
}

pub(super) fn hour(ms: i64) -> i64 {
    ms.rem_euclid(DAY) / HOUR
}

/// The moment `minutes` of working time after `from`.
pub(super) fn after_working(from: i64, minutes: i64) -> i64 {
    let mut at = from;
    let mut left = minutes * MINUTE;
    loop {
        let midnight = at - at.rem_euclid(DAY);
        let closes = midnight + CLOSES * HOUR;
        if weekday(at) >= 5 || at >= closes {
            at = midnight + DAY;
            continue;
        }
        at = at.max(midnight + OPENS * HOUR);
        if at + left <= closes {
            return at + left;
        }
        left -= closes - at;
        at = midnight + DAY;
    }
}

/// `count` moments before `base`, oldest first, dense where a support desk is busy.
pub(super) fn arrivals(base: i64, count: usize) -> Vec<i64> {
    let from = base - HISTORY_DAYS * DAY;
    let hours = (base - from) / HOUR;
    let weight_of = |index: i64| {
        let at = from + index * HOUR;
        let growth = 700 + 600 * index / hours;
        HOUR_WEIGHTS[hour(at) as usize] * WEEKDAY_WEIGHTS[weekday(at)] * growth
    };
    let total: i64 = (0..hours).map(weight_of).sum();

    let mut random = Random::new(Stream::Arrival, 0);
    let mut moments = Vec::with_capacity(count);
    let mut index = 0;
    let mut passed = 0;
    for number in 0..count as i64 {
        let target = (total / 1000) * (number * 1000 + random.between(0, 999)) / count as i64;
        while index < hours - 1 && passed + weight_of(index) <= target {
            passed += weight_of(index);
            index += 1;
        }
        let of_hour = HOUR * (target - passed) / weight_of(index);
        moments.push(from + index * HOUR + of_hour.min(HOUR - 1));
    }
    moments
}
