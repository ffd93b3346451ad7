//! A service that runs elsewhere: which replica gets a call, and the call itself.

use std::{
    collections::HashSet,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, Uri, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tonic::{Status, body::Body};

use super::{
    Reach,
    connection::{Purpose, Sender},
    endpoint::{Endpoint, Flight},
    failure::Broken,
    peer::{Peer, Target},
};
use crate::{ctx::HOP_MARGIN, guard::grpc_timeout, tasks::Tasks};

/// A call without a deadline waits this long at most; ours all have one.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// How many connections may end under a request before it is given up.
const CONNECTIONS_TRIED: usize = 5;

/// A service that runs elsewhere, in one or more replicas. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    peer: Arc<Peer>,
    reach: Arc<Reach>,
}

impl Remote {
    pub(super) fn new(urls: &str, reach: &Reach, tasks: &Tasks) -> anyhow::Result<Self> {
        Ok(Self {
            peer: Peer::start(Target::parse_list(urls)?, reach, tasks),
            reach: Arc::new(reach.clone()),
        })
    }

    /// Makes the call at one of the replicas. A request that could not be put on a connection goes
    /// to another one; one that was sent is never sent again here.
    pub(super) async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let purpose = if is_stream(request.uri().path()) {
            Purpose::Streams
        } else {
            Purpose::Unary
        };
        // The peer should say itself that the time is over: it knows more.
        let limit = grpc_timeout(request.headers()).map_or(PATIENCE, |limit| limit + HOP_MARGIN);
        let due = tokio::time::Instant::now() + limit;
        for _ in 0..CONNECTIONS_TRIED {
            let connected = self.connect(purpose);
            let (endpoint, mut sender) = match tokio::time::timeout_at(due, connected).await {
                Ok(Ok(found)) => found,
                Ok(Err(broken)) => return Err(broken.into_status()),
                Err(_) => return Err(Status::deadline_exceeded("The deadline passed")),
            };
            address(&mut request, &endpoint);
            let flight = endpoint.begin();
            let sent = Instant::now();
            let answered = sender.try_send_request(request);
            let mut failed = match tokio::time::timeout_at(due, answered).await {
                Ok(Ok(response)) => {
                    endpoint.worked();
                    return Ok(response.map(|incoming| Body::new(Reply { incoming, flight })));
                }
                Ok(Err(failed)) => failed,
                Err(_) => {
                    endpoint.stalled(purpose, sent);
                    return Err(Status::deadline_exceeded("The deadline passed"));
                }
            };
            match failed.take_message() {
                // The connection ended before the request was on it.
                Some(unsent) => request = unsent,
                None => {
                    let broken = Broken::on_connection(failed.into_error());
                    flight.broke_off(&broken);
                    return Err(broken.into_status());
                }
            }
        }
        Err(Broken::unconnected("connections end as soon as they are open").into_status())
    }

    /// An open connection to a replica, the one with fewer calls in flight of two. Replicas without
    /// one are connected beside, and waited for only when no other is there.
    async fn connect(&self, purpose: Purpose) -> Result<(Arc<Endpoint>, Sender), Broken> {
        let began = Instant::now();
        let mut tried = Vec::new();
        let mut problem = None;
        loop {
            let replicas = self.replicas().await?;
            if let Some(found) = pick(&replicas, purpose) {
                return Ok(found);
            }
            // Those put aside may be well again; but where all are silent, callers are told soon.
            let also_aside = tried.is_empty() || began.elapsed() < self.reach.connect_timeout;
            let Some(endpoint) = next_to_try(&replicas, &tried, also_aside) else {
                let what = problem.unwrap_or_else(|| "no replica is known".into());
                return Err(Broken::unconnected(format!("no replica answers: {what}")));
            };
            match endpoint.dial(purpose, 0).await {
                Ok(sender) => return Ok((endpoint, sender)),
                Err(what) => {
                    tried.push(endpoint.address);
                    problem = Some(what);
                }
            }
        }
    }

    async fn replicas(&self) -> Result<Arc<[Arc<Endpoint>]>, Broken> {
        let replicas = self.peer.replicas();
        if !replicas.is_empty() {
            return Ok(replicas);
        }
        let mut known = self.peer.known();
        let found = known.wait_for(|known| !known.replicas.is_empty());
        if let Ok(Ok(known)) = tokio::time::timeout(self.reach.connect_timeout, found).await {
            return Ok(known.replicas.clone());
        }
        let problem = self.peer.known().borrow().problem.clone();
        let problem = problem.unwrap_or_else(|| "its name is still looked up".into());
        Err(Broken::unconnected(format!(
            "no replica is known: {problem}"
        )))
    }
}

/// A connected replica that is not put aside: of two at random the one with less to do, or any.
fn pick(replicas: &[Arc<Endpoint>], purpose: Purpose) -> Option<(Arc<Endpoint>, Sender)> {
    let usable = |endpoint: &Arc<Endpoint>| {
        if endpoint.aside_until().is_some() {
            return None;
        }
        let sender = endpoint.live(purpose);
        if sender.is_none() {
            endpoint.warm_up(purpose);
        }
        Some((endpoint.clone(), sender?))
    };
    match replicas {
        [] => None,
        // The one replica is used although it failed: there is no other.
        [only] => Some((only.clone(), only.live(purpose)?)),
        many => {
            let first = rand::random_range(0..many.len());
            let second = (first + rand::random_range(1..many.len())) % many.len();
            match (usable(&many[first]), usable(&many[second])) {
                (Some(a), Some(b)) if b.0.in_flight() < a.0.in_flight() => Some(b),
                (Some(found), _) | (None, Some(found)) => Some(found),
                (None, None) => (1..many.len())
                    .map(|step| &many[(first + step) % many.len()])
                    .find_map(usable),
            }
        }
    }
}

/// The replica to connect to when none is connected, of those that were not tried: one that is not
/// put aside, else the one whose pause ends first.
fn next_to_try(
    replicas: &[Arc<Endpoint>],
    tried: &[SocketAddr],
    also_aside: bool,
) -> Option<Arc<Endpoint>> {
    let first = rand::random_range(0..replicas.len().max(1));
    let (before, after) = replicas.split_at(first.min(replicas.len()));
    let mut soonest: Option<(Instant, &Arc<Endpoint>)> = None;
    let untried = after.iter().chain(before);
    for endpoint in untried.filter(|endpoint| !tried.contains(&endpoint.address)) {
        match endpoint.aside_until() {
            None => return Some(endpoint.clone()),
            Some(until) if soonest.is_none_or(|(earliest, _)| until < earliest) => {
                soonest = Some((until, endpoint));
            }
            Some(_) => {}
        }
    }
    let soonest = soonest.filter(|_| also_aside);
    soonest.map(|(_, endpoint)| endpoint.clone())
}

/// Names the host, as HTTP/2 wants it.
fn address(request: &mut Request<Body>, endpoint: &Endpoint) {
    let mut uri = http::uri::Builder::new()
        .scheme(http::uri::Scheme::HTTP)
        .authority(endpoint.authority());
    if let Some(path) = request.uri().path_and_query() {
        uri = uri.path_and_query(path.clone());
    }
    // It is made of parts that were parsed, so it can be put together.
    let uri: Result<Uri, _> = uri.build();
    if let Ok(uri) = uri {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_2;
}

/// Whether an RPC streams, in either direction; paths that no descriptor has do (reflection).
fn is_stream(path: &str) -> bool {
    static UNARY: OnceLock<HashSet<String>> = OnceLock::new();
    let unary = UNARY.get_or_init(|| {
        let pool = proto::descriptor_pool();
        let methods = pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>());
        let ours = methods
            .filter(|method| !method.is_client_streaming() && !method.is_server_streaming())
            .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()));
        ours.chain(["/grpc.health.v1.Health/Check".to_owned()])
            .collect()
    });
    !unary.contains(path)
}

/// The body of an answer: the call is in flight until it is read or dropped.
struct Reply {
    incoming: Incoming,
    flight: Flight,
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        frame.map(|frame| {
            frame.map(|frame| {
                frame.map_err(|error| {
                    let broken = Broken::on_connection(error);
                    self.flight.broke_off(&broken);
                    broken.into_status()
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
