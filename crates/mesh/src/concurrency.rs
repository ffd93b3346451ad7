//! Concurrency: how many calls a process serves at once, and how many of them one tenant may have. What is
//! beyond is refused before it costs anything.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tonic::{Status, body::Body};

use crate::{Error, error::Reason};

/// Calls that a process serves at once, unless its configuration says otherwise.
pub const IN_FLIGHT_MAX: usize = 1024;

/// Of four permits, a tenant gets three at most: there is always room for another one.
const TENANT_SHARE: (usize, usize) = (3, 4);

/// The permits for calls. Clones share them.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: &'static str,
    limit: AtomicUsize,
    taken: AtomicUsize,
    tenants: Mutex<HashMap<Arc<str>, usize>>,
}

/// A call's permit, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    limit: ConcurrencyLimit,
    tenant: Option<Arc<str>>,
}

impl ConcurrencyLimit {
    /// Permits for [`IN_FLIGHT_MAX`] calls of a service.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self(Arc::new(Inner {
            service,
            limit: AtomicUsize::new(IN_FLIGHT_MAX),
            taken: AtomicUsize::new(0),
            tenants: Mutex::default(),
        }))
    }

    /// Changes the number of permits; at least one stays.
    pub fn limit(&self, calls: usize) {
        self.0.limit.store(calls.max(1), Ordering::Relaxed);
    }

    /// How many permits are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// A permit for a call.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when all are taken.
    pub fn enter(&self) -> Result<Permit, Error> {
        let before = self.0.taken.fetch_add(1, Ordering::Relaxed);
        let permit = Permit {
            limit: self.clone(),
            tenant: None,
        };
        if before >= self.0.limit.load(Ordering::Relaxed) {
            self.shed("process");
            return Err(Error::unavailable(self.0.service));
        }
        Ok(permit)
    }

    /// Tells how many permits are taken, for as long as there are any.
    pub(crate) fn watch(&self) -> impl Fn() -> Option<usize> + Send + 'static {
        let inner = Arc::downgrade(&self.0);
        move || Some(inner.upgrade()?.taken.load(Ordering::Relaxed))
    }

    fn shed(&self, whose: &'static str) {
        metrics::counter!(
            "objectmesh_rpc_shed_total",
            "service" => self.0.service, "whose" => whose
        )
        .increment(1);
    }
}

impl Permit {
    /// Counts the permit to a tenant, once it is known whose call it is.
    ///
    /// # Errors
    /// RATE_LIMITED when the tenant has its share already.
    pub fn belongs_to(&mut self, tenant: &str) -> Result<(), Error> {
        let inner = &self.limit.0;
        let limit = inner.limit.load(Ordering::Relaxed);
        let share = (limit * TENANT_SHARE.0 / TENANT_SHARE.1).max(1);
        let mut tenants = inner.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant: Arc<str> = match tenants.get_key_value(tenant) {
            Some((known, _)) => Arc::clone(known),
            None => tenant.into(),
        };
        let taken = tenants.entry(Arc::clone(&tenant)).or_default();
        if *taken >= share {
            drop(tenants);
            self.limit.shed("tenant");
            return Err(Error::new(
                Reason::RateLimited,
                "Too many calls of your organization are under way at once; try again later",
            )
            .with("reason", "TENANT_SHARE")
            .with("retryAfter", 1));
        }
        *taken += 1;
        drop(tenants);
        self.tenant = Some(tenant);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let inner = &self.limit.0;
        inner.taken.fetch_sub(1, Ordering::Relaxed);
        let Some(tenant) = &self.tenant else { return };
        let mut tenants = inner.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = tenants.get_mut(tenant) {
            *taken -= 1;
            if *taken == 0 {
                // Names that come and go would grow the map without end.
                tenants.remove(tenant);
            }
        }
    }
}

/// The body of a stream, with the permit that it takes until it ends.
pub(crate) struct Held {
    body: Body,
    _permit: Permit,
}

impl Held {
    pub(crate) fn new(body: Body, permit: Permit) -> Self {
        Self {
            body,
            _permit: permit,
        }
    }
}

impl http_body::Body for Held {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Status>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_is_refused_and_permits_come_back() {
        let limit = ConcurrencyLimit::new("test");
        limit.limit(4);
        let permits: Vec<Permit> = (0..4).map(|_| limit.enter().unwrap()).collect();
        let refused = limit.enter().unwrap_err();
        assert_eq!(refused.reason(), Reason::ServiceUnavailable);
        assert_eq!(limit.taken(), 4);
        drop(permits);
        assert_eq!(limit.taken(), 0);
        limit.enter().unwrap();
    }

    #[test]
    fn a_tenant_leaves_room_for_others() {
        let limit = ConcurrencyLimit::new("test");
        limit.limit(4);
        let mut permits = Vec::new();
        for _ in 0..3 {
            let mut permit = limit.enter().unwrap();
            permit.belongs_to("loud").unwrap();
            permits.push(permit);
        }
        let refused = limit.enter().unwrap().belongs_to("loud").unwrap_err();
        assert_eq!(refused.reason(), Reason::RateLimited);
        limit.enter().unwrap().belongs_to("quiet").unwrap();
        permits.pop();
        limit.enter().unwrap().belongs_to("loud").unwrap();
        drop(permits);
        let tenants = limit.0.tenants.lock().unwrap();
        assert!(tenants.is_empty(), "{tenants:?}");
    }
}
