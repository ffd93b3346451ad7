//! SQLite's readers: a few threads, each with a connection of its own, and one queue before them.
//!
//! The row mapper runs with the query, so that what is made of a row is made where the row is.
//! Threads of our own measured three times cheaper under load than Tokio's blocking ones: whoever
//! is done takes the next query without being woken.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::{oneshot, watch};

use super::{DbError, Tx};

/// Queries waiting for a reader; one more is refused, because it would hardly be answered in time.
const QUEUE: usize = 4096;

pub(super) type Work = Box<dyn FnOnce(&mut Tx) + Send>;

/// The threads' shared side. Whoever owns it calls [`Readers::stop`], or the threads stay.
pub(super) struct Readers {
    queue: Mutex<Queue>,
    more: Condvar,
    /// How many threads run.
    running: watch::Sender<usize>,
    /// A query that waited longer is refused.
    patience: Duration,
}

struct Queue {
    waiting: VecDeque<Work>,
    stopped: bool,
}

impl Readers {
    /// Starts a thread for each connection.
    pub(super) fn start(connections: Vec<Tx>, patience: Duration) -> Result<Arc<Self>, DbError> {
        let readers = Arc::new(Self {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                stopped: false,
            }),
            more: Condvar::new(),
            running: watch::Sender::new(0),
            patience,
        });
        for connection in connections {
            let own = Arc::clone(&readers);
            readers.running.send_modify(|running| *running += 1);
            let started = std::thread::Builder::new()
                .name("sqlite-reader".to_owned())
                .spawn(move || own.serve(connection));
            if let Err(error) = started {
                readers.stop();
                return Err(DbError::Unavailable(Arc::new(error)));
            }
        }
        Ok(readers)
    }

    /// Runs `work` on a reader. Dropping the turn stops it, and the reader is free again.
    pub(super) fn run(&self, work: Work) -> Turn {
        let stop = StopOnDrop(Arc::default());
        let stopped = Arc::clone(&stop.0);
        let (reply, answer) = oneshot::channel();
        let (asked, patience) = (Instant::now(), self.patience);
        let pushed = self.push(Box::new(move |tx| {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let done = if asked.elapsed() > patience {
                Err(DbError::unavailable("no reader came free"))
            } else {
                if let Some(conn) = tx.conn() {
                    conn.serve(stopped);
                }
                // Whatever the work leaves behind, the reader is tidied before it is used again.
                catch_unwind(AssertUnwindSafe(|| work(tx))).map_err(|_| {
                    tracing::error!("a row mapper panicked");
                    DbError::Panicked
                })
            };
            // A caller that has gone away does not mind.
            let _ = reply.send(done);
        }));
        Turn {
            refused: pushed.err(),
            answer,
            _stop: stop,
        }
    }

    /// How many queries wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    fn push(&self, work: Work) -> Result<(), DbError> {
        let mut queue = self.queue();
        if queue.stopped {
            return Err(closed());
        }
        if queue.waiting.len() >= QUEUE {
            return Err(DbError::unavailable("too many queries are waiting"));
        }
        queue.waiting.push_back(work);
        drop(queue);
        self.more.notify_one();
        Ok(())
    }

    /// Lets the threads end once the queue is empty; nothing more is taken.
    pub(super) fn stop(&self) {
        self.queue().stopped = true;
        self.more.notify_all();
    }

    /// Waits until the threads have ended and their connections are closed.
    pub(super) async fn ended(&self) {
        // The sender is here, so it cannot be gone.
        let _ = self.running.subscribe().wait_for(|&n| n == 0).await;
    }

    fn serve(&self, mut tx: Tx) {
        while let Some(work) = self.next() {
            work(&mut tx);
            if let Some(conn) = tx.conn() {
                conn.tidy();
            }
        }
        drop(tx);
        self.running.send_modify(|running| *running -= 1);
    }

    fn next(&self) -> Option<Work> {
        let mut queue = self.queue();
        loop {
            if let Some(work) = queue.waiting.pop_front() {
                return Some(work);
            }
            if queue.stopped {
                return None;
            }
            queue = self
                .more
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Locked only to put something in or take it out, never while anything runs.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves when a reader has done the work.
pub(super) struct Turn {
    refused: Option<DbError>,
    answer: oneshot::Receiver<Result<(), DbError>>,
    _stop: StopOnDrop,
}

impl Future for Turn {
    type Output = Result<(), DbError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(refusal) = self.refused.take() {
            return Poll::Ready(Err(refusal));
        }
        let answer = Pin::new(&mut self.answer).poll(cx);
        answer.map(|answer| answer.unwrap_or_else(|_| Err(closed())))
    }
}

/// Held by the caller's future.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) fn closed() -> DbError {
    DbError::unavailable("the database is closed")
}
