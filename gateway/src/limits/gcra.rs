//! The token bucket behind every limit, as the generic cell rate algorithm: one number a bucket, the
//! moment at which it will be full again. The script in `shared` does the same sum in Redis.
//!
//! Own code and not a crate: both stores must agree to the token, and the table of buckets must be
//! bounded, since strangers' addresses are its keys.

use std::time::Duration;

const MINUTE_US: u64 = 60_000_000;

/// How much a bucket holds, and how fast it fills: as many tokens as it holds, in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Tokens of a full bucket.
    pub(super) burst: u32,
    /// Microseconds until one more token is there.
    pub(super) interval_us: u64,
}

/// A bucket after tokens were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Tokens taken; fewer than asked for when there were not more.
    pub(super) granted: u32,
    /// Tokens left.
    pub(super) free: u32,
    /// Microseconds until the bucket is full.
    pub(super) full_in_us: u64,
}

impl Rate {
    /// So many requests a minute; 0 is no limit.
    pub(super) fn per_minute(count: u32) -> Option<Self> {
        let interval_us = MINUTE_US.checked_div(count.into())?.max(1);
        Some(Self {
            burst: count,
            interval_us,
        })
    }

    /// Takes up to `wanted` tokens from the bucket that is full at `full_at_us`.
    pub(super) fn take(self, full_at_us: &mut u64, now_us: u64, wanted: u32) -> Level {
        let full_at = (*full_at_us).max(now_us);
        let free = self.free(full_at, now_us);
        let granted = wanted.min(free);
        *full_at_us = full_at + u64::from(granted) * self.interval_us;
        Level {
            granted,
            free: free - granted,
            full_in_us: *full_at_us - now_us,
        }
    }

    /// Tokens in the bucket that is full at `full_at_us`.
    pub(super) fn free(self, full_at_us: u64, now_us: u64) -> u32 {
        let used = full_at_us.saturating_sub(now_us).div_ceil(self.interval_us);
        u64::from(self.burst)
            .saturating_sub(used)
            .try_into()
            .unwrap_or(self.burst)
    }

    /// How long until the bucket that is full in `full_in_us` holds a token.
    pub(super) fn next_token_in(self, full_in_us: u64) -> Duration {
        let but_one = u64::from(self.burst.saturating_sub(1)) * self.interval_us;
        Duration::from_micros(full_in_us.saturating_sub(but_one))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_bucket_gives_all_at_once_then_one_an_interval() {
        let rate = Rate::per_minute(3).unwrap();
        let mut full_at = 0;
        let now = 1_000_000_000;
        let mut take = |at: u64| {
            let level = rate.take(&mut full_at, now + at, 1);
            (level.granted, level.free)
        };
        assert_eq!([take(0), take(0), take(0)], [(1, 2), (1, 1), (1, 0)]);
        assert_eq!(take(19_999_999), (0, 0));
        assert_eq!(take(20_000_000), (1, 0));
        assert_eq!(take(20_000_001), (0, 0));
        assert_eq!(take(1_000_000_000), (1, 2));
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_again() {
        let rate = Rate::per_minute(10).unwrap();
        let mut full_at = 0;
        let level = rate.take(&mut full_at, 500, 12);
        assert_eq!((level.granted, level.free), (10, 0));
        assert_eq!(level.full_in_us, 60_000_000);
        let wait = rate.next_token_in(level.full_in_us);
        assert_eq!(wait, Duration::from_secs(6));
        let then = 500 + 6_000_000;
        assert_eq!(rate.take(&mut full_at, then - 1, 1).granted, 0);
        assert_eq!(rate.take(&mut full_at, then, 1).granted, 1);
    }

    #[test]
    fn no_limit_is_none() {
        assert_eq!(Rate::per_minute(0), None);
        assert_eq!(Rate::per_minute(u32::MAX).unwrap().interval_us, 1);
    }

    proptest! {
        /// Whatever is asked for and when: in no stretch of time more than the bucket holds and
        /// what flowed in meanwhile.
        #[test]
        fn never_more_than_burst_and_flow(
            count in 1_u32..2_000,
            asked in prop::collection::vec((0_u64..3_000_000, 1_u32..50), 1..80),
        ) {
            let rate = Rate::per_minute(count).unwrap();
            let (mut full_at, mut now) = (0, 60_000_000_u64);
            let mut grants = Vec::new();
            for (pause, wanted) in asked {
                now += pause;
                let level = rate.take(&mut full_at, now, wanted);
                prop_assert!(level.granted <= wanted && level.free <= count);
                prop_assert!(level.granted == wanted || level.free == 0);
                grants.push((now, u64::from(level.granted)));
            }
            for (start, (from, _)) in grants.iter().enumerate() {
                let mut sum = 0;
                for (at, granted) in &grants[start..] {
                    sum += granted;
                    let flow = (at - from) / rate.interval_us + 1;
                    prop_assert!(sum <= u64::from(count) + flow, "{sum} since {from}");
                }
            }
        }
    }
}
