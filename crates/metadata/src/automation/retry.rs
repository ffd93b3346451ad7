//! How often something that failed is tried again, and after which pauses.

use crate::reader::Reader;

/// Attempts after the first, at most.
const RETRIES_MAX: i64 = 20;
/// The longest pause that can be asked for: an hour, in milliseconds.
const DELAY_MAX_MS: f64 = 3_600_000.0;

/// How often, and after which pauses.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// Attempts after the first, 0 to 20.
    pub retries: i64,
    /// The first pause, in milliseconds; 1000 unless written.
    pub delay_ms: f64,
    /// What each pause is longer than the one before, 1 to 10; 1 unless written.
    pub multiplier: f64,
    /// The longest pause, in milliseconds; a minute unless written, an hour at most.
    pub delay_max_ms: f64,
    /// Whether pauses vary at random, so that not all come back at once.
    pub jitter: bool,
}

impl Backoff {
    /// The pause before an attempt, the first repetition being 1; in milliseconds.
    pub fn pause_ms(&self, attempt: i64) -> i64 {
        let exponent = i32::try_from(attempt.max(1) - 1).unwrap_or(i32::MAX);
        let pause = self.delay_ms * self.multiplier.powi(exponent);
        // A cast of a float saturates.
        pause.min(self.delay_max_ms).max(0.0) as i64
    }

    /// Reads `maxRetries`, or `attempts`, of which the first `firsts` are no repetitions.
    pub(crate) fn read(reader: &Reader<'_>, firsts: i64) -> Self {
        let retries = reader.integer(&["maxRetries"]);
        let attempts = reader.integer(&["attempts"]);
        let retries = retries.or_else(|| attempts.map(|attempts| attempts.saturating_sub(firsts)));
        let multiplier = reader.number(&["backoffMultiplier", "multiplier"]);
        let delay_max = reader.number(&["maxRetryDelayMs", "maxDelayMs"]);
        Self {
            retries: retries.unwrap_or(0).clamp(0, RETRIES_MAX),
            delay_ms: reader
                .number(&["retryDelayMs", "backoffMs", "delayMs", "initialDelayMs"])
                .unwrap_or(1000.0),
            multiplier: multiplier.unwrap_or(1.0).clamp(1.0, 10.0),
            delay_max_ms: delay_max.unwrap_or(60_000.0).min(DELAY_MAX_MS),
            jitter: reader.flag(&["jitter"]).unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Sink;
    use serde_json::json;

    #[test]
    fn pauses_grow_to_their_limit() {
        let value = json!({"maxRetries": 3, "retryDelayMs": 100, "backoffMultiplier": 3,
            "maxRetryDelayMs": 500});
        let sink = Sink::default();
        let reader = Reader::new(&value, String::new(), &sink).unwrap();
        let backoff = Backoff::read(&reader, 0);
        let pauses: Vec<i64> = (1..=3).map(|attempt| backoff.pause_ms(attempt)).collect();
        assert_eq!(pauses, [100, 300, 500]);
    }
}
