//! A connection of an HTTP server, HTTP/1.1 or HTTP/2, and how long it may keep us waiting: for the
//! head of a request, between requests, and for its client to take an answer.
//!
//! Invariant: a connection whose other end does nothing ends within these [`Deadlines`], whatever
//! state it is in; one on which a request is being worked on is left alone.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, sleep_until},
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service, ServiceExt as _};

/// How long a connection may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From accepting it to the whole head of its first request.
    pub head: Duration,
    /// From the end of an answer to the whole head of the next request.
    pub idle: Duration,
    /// For the client to take anything of what is ready for it.
    pub write: Duration,
}

/// How long a client has to leave by itself once it was asked to (HTTP/2 `GOAWAY`).
const LAST: Duration = Duration::from_secs(5);
/// Largest piece of an answer that is handed to the connection at once: what is handed over is kept
/// until the client takes it, so only what is left can be given up.
const PIECE: usize = 64 * 1024;
/// Longest list of requests of one HTTP/2 connection that are worked on at once.
const STREAMS_MAX: u32 = 250;

/// What a client may send ahead of what reads it on one stream of HTTP/2, and on one connection in all, in
/// bytes. The second is the larger one, or a body that is read slowly would stop all others.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * STREAM_WINDOW;

/// Serves the requests of one connection until it ends, or, after `stop`, until those in flight have
/// been answered. `head_max` is the largest head of HTTP/2 that reaches `service`, in bytes.
///
/// # Errors
/// Why it broke off; for the log only.
pub async fn serve<I, S, B>(
    io: I,
    service: S,
    head_max: u32,
    deadlines: Deadlines,
    stop: CancellationToken,
) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let activity = Arc::new(Activity::default());
    let mut io = TimeoutStream::new(io);
    io.set_write_timeout(Some(deadlines.write));
    let mut builder = Builder::new(TokioExecutor::new());
    // Our own clock runs on, so hyper's for the head is not needed.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(head_max)
        .keep_alive_interval(Duration::from_secs(20));
    let counted = Arc::clone(&activity);
    let requests = service_fn(move |request| {
        let in_flight = InFlight::begin(&counted);
        let service = service.clone();
        async move {
            let response = service.oneshot(request).await?;
            Ok::<_, Infallible>(response.map(|body| Outgoing::new(body, in_flight)))
        }
    });
    let mut served = pin!(builder.serve_connection(TokioIo::new(Box::pin(io)), requests));
    let mut leaving = None;
    loop {
        tokio::select! {
            ended = &mut served => return ended,
            () = stop.cancelled(), if leaving.is_none() => {}
            overdue = activity.overdue(&deadlines, leaving) => {
                if leaving.is_none() {
                    let what = overdue.what();
                    metrics::counter!("objectmesh_connections_timed_out_total", "what" => what)
                        .increment(1);
                }
                match overdue {
                    Overdue::Idle if leaving.is_none() => {}
                    // There is nobody to be polite to.
                    Overdue::Head | Overdue::Idle => return Ok(()),
                }
            }
        }
        served.as_mut().graceful_shutdown();
        leaving = Some(Instant::now());
    }
}

/// What a connection waits for in vain.
#[derive(Clone, Copy)]
enum Overdue {
    Head,
    Idle,
}

impl Overdue {
    fn what(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
        }
    }
}

/// What goes on on a connection: told by its requests, looked at by its task.
struct Activity {
    born: Instant,
    /// Whether the head of a request has ever come whole.
    greeted: AtomicBool,
    in_flight: AtomicUsize,
    /// When the last request ended, in milliseconds after `born`.
    ended_ms: AtomicU64,
    /// The answers that are more than one piece.
    outgoing: Mutex<Vec<Weak<dyn Pending>>>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            greeted: AtomicBool::default(),
            in_flight: AtomicUsize::default(),
            ended_ms: AtomicU64::default(),
            outgoing: Mutex::default(),
        }
    }
}

impl Activity {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Resolves when the connection is to end; gives up meanwhile the answers that are not taken.
    async fn overdue(&self, deadlines: &Deadlines, leaving: Option<Instant>) -> Overdue {
        loop {
            if !self.greeted.load(Ordering::Relaxed) {
                let due = self.born + deadlines.head;
                if Instant::now() >= due {
                    return Overdue::Head;
                }
                sleep_until(due).await;
                continue;
            }
            if self.in_flight.load(Ordering::Acquire) > 0 {
                self.give_up(deadlines.write);
                sleep(deadlines.write.min(deadlines.idle) / 4).await;
                continue;
            }
            let ended = self.born + Duration::from_millis(self.ended_ms.load(Ordering::Relaxed));
            let due = match leaving {
                Some(asked) => ended.max(asked) + LAST,
                None => ended + deadlines.idle,
            };
            if Instant::now() >= due {
                return Overdue::Idle;
            }
            sleep_until(due).await;
        }
    }

    /// Drops what nobody takes. On HTTP/2 a client can refuse one answer and go on with others, so the
    /// connection stays.
    fn give_up(&self, patience: Duration) {
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let Some(before) = self.now_ms().checked_sub(patience) else {
            return;
        };
        let mut outgoing = lock(&self.outgoing);
        outgoing.retain(|pending| match pending.upgrade() {
            Some(pending) if pending.is_untaken_since(before) => {
                metrics::counter!("objectmesh_connections_timed_out_total", "what" => "answer")
                    .increment(1);
                pending.give_up();
                false
            }
            Some(_) => true,
            None => false,
        });
    }
}

/// A request from its whole head until its answer is handed over, or its client has gone.
struct InFlight(Arc<Activity>);

impl InFlight {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::AcqRel);
        activity.greeted.store(true, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let activity = &*self.0;
        activity
            .ended_ms
            .fetch_max(activity.now_ms(), Ordering::Relaxed);
        activity.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer that its client may be slow to take.
trait Pending: Send + Sync {
    /// Whether a piece was handed over before that time, and no more was asked for since.
    fn is_untaken_since(&self, ms: u64) -> bool;
    /// Lets go of it.
    fn give_up(&self);
}

/// The body of an answer.
pub struct Outgoing<B>(State<B>);

enum State<B> {
    /// One piece, or nothing.
    Short {
        body: B,
        _in_flight: InFlight,
    },
    Long(Arc<Long<B>>),
}

struct Long<B> {
    /// When the last piece was handed over, in milliseconds after the connection began; 0 while the
    /// client waits for us.
    handed_ms: AtomicU64,
    left: Mutex<Option<Left<B>>>,
}

/// What is left of an answer.
struct Left<B> {
    body: B,
    /// What the body gave and is too long for one piece.
    rest: Bytes,
    in_flight: InFlight,
}

impl<B> Outgoing<B>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    fn new(body: B, in_flight: InFlight) -> Self {
        let short = body
            .size_hint()
            .upper()
            .is_some_and(|size| size <= PIECE as u64);
        if short {
            return Self(State::Short {
                body,
                _in_flight: in_flight,
            });
        }
        let activity = Arc::clone(&in_flight.0);
        let long = Arc::new(Long {
            handed_ms: AtomicU64::default(),
            left: Mutex::new(Some(Left {
                body,
                rest: Bytes::new(),
                in_flight,
            })),
        });
        let weak = Arc::downgrade(&long);
        let mut outgoing = lock(&activity.outgoing);
        // Those that were taken meanwhile: a connection may live long, and few answers go on at once.
        outgoing.retain(|pending| pending.strong_count() > 0);
        outgoing.push(weak);
        drop(outgoing);
        Self(State::Long(long))
    }
}

impl<B: Send> Pending for Long<B> {
    fn is_untaken_since(&self, ms: u64) -> bool {
        let handed = self.handed_ms.load(Ordering::Relaxed);
        handed > 0 && handed <= ms
    }

    fn give_up(&self) {
        *lock(&self.left) = None;
    }
}

impl<B> Body for Outgoing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            State::Short { body, .. } => {
                let frame = Pin::new(body).poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            State::Long(long) => long.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            State::Short { body, .. } => body.is_end_stream(),
            State::Long(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Short { body, .. } => body.size_hint(),
            State::Long(long) => match &*lock(&long.left) {
                Some(left) if left.rest.is_empty() => left.body.size_hint(),
                // Only asked before the first piece.
                Some(_) | None => SizeHint::default(),
            },
        }
    }
}

impl<B> Long<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut held = lock(&self.left);
        let Some(left) = held.as_mut() else {
            return Poll::Ready(Some(Err(
                "the client did not take the answer in time".into()
            )));
        };
        self.handed_ms.store(0, Ordering::Relaxed);
        if left.rest.is_empty() {
            match Pin::new(&mut left.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => left.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            }
        }
        let piece = left.rest.split_to(left.rest.len().min(PIECE));
        let now = left.in_flight.0.now_ms().max(1);
        self.handed_ms.store(now, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
