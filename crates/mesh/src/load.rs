//! Load: how many calls a process serves at once, and how many of them one tenant may have. What is
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

/// Of four places, a tenant gets three at most: there is always room for another one.
const TENANT_SHARE: (usize, usize) = (3, 4);

/// The places for calls. Clones share them.
#[derive(Clone, Debug)]
pub struct Load(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: &'static str,
    limit: AtomicUsize,
    taken: AtomicUsize,
    tenants: Mutex<HashMap<Arc<str>, usize>>,
}

/// A call's place, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    load: Load,
    tenant: Option<Arc<str>>,
}

impl Load {
    /// Places for [`IN_FLIGHT_MAX`] calls of a service.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self(Arc::new(Inner {
            service,
            limit: AtomicUsize::new(IN_FLIGHT_MAX),
            taken: AtomicUsize::new(0),
            tenants: Mutex::default(),
        }))
    }

    /// Changes the number of places; at least one stays.
    pub fn limit(&self, calls: usize) {
        self.0.limit.store(calls.max(1), Ordering::Relaxed);
    }

    /// How many places are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// A place for a call.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when all are taken.
    pub fn enter(&self) -> Result<Place, Error> {
        let before = self.0.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            load: self.clone(),
            tenant: None,
        };
        if before >= self.0.limit.load(Ordering::Relaxed) {
            self.shed("process");
            return Err(Error::unavailable(self.0.service));
        }
        Ok(place)
    }

    /// Tells how many places are taken, for as long as there are any.
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

impl Place {
    /// Counts the place to a tenant, once it is known whose call it is.
    ///
    /// # Errors
    /// RATE_LIMITED when the tenant has its share already.
    pub fn belongs_to(&mut self, tenant: &str) -> Result<(), Error> {
        let inner = &self.load.0;
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
            self.load.shed("tenant");
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

impl Drop for Place {
    fn drop(&mut self) {
        let inner = &self.load.0;
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

/// The body of a stream, with the place that it takes until it ends.
pub(crate) struct Held {
    body: Body,
    _place: Place,
}

impl Held {
    pub(crate) fn new(body: Body, place: Place) -> Self {
        Self {
            body,
            _place: place,
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
    fn what_is_beyond_is_refused_and_places_come_back() {
        let load = Load::new("test");
        load.limit(4);
        let places: Vec<Place> = (0..4).map(|_| load.enter().unwrap()).collect();
        let refused = load.enter().unwrap_err();
        assert_eq!(refused.reason(), Reason::ServiceUnavailable);
        assert_eq!(load.taken(), 4);
        drop(places);
        assert_eq!(load.taken(), 0);
        load.enter().unwrap();
    }

    #[test]
    fn a_tenant_leaves_room_for_others() {
        let load = Load::new("test");
        load.limit(4);
        let mut places = Vec::new();
        for _ in 0..3 {
            let mut place = load.enter().unwrap();
            place.belongs_to("loud").unwrap();
            places.push(place);
        }
        let refused = load.enter().unwrap().belongs_to("loud").unwrap_err();
        assert_eq!(refused.reason(), Reason::RateLimited);
        load.enter().unwrap().belongs_to("quiet").unwrap();
        places.pop();
        load.enter().unwrap().belongs_to("loud").unwrap();
        drop(places);
        let tenants = load.0.tenants.lock().unwrap();
        assert!(tenants.is_empty(), "{tenants:?}");
    }
}
