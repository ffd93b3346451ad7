//! Load: how many requests and connections there may be at once. What is beyond is refused before it
//! costs anything (security-and-faults rule 38).

use std::sync::Arc;

use mesh::{Error, route::RateClass};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What fits at once.
pub(crate) struct Load {
    requests: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    /// For connections that come when there are too many: they are told so, and health can be asked
    /// on them.
    spare: Arc<Semaphore>,
}

/// A connection's place.
pub(crate) struct Place {
    /// Whether it is one too many: its requests are refused, but for what has to stay reachable.
    pub(crate) spare: bool,
    _permit: OwnedSemaphorePermit,
}

impl Load {
    pub(crate) fn new(requests: usize, connections: usize) -> Self {
        let capacity = |count: usize| count.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            requests: Arc::new(Semaphore::new(capacity(requests))),
            connections: Arc::new(Semaphore::new(capacity(connections))),
            spare: Arc::new(Semaphore::new(capacity(connections / 8))),
        }
    }

    /// A place for a request of that class on such a connection, until it is dropped; none is
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

    /// A place for a connection; `None` when it can only be closed.
    pub(crate) fn connection(&self) -> Option<Place> {
        for (places, spare) in [(&self.connections, false), (&self.spare, true)] {
            if let Ok(permit) = places.clone().try_acquire_owned() {
                return Some(Place {
                    spare,
                    _permit: permit,
                });
            }
        }
        metrics::counter!("objectmesh_shed_total", "what" => "closed").increment(1);
        None
    }
}

fn refused(what: &'static str) -> Error {
    metrics::counter!("objectmesh_shed_total", "what" => what).increment(1);
    Error::unavailable("The gateway")
}
