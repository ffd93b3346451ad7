//! One replica of a peer: its connections, the calls in flight, and how it has behaved.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use http::uri::Authority;
use tokio::sync::oneshot;

use super::{
    Reach,
    connection::{self, Driver, Purpose, Sender},
    failure::Broken,
    peer::Target,
};
use crate::tasks::Tasks;

/// First and longest pause of a replica that failed.
const ASIDE_MIN: Duration = Duration::from_millis(250);
const ASIDE_MAX: Duration = Duration::from_secs(5);

/// A connection being opened; everybody who wants it waits for the same one.
pub(super) type Dialing = Shared<BoxFuture<'static, Result<Sender, Arc<str>>>>;

/// A replica.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    target: Target,
    unary: Box<[Slot]>,
    streams: Slot,
    /// Which of the unary connections is next.
    turn: AtomicUsize,
    in_flight: AtomicUsize,
    /// Failures since the last success; 0 = all is well, and `ejected_until` need not be asked.
    failures: AtomicU32,
    ejected_until: Mutex<Option<Instant>>,
    start: Instant,
    /// When the last answer came, in milliseconds since `start`.
    answered: AtomicU64,
    reach: Reach,
    tasks: Tasks,
}

/// A place for one connection.
#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
}

#[derive(Default)]
struct SlotState {
    sender: Option<Sender>,
    dialing: Option<Dialing>,
    /// Counts the connections of this place, so that an old one does not clear a new one.
    number: u64,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Option<Sender> {
        let mut state = self.lock();
        if state.sender.as_ref()?.is_closed() {
            state.sender = None;
        }
        state.sender.clone()
    }

    fn clear(&self, number: u64) {
        let mut state = self.lock();
        if state.number == number {
            state.sender = None;
        }
    }
}

/// A call in flight; ends when it is dropped.
pub(super) struct Flight(Arc<Endpoint>);

impl Flight {
    /// Notes why the call broke off. A peer that ends one stream, or says that it leaves, is well.
    pub(super) fn broke_off(&self, why: &Broken) {
        if why.lost_connection() {
            self.0.failed(&why.to_string());
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endpoint {
    pub(super) fn new(
        target: &Target,
        address: SocketAddr,
        reach: &Reach,
        tasks: &Tasks,
    ) -> Arc<Self> {
        Arc::new(Self {
            address,
            target: target.clone(),
            unary: (0..reach.connections.max(1))
                .map(|_| Slot::default())
                .collect(),
            streams: Slot::default(),
            turn: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            ejected_until: Mutex::default(),
            start: Instant::now(),
            answered: AtomicU64::new(0),
            reach: reach.clone(),
            tasks: tasks.clone(),
        })
    }

    pub(super) fn belongs_to(&self, target: &Target) -> bool {
        self.target == *target
    }

    /// The host as requests name it.
    pub(super) fn authority(&self) -> Authority {
        self.target.authority.clone()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Until when nothing is sent here, unless there is nowhere else to go.
    pub(super) fn aside_until(&self) -> Option<Instant> {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let ejected_until = *self
            .ejected_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ejected_until.filter(|until| *until > Instant::now())
    }

    /// A connection that is open.
    pub(super) fn live(&self, purpose: Purpose) -> Option<Sender> {
        match purpose {
            Purpose::Streams => self.streams.live(),
            Purpose::Unary => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let count = self.unary.len();
                (0..count).find_map(|step| self.unary[(turn + step) % count].live())
            }
        }
    }

    /// Opens what is not open yet and not put aside, without waiting for it.
    pub(super) fn warm_up(self: &Arc<Self>, purpose: Purpose) {
        if self.aside_until().is_some() {
            return;
        }
        match purpose {
            Purpose::Streams => drop(self.dial(purpose, 0)),
            Purpose::Unary => {
                for (index, slot) in self.unary.iter().enumerate() {
                    if slot.live().is_none() {
                        drop(self.dial(purpose, index));
                    }
                }
            }
        }
    }

    /// Opens a connection, or joins who opens it already.
    pub(super) fn dial(self: &Arc<Self>, purpose: Purpose, index: usize) -> Dialing {
        let slot = self.slot(purpose, index);
        let mut state = slot.lock();
        if let Some(dialing) = &state.dialing {
            return dialing.clone();
        }
        state.number += 1;
        let number = state.number;
        let (tell, told) = oneshot::channel();
        let endpoint = Arc::clone(self);
        // A task, so that a caller in a hurry does not leave it half done.
        self.tasks.spawn(async move {
            let outcome = endpoint.open(purpose, index, number).await;
            let outcome = outcome.map_err(|error| Arc::from(format!("{error:#}")));
            let mut state = endpoint.slot(purpose, index).lock();
            state.dialing = None;
            match &outcome {
                Ok(sender) => {
                    // Kept here, a connection opened during shutdown would never end (see `drive`):
                    // then only those who wait for it may use it.
                    if !endpoint.tasks.stop_token().is_cancelled() {
                        state.sender = Some(sender.clone());
                    }
                    endpoint.worked();
                }
                Err(what) => endpoint.failed(what),
            }
            drop(state);
            // Nobody may be waiting any more.
            let _unheard = tell.send(outcome);
        });
        let dialing = async {
            told.await
                .unwrap_or_else(|_| Err("the process ends".into()))
        };
        let dialing = dialing.boxed().shared();
        state.dialing = Some(dialing.clone());
        dialing
    }

    fn slot(&self, purpose: Purpose, index: usize) -> &Slot {
        match purpose {
            Purpose::Streams => &self.streams,
            Purpose::Unary => &self.unary[index],
        }
    }

    async fn open(
        self: &Arc<Self>,
        purpose: Purpose,
        index: usize,
        number: u64,
    ) -> anyhow::Result<Sender> {
        let opened = async {
            let (sender, driver) =
                connection::open(self.address, purpose, &self.reach, &self.tasks).await?;
            self.drive(driver, purpose, index, number);
            connection::try_out(&sender, &self.target).await?;
            Ok(sender)
        };
        match tokio::time::timeout(self.reach.connect_timeout, opened).await {
            Ok(outcome) => outcome,
            Err(_) => anyhow::bail!("no answer within {:?}", self.reach.connect_timeout),
        }
    }

    /// Keeps a connection going until it ends. At shutdown it takes no more calls, and ends with
    /// the last one on it.
    fn drive(self: &Arc<Self>, driver: Driver, purpose: Purpose, index: usize, number: u64) {
        let endpoint = Arc::downgrade(self);
        let (address, stop) = (self.address, self.tasks.stop_token());
        self.tasks.spawn(async move {
            let mut driver = driver;
            let ended = tokio::select! {
                ended = &mut driver => ended,
                () = stop.cancelled() => {
                    if let Some(endpoint) = endpoint.upgrade() {
                        endpoint.slot(purpose, index).clear(number);
                    }
                    driver.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error = %error, peer.address = %address, "a connection broke off");
            }
        });
    }

    /// Counts a call that begins.
    pub(super) fn begin(self: &Arc<Self>) -> Flight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Flight(Arc::clone(self))
    }

    /// Notes that a call was answered.
    pub(super) fn worked(&self) {
        let since_start = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered.store(since_start, Ordering::Relaxed);
        if self.failures.load(Ordering::Relaxed) > 0 && self.failures.swap(0, Ordering::Relaxed) > 0
        {
            *self
                .ejected_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = None;
            tracing::info!(peer.address = %self.address, "a replica answers again");
        }
    }

    /// Puts the replica aside, longer each time.
    pub(super) fn failed(&self, what: &str) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let pause = ASIDE_MIN
            .saturating_mul(2_u32.saturating_pow(failures))
            .min(ASIDE_MAX)
            // Not all processes in the same moment.
            .mul_f64(rand::random_range(0.8..=1.2));
        *self
            .ejected_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + pause);
        if failures == 0 {
            tracing::warn!(peer.address = %self.address, problem = what, "a replica fails");
        } else {
            tracing::debug!(peer.address = %self.address, problem = what, failures, "a replica still fails");
        }
    }

    /// Notes that a call sent at `sent` got no answer in time. Where no other call got one since
    /// then either, the connection is given up, and the next one has to show a sign of life first.
    pub(super) fn stalled(&self, purpose: Purpose, sent: Instant) {
        let answered = Duration::from_millis(self.answered.load(Ordering::Relaxed));
        if self.start + answered > sent {
            return;
        }
        let slots = match purpose {
            Purpose::Streams => std::slice::from_ref(&self.streams),
            Purpose::Unary => &self.unary,
        };
        for slot in slots {
            slot.lock().sender = None;
        }
    }
}
