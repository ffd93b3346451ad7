//! The SQLite backend: a few reading connections and the [`writer`](super::writer).
//!
//! Reads run on Tokio's blocking threads, and the row mapper with them, so that what is made of a
//! row is made where the row is.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{JoinError, spawn_blocking},
    time::timeout,
};
use tracing::Span;

use super::{
    DbError, Row, Statement, Tx,
    conn::{Conn, Control, Role},
    writer::{self, Handed, Message},
};

/// A SQLite file, opened.
#[derive(Clone)]
pub struct Sqlite {
    writer: mpsc::Sender<Message>,
    readers: Arc<Readers>,
    /// How long a caller waits for a reader or for a place in the writer's queue.
    patience: Duration,
}

impl Sqlite {
    pub(super) async fn open(
        path: PathBuf,
        readers: u32,
        statement_timeout: Duration,
    ) -> Result<Self, DbError> {
        let opened = spawn_blocking(move || open_all(&path, readers.max(1), statement_timeout));
        let (writer, idle) = opened.await.map_err(gone)??;
        let (sender, inbox) = mpsc::channel(writer::QUEUE);
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || writer::run(Tx::sqlite(writer), inbox))
            .map_err(|error| DbError::Unavailable(Arc::new(error)))?;
        Ok(Self {
            writer: sender,
            readers: Arc::new(Readers {
                free: Arc::new(Semaphore::new(idle.len())),
                total: idle.len(),
                idle: Mutex::new(idle),
            }),
            patience: statement_timeout,
        })
    }

    pub(super) async fn rows<T, F>(
        &self,
        statement: Statement,
        limit: usize,
        map: F,
    ) -> Result<Vec<T>, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send + 'static,
        T: Send + 'static,
    {
        self.on_reader(move |conn| conn.query(&statement, limit, map))
            .await?
    }

    pub(super) async fn read<T, E, F>(&self, mut job: F) -> Result<T, E>
    where
        F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let mut lease = self.readers.lease(self.patience).await?;
        let _stop = lease.stop_on_drop()?;
        let span = Span::current();
        let done = spawn_blocking(move || {
            let _entered = span.enter();
            // The snapshot begins with the first statement of the job.
            lease.conn()?.bound("BEGIN")?;
            writer::drive(&mut job, lease.tx()?)
        });
        done.await.map_err(gone)?
    }

    /// Runs `work` on a reader, off the async threads. A caller that goes away stops it.
    async fn on_reader<T, W>(&self, work: W) -> Result<T, DbError>
    where
        W: FnOnce(&mut Conn) -> T + Send + 'static,
        T: Send + 'static,
    {
        let mut lease = self.readers.lease(self.patience).await?;
        let _stop = lease.stop_on_drop()?;
        let done = spawn_blocking(move || {
            let conn = lease.conn()?;
            catch_unwind(AssertUnwindSafe(|| work(conn))).map_err(|_| {
                tracing::error!("a row mapper panicked");
                DbError::Panicked
            })
        });
        done.await.map_err(gone)?
    }

    pub(super) async fn write<T, E, F>(&self, job: F, alone: bool) -> Result<T, E>
    where
        F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let message = Message::Run(Box::new(Handed {
            job,
            alone,
            span: Span::current(),
            result: None,
            reply,
        }));
        match self.writer.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(message)) => {
                let sent = self.writer.send_timeout(message, self.patience).await;
                sent.map_err(|_| DbError::unavailable("too many writes are waiting"))?;
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(closed().into()),
        }
        answer.await.map_err(|_| closed())?
    }

    pub(super) async fn ping(&self) -> Result<(), DbError> {
        if self.writer.is_closed() {
            return Err(closed());
        }
        self.rows("SELECT 1".into(), 1, |_| Ok(())).await?;
        Ok(())
    }

    /// Lets reads end, closes them, then lets the writer finish its queue and the file.
    pub(super) async fn close(&self) {
        let all = u32::try_from(self.readers.total).unwrap_or(u32::MAX);
        let reads_done = timeout(self.patience, self.readers.free.acquire_many(all)).await;
        self.readers.free.close();
        drop(reads_done);
        let idle = std::mem::take(&mut *self.readers.idle());
        drop(idle);
        let (done, closed) = oneshot::channel();
        if self.writer.send(Message::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

fn open_all(
    path: &Path,
    readers: u32,
    statement_timeout: Duration,
) -> Result<(Box<Conn>, Vec<Tx>), DbError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| DbError::Unavailable(Arc::new(error)))?;
    }
    let open = |role| Conn::open(path, role, statement_timeout).map(Box::new);
    // The writer first: it creates the file and turns its log on.
    let writer = open(Role::Writer)?;
    let mut idle = Vec::new();
    for _ in 0..readers {
        idle.push(Tx::sqlite(open(Role::Reader)?));
    }
    Ok((writer, idle))
}

/// The reading connections.
struct Readers {
    /// Those nobody uses; the last used comes first, because its cache is warm. Never locked while
    /// anything runs.
    idle: Mutex<Vec<Tx>>,
    /// As many permits as `idle` has connections.
    free: Arc<Semaphore>,
    total: usize,
}

impl Readers {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Tx>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lease(self: &Arc<Self>, patience: Duration) -> Result<Lease, DbError> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => timeout(patience, Arc::clone(&self.free).acquire_owned())
                .await
                .map_err(|_| DbError::unavailable("no reader came free"))?
                .map_err(|_| closed())?,
        };
        let tx = self.idle().pop().ok_or_else(closed)?;
        Ok(Lease {
            tx: Some(tx),
            home: Arc::clone(self),
            _permit: permit,
        })
    }
}

/// A reader in use; given back when dropped, whatever happened to its user.
struct Lease {
    tx: Option<Tx>,
    home: Arc<Readers>,
    /// Released after `drop`, so that whoever gets it finds the reader.
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    fn tx(&mut self) -> Result<&mut Tx, DbError> {
        self.tx.as_mut().ok_or_else(closed)
    }

    fn conn(&mut self) -> Result<&mut Conn, DbError> {
        self.tx()?.conn().ok_or_else(closed)
    }

    /// Lets the caller's future stop the reader by being dropped.
    fn stop_on_drop(&mut self) -> Result<StopOnDrop, DbError> {
        let (control, ticket) = self.conn()?.check_out();
        Ok(StopOnDrop { control, ticket })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut tx) = self.tx.take() else { return };
        if let Some(conn) = tx.conn() {
            // From here on the last user's stop means nobody.
            conn.check_out();
            conn.tidy();
        }
        if !self.home.free.is_closed() {
            self.home.idle().push(tx);
        }
    }
}

struct StopOnDrop {
    control: Arc<Control>,
    ticket: u64,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.control.cancel(self.ticket);
    }
}

fn closed() -> DbError {
    DbError::unavailable("the database is closed")
}

/// The runtime shut down before the blocking work was done.
fn gone(error: JoinError) -> DbError {
    match error.is_panic() {
        true => DbError::Panicked,
        false => DbError::Unavailable(Arc::new(error)),
    }
}
