//! A caller's job without the types of its result: what runs it is compiled once, and not once more
//! for each result in each crate that asks for one.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use super::{DbError, Row, Tx};

/// What is done with each row of a result.
pub(super) type OnRow<'m> = dyn FnMut(&Row<'_>) -> Result<(), DbError> + Send + 'm;

/// What is to become of a job's changes.
pub(super) enum Verdict {
    Keep,
    Undo {
        /// Whether another transaction was in the way, so that running it again may succeed.
        again: bool,
    },
}

/// A job of some caller.
pub(super) trait Job: Send {
    /// Runs the job in an open transaction, and keeps its result.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Verdict>;
    /// Replaces the result by an error.
    fn fail(&mut self, error: DbError);
}

/// A job with its types, and where its result goes.
pub(super) struct Typed<F, T, E> {
    job: F,
    result: Slot<Result<T, E>>,
    again: fn(&E) -> bool,
}

impl<F, T, E> Typed<F, T, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send,
    T: Send,
    E: From<DbError> + Send,
{
    /// `again` tells whether an error is worth another attempt.
    pub(super) fn new(job: F, again: fn(&E) -> bool) -> (Self, Slot<Result<T, E>>) {
        let result = Slot::default();
        let kept = result.clone();
        (Self { job, result, again }, kept)
    }
}

impl<F, T, E> Job for Typed<F, T, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send,
    T: Send,
    E: From<DbError> + Send,
{
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Verdict> {
        let Self { job, result, again } = self;
        let work = job(tx);
        Box::pin(async move {
            let done = work.await;
            let verdict = match &done {
                Ok(_) => Verdict::Keep,
                Err(error) => Verdict::Undo {
                    again: again(error),
                },
            };
            result.put(done);
            verdict
        })
    }

    fn fail(&mut self, error: DbError) {
        self.result.put(Err(error.into()));
    }
}

/// The result of a job that was run, or why it was not.
pub(super) fn result<T, E: From<DbError>>(
    ended: Result<(), DbError>,
    result: &Slot<Result<T, E>>,
) -> Result<T, E> {
    ended?;
    let unrun = || Err(DbError::unavailable("the job was not run").into());
    result.take().unwrap_or_else(unrun)
}

/// Where one thread puts a value and another one takes it, once it was told that it is there.
pub(super) struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Slot<T> {
    pub(super) fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
