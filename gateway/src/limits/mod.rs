//! Rate limits: how often a caller, or an address that nobody vouches for, may ask (docs/reference/security.md
//! §9). Counted in Redis for all gateways together; in this process without one, and while it is
//! away.
//!
//! Invariant: a token is used once. A gateway takes tokens out of the shared bucket before it uses
//! them, a few at a time, so that most requests cost no trip. Each set is at most what a second
//! brings and is used within [`LEASE_US`], and what was not used goes back with the next trip.
//! Hence, however many gateways there are: in any stretch of time t they admit together at most
//! what the limit allows in t + 2 s (3.3 % of a minute's limit more), and a caller can be refused
//! while each other gateway still holds at most a second's worth of tokens.

mod gcra;
mod in_redis;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use mesh::{
    Error,
    cache::{Cache, Stay},
    ctx::Caller,
    error::Reason,
};
use serde::Deserialize;
use transcoding::RateClass;

use self::{
    gcra::{Level, Rate},
    in_redis::Shared,
};
use crate::address;

/// Most buckets kept. Beyond, the least used ones are forgotten, that is full again.
const BUCKETS_MAX: u64 = 100_000;
/// A bucket is full after a minute without a request, so it need not be kept longer.
const IDLE: Duration = Duration::from_secs(90);
/// How long tokens taken from the shared bucket may be used.
const LEASE_US: u64 = 2_000_000;
/// Most tokens taken at once.
const LEASE_MAX: u32 = 100;
/// Beyond, the sums of the buckets lose their precision, and nobody means it.
const PER_MINUTE_MAX: u32 = 6_000_000;

/// The section `rate_limit`: requests a minute, 0 = no limit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Sign-in and sign-up, by address.
    pub auth_per_minute: u32,
    /// Reads, by caller.
    pub reads_per_minute: u32,
    /// Changes, by caller.
    pub writes_per_minute: u32,
    /// Public forms, by address and form.
    pub forms_per_minute: u32,
    /// Whether sign-in from this machine itself is not counted; for development.
    pub exempt_loopback: bool,
}

impl RateLimit {
    /// What is wrong with it.
    fn check(&self) -> anyhow::Result<()> {
        let all = [
            ("auth", self.auth_per_minute),
            ("reads", self.reads_per_minute),
            ("writes", self.writes_per_minute),
            ("forms", self.forms_per_minute),
        ];
        let problems: Vec<String> = all
            .into_iter()
            .filter(|(_, count)| *count > PER_MINUTE_MAX)
            .map(|(name, count)| {
                format!("rate_limit.{name}_per_minute: {count} is more than {PER_MINUTE_MAX}")
            })
            .collect();
        anyhow::ensure!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(())
    }
}

/// Whom a request is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// An address; of IPv6 the network of 64 bits that one customer has.
    Address(u128),
    /// An address on one path.
    Visitor(u128, String),
    /// A user.
    User(String),
    /// An API key; each counts alone.
    Key(String),
}

impl Subject {
    /// By address.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(address::network(address))
    }

    /// By address and path, in whatever way the path was written.
    pub(crate) fn visitor(address: IpAddr, path: &str) -> Self {
        let path = percent_encoding::percent_decode_str(path.trim_end_matches('/'));
        Self::Visitor(
            address::network(address),
            path.decode_utf8_lossy().into_owned(),
        )
    }

    /// By caller.
    pub(crate) fn caller(caller: &Caller) -> Self {
        match &caller.identity.key_id {
            Some(key) => Self::Key(key.clone()),
            None => Self::User(caller.identity.subject.clone()),
        }
    }
}

/// What was said about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Requests a minute.
    pub(crate) limit: u32,
    /// Requests that may follow at once.
    pub(crate) remaining: u32,
    /// When all of them are there again.
    pub(crate) full_in: Duration,
    /// When to come again; `None` when the request may go on.
    pub(crate) retry_in: Option<Duration>,
}

impl Verdict {
    fn new(rate: Rate, admitted: bool, remaining: u32, full_in_us: u64) -> Self {
        Self {
            limit: rate.burst,
            remaining: remaining.min(rate.burst),
            full_in: Duration::from_micros(full_in_us),
            retry_in: (!admitted).then(|| rate.next_token_in(full_in_us)),
        }
    }

    /// The refusal, when it is one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Some(retry_in) = self.retry_in else {
            return Ok(());
        };
        let seconds = retry_in.as_millis().div_ceil(1000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        Err(Error::new(Reason::RateLimited, "Too many requests").with("retryAfter", seconds))
    }
}

/// The limits and what was counted.
#[derive(Clone)]
pub struct Limits {
    inner: Arc<Inner>,
}

struct Inner {
    auth: Option<Rate>,
    reads: Option<Rate>,
    writes: Option<Rate>,
    forms: Option<Rate>,
    exempt_loopback: bool,
    buckets: Cache<Bucket>,
    shared: Option<Shared>,
    began: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    class: RateClass,
    subject: Subject,
}

impl Key {
    /// The key in this process. Behind the two letters, which say what it is made of, no part but the
    /// last one has any length but its own.
    fn bytes(&self) -> Vec<u8> {
        let (kind, bits, text) = match &self.subject {
            Subject::Address(bits) => (b'a', Some(bits), ""),
            Subject::Visitor(bits, path) => (b'v', Some(bits), path.as_str()),
            Subject::User(id) => (b'u', None, id.as_str()),
            Subject::Key(id) => (b'k', None, id.as_str()),
        };
        let mut bytes = Vec::with_capacity(2 + size_of::<u128>() + text.len());
        bytes.extend([self.class as u8, kind]);
        bytes.extend(bits.into_iter().flat_map(|bits| bits.to_be_bytes()));
        bytes.extend(text.as_bytes());
        bytes
    }

    /// The key in Redis. The braces put it into one slot of a cluster.
    fn text(&self) -> String {
        let class = self.class.as_str_name();
        let class = class.trim_start_matches("RATE_CLASS_").to_lowercase();
        match &self.subject {
            Subject::Address(bits) => {
                format!("om:rate:{{{class}:a:{}}}", Ipv6Addr::from_bits(*bits))
            }
            Subject::Visitor(bits, path) => {
                format!(
                    "om:rate:{{{class}:v:{}:{path}}}",
                    Ipv6Addr::from_bits(*bits)
                )
            }
            Subject::User(id) => format!("om:rate:{{{class}:u:{id}}}"),
            Subject::Key(id) => format!("om:rate:{{{class}:k:{id}}}"),
        }
    }
}

/// What this gateway knows of a bucket.
#[derive(Default)]
struct Bucket {
    /// When it is full, as far as this gateway's own requests go: what counts while there is no
    /// Redis.
    own_full_at_us: Mutex<u64>,
    /// Locked while Redis is asked, so that a caller's requests that come at once make one trip.
    lease: tokio::sync::Mutex<Lease>,
}

/// Tokens taken from the shared bucket.
#[derive(Default)]
struct Lease {
    tokens: u32,
    until_us: u64,
    /// When the shared bucket is full, as it was told.
    full_at_us: u64,
    /// Until when the shared bucket is known to be empty.
    empty_until_us: u64,
}

impl Limits {
    /// Limits that this process counts alone.
    ///
    /// # Errors
    /// When a limit is out of range.
    pub fn in_memory(limits: &RateLimit) -> anyhow::Result<Self> {
        Self::new(limits, None)
    }

    /// Limits that all gateways count together, in Redis at `url`. Within a runtime; connects on
    /// first use.
    ///
    /// # Errors
    /// When the URL is none, or a limit is out of range.
    pub fn shared(limits: &RateLimit, url: &str) -> anyhow::Result<Self> {
        Self::new(limits, Some(Shared::connect(url)?))
    }

    fn new(limits: &RateLimit, shared: Option<Shared>) -> anyhow::Result<Self> {
        limits.check()?;
        let inner = Inner {
            auth: Rate::per_minute(limits.auth_per_minute),
            reads: Rate::per_minute(limits.reads_per_minute),
            writes: Rate::per_minute(limits.writes_per_minute),
            forms: Rate::per_minute(limits.forms_per_minute),
            exempt_loopback: limits.exempt_loopback,
            buckets: Cache::new(BUCKETS_MAX, Stay::Idle(IDLE)),
            shared,
            began: Instant::now(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether a way in is open to that address as often as it likes.
    pub(crate) fn is_exempt(&self, address: IpAddr) -> bool {
        self.inner.exempt_loopback && address.is_loopback()
    }

    /// Counts a request; `None` where there is no limit. `subject` is only asked for where there is.
    pub(crate) async fn take(
        &self,
        class: RateClass,
        subject: impl FnOnce() -> Subject,
    ) -> Option<Verdict> {
        let inner = &*self.inner;
        let rate = match class {
            RateClass::Auth => inner.auth,
            RateClass::Reads => inner.reads,
            RateClass::Writes => inner.writes,
            RateClass::Forms => inner.forms,
            RateClass::Exempt | RateClass::Unspecified => None,
        }?;
        let key = Key {
            class,
            subject: subject(),
        };
        let bucket = inner.buckets.get_or_insert(key.bytes(), Arc::default);
        let verdict = match &inner.shared {
            Some(shared) => match inner.take_shared(shared, &bucket, &key, rate).await {
                Some(verdict) => {
                    if verdict.retry_in.is_none() {
                        // So that this gateway does not begin anew when Redis goes away.
                        bucket.take_own(rate, inner.now_us());
                    }
                    verdict
                }
                None => bucket.take_own(rate, inner.now_us()),
            },
            None => bucket.take_own(rate, inner.now_us()),
        };
        if verdict.retry_in.is_some() {
            metrics::counter!("objectmesh_rate_limited_total", "class" => class.as_str_name())
                .increment(1);
        }
        Some(verdict)
    }
}

impl Inner {
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Uses a token of the shared bucket; `None` while Redis is away.
    async fn take_shared(
        &self,
        shared: &Shared,
        bucket: &Bucket,
        key: &Key,
        rate: Rate,
    ) -> Option<Verdict> {
        let mut lease = bucket.lease.lock().await;
        let now = self.now_us();
        if let Some(verdict) = lease.spend(rate, now) {
            return Some(verdict);
        }
        if !shared.is_there(now) {
            return None;
        }
        let wanted = (rate.burst / 60).clamp(1, LEASE_MAX);
        // Gone from here in any case: given back twice they would count twice.
        let back = std::mem::take(&mut lease.tokens);
        let level = shared.take(&key.text(), rate, wanted, back, now).await?;
        Some(lease.refill(rate, level, self.now_us()))
    }
}

impl Lease {
    /// Answers from what is known here, if that is enough.
    fn spend(&mut self, rate: Rate, now_us: u64) -> Option<Verdict> {
        if self.tokens > 0 && now_us < self.until_us {
            self.tokens -= 1;
            return Some(self.verdict(rate, true, now_us));
        }
        (now_us < self.empty_until_us).then(|| self.verdict(rate, false, now_us))
    }

    /// Takes over what Redis gave, and uses one of it.
    fn refill(&mut self, rate: Rate, level: Level, now_us: u64) -> Verdict {
        self.tokens = level.granted.saturating_sub(1);
        self.until_us = now_us + LEASE_US;
        self.full_at_us = now_us + level.full_in_us;
        let admitted = level.granted > 0;
        if !admitted {
            let wait = rate.next_token_in(level.full_in_us).as_micros();
            self.empty_until_us = now_us + u64::try_from(wait).unwrap_or(u64::MAX);
        }
        self.verdict(rate, admitted, now_us)
    }

    fn verdict(&self, rate: Rate, admitted: bool, now_us: u64) -> Verdict {
        let free = rate.free(self.full_at_us, now_us);
        let full_in_us = self.full_at_us.saturating_sub(now_us);
        Verdict::new(rate, admitted, free.saturating_add(self.tokens), full_in_us)
    }
}

impl Bucket {
    fn take_own(&self, rate: Rate, now_us: u64) -> Verdict {
        let mut full_at = self
            .own_full_at_us
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let level = rate.take(&mut full_at, now_us, 1);
        Verdict::new(rate, level.granted > 0, level.free, level.full_in_us)
    }
}
