//! How many requests and connections there may be at once, in all and from one address. What is beyond
//! is refused before it costs anything.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mesh::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use transcoding::RateClass;

use crate::address;

/// One of so many requests may be an upload.
const UPLOADS_SHARE: usize = 4;

/// The limits, and what there is.
pub(crate) struct ConcurrencyLimit {
    requests: Arc<Semaphore>,
    /// Of the requests, those whose bodies are passed on as they arrive.
    uploads: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    /// For connections that come when there are too many: they are told so, and health can be asked
    /// on them.
    spare: Arc<Semaphore>,
    /// Connections of each address.
    shares: Arc<Mutex<HashMap<u128, usize>>>,
    share_max: usize,
}

/// A connection's permit.
pub(crate) struct ConnectionPermit {
    /// Whether it is one too many: its requests are refused, but for what has to stay reachable.
    pub(crate) spare: bool,
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
}

/// A connection's part in what its address has.
struct Share {
    shares: Arc<Mutex<HashMap<u128, usize>>>,
    network: u128,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = lock(&self.shares);
        if let Some(count) = shares.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                shares.remove(&self.network);
            }
        }
    }
}

impl ConcurrencyLimit {
    pub(crate) fn new(requests: usize, connections: usize, share_max: usize) -> Self {
        let capacity = |count: usize| count.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            requests: Arc::new(Semaphore::new(capacity(requests))),
            uploads: Arc::new(Semaphore::new(capacity(requests / UPLOADS_SHARE))),
            connections: Arc::new(Semaphore::new(capacity(connections))),
            spare: Arc::new(Semaphore::new(capacity(connections / 8))),
            shares: Arc::default(),
            share_max,
        }
    }

    /// A permit for a request of that class on such a connection, until it is dropped; none is
    /// needed for what has to stay reachable.
    pub(crate) fn request(
        &self,
        class: RateClass,
        spare_connection: bool,
    ) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if class == RateClass::Exempt {
            return Ok(None);
        }
        match Arc::clone(&self.requests).try_acquire_owned() {
            Ok(permit) if !spare_connection => Ok(Some(permit)),
            Ok(_) => Err(refused("connections")),
            Err(_) => Err(refused("requests")),
        }
    }

    /// A permit, beside its request's, for a body that is passed on as it arrives: those last as long as
    /// their clients are slow, and must leave room for all others.
    pub(crate) fn upload(&self) -> Result<OwnedSemaphorePermit, Error> {
        let uploads = Arc::clone(&self.uploads);
        uploads.try_acquire_owned().map_err(|_| refused("uploads"))
    }

    /// A permit for a connection from that address; `None` when it can only be closed. Without an
    /// address, behind a proxy that is trusted, nobody's share counts.
    pub(crate) fn connection(&self, address: Option<IpAddr>) -> Option<ConnectionPermit> {
        let share = match address.map(|address| self.share(address)) {
            None => None,
            Some(Some(share)) => Some(share),
            Some(None) => {
                metrics::counter!("objectmesh_shed_total", "what" => "address").increment(1);
                return None;
            }
        };
        for (permits, spare) in [(&self.connections, false), (&self.spare, true)] {
            if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
                return Some(ConnectionPermit {
                    spare,
                    _permit: permit,
                    _share: share,
                });
            }
        }
        metrics::counter!("objectmesh_shed_total", "what" => "closed").increment(1);
        None
    }

    fn share(&self, address: IpAddr) -> Option<Share> {
        let network = address::network(address);
        let mut shares = lock(&self.shares);
        let count = shares.entry(network).or_default();
        if *count >= self.share_max {
            return None;
        }
        *count += 1;
        Some(Share {
            shares: Arc::clone(&self.shares),
            network,
        })
    }
}

fn refused(what: &'static str) -> Error {
    metrics::counter!("objectmesh_shed_total", "what" => what).increment(1);
    Error::unavailable("The gateway")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_leave_room_for_other_requests() {
        let limit = ConcurrencyLimit::new(8, 10, 10);
        let uploads = [limit.upload(), limit.upload()];
        assert!(uploads.iter().all(Result::is_ok));
        assert!(limit.upload().is_err());
        drop(uploads);
        assert!(limit.upload().is_ok());
        // Where there are few requests one may still be an upload.
        assert!(ConcurrencyLimit::new(1, 1, 1).upload().is_ok());
    }

    #[test]
    fn an_address_has_a_share_of_the_connections() {
        let limit = ConcurrencyLimit::new(10, 10, 2);
        let from = |text: &str| limit.connection(Some(text.parse().unwrap()));
        let first = from("192.0.2.1");
        let second = from("192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(from("192.0.2.1").is_none());
        // The same customer's, by IPv6; and another one's.
        let mapped = from("::ffff:192.0.2.1");
        assert!(mapped.is_none());
        assert!(from("192.0.2.2").is_some());
        let sixes = [from("2001:db8::1"), from("2001:db8::2")];
        assert!(sixes.iter().all(Option::is_some));
        assert!(from("2001:db8::3").is_none());
        drop(first);
        assert!(from("192.0.2.1").is_some());
        // Behind a trusted proxy everybody has its address.
        let many: Vec<_> = (0..5).map(|_| limit.connection(None)).collect();
        assert!(many.iter().all(Option::is_some));
    }
}
