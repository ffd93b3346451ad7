//! The buckets that all gateways share: in Redis, on its clock, moved by one script a visit.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use super::gcra::{Level, Rate};

/// Longest wait for Redis; it normally answers within a millisecond.
const WAIT: Duration = Duration::from_millis(100);
/// How long Redis is left alone after it failed, so that not every request waits for it.
const PAUSE_US: u64 = 1_000_000;

/// Gives tokens back, takes others: `Rate::take` in Lua. Numbers are doubles there, exact for
/// microseconds until the year 2255.
const TAKE: &str = r"
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, back = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = tonumber(redis.call('GET', KEYS[1]) or 0)
full_at = math.max(full_at - back * interval, now)
local free = math.max(burst - math.ceil((full_at - now) / interval), 0)
local granted = math.min(wanted, free)
full_at = full_at + granted * interval
local left = full_at - now
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil(left / 1000) + 1)
return {granted, free - granted, left}
";

/// The way to Redis.
pub(super) struct Shared {
    connection: ConnectionManager,
    /// Until when it is left alone, in microseconds of the gateway's clock.
    away_until_us: AtomicU64,
}

impl Shared {
    /// Buckets in Redis at `url`. Connects on first use, so that a gateway starts without it.
    pub(super) fn connect(url: &str) -> anyhow::Result<Self> {
        let client = redis::Client::open(url)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_max_delay(WAIT)
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(WAIT));
        let connection = ConnectionManager::new_lazy_with_config(client, config)?;
        Ok(Self {
            connection,
            away_until_us: AtomicU64::new(0),
        })
    }

    /// Whether Redis may be asked now.
    pub(super) fn is_there(&self, now_us: u64) -> bool {
        self.away_until_us.load(Ordering::Relaxed) <= now_us
    }

    /// Gives `back` tokens to the bucket and takes up to `wanted`. `None` when Redis does not
    /// answer; then it is left alone for a while.
    pub(super) async fn take(
        &self,
        key: &str,
        rate: Rate,
        wanted: u32,
        back: u32,
        now_us: u64,
    ) -> Option<Level> {
        let before = self.away_until_us.load(Ordering::Relaxed);
        if before != 0 {
            // It failed last time: one request tries it, the others do without meanwhile.
            let again = now_us + PAUSE_US;
            let won = self.away_until_us.compare_exchange(
                before,
                again,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            won.ok()?;
        }
        let mut connection = self.connection.clone();
        let mut script = redis::cmd("EVAL");
        script.arg(TAKE).arg(1).arg(key);
        script.arg(rate.interval_us).arg(rate.burst);
        script.arg(wanted).arg(back);
        let asked = script.query_async::<(u32, u32, u64)>(&mut connection);
        let failure = match tokio::time::timeout(WAIT, asked).await {
            Ok(Ok((granted, free, full_in_us))) => {
                self.away_until_us.store(0, Ordering::Relaxed);
                return Some(Level {
                    granted,
                    free,
                    full_in_us,
                });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {WAIT:?}"),
        };
        self.away_until_us
            .store(now_us + PAUSE_US, Ordering::Relaxed);
        if before == 0 {
            tracing::warn!(
                error = failure,
                "Redis does not count for the rate limits; this gateway counts alone"
            );
        }
        metrics::counter!("objectmesh_rate_limit_alone_total").increment(1);
        None
    }
}
