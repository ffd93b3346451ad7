//! The SQLite backend: [`readers`](super::readers) and a [`writer`](super::writer) on one file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::timeout,
};
use tracing::Span;

use super::{
    DbError, Row, Statement, Tx,
    conn::{Conn, Role},
    job::{Job, OnRow, Slot},
    readers::{Readers, Turn, closed},
    table_versions::TableVersions,
    writer::{self, Handed, Message},
};

/// A SQLite file, opened.
#[derive(Clone)]
pub struct Sqlite(Arc<Shared>);

struct Shared {
    service: &'static str,
    writer: mpsc::Sender<Message>,
    readers: Arc<Readers>,
    versions: Arc<TableVersions>,
    /// How long a caller waits for a place in the writer's queue.
    patience: Duration,
}

impl Drop for Shared {
    /// The writer ends with its last sender; the readers have to be told.
    fn drop(&mut self) {
        self.readers.stop();
    }
}

impl Sqlite {
    pub(super) async fn open(
        path: PathBuf,
        service: &'static str,
        readers: u32,
        statement_timeout: Duration,
    ) -> Result<Self, DbError> {
        let versions = TableVersions::of(&path);
        let opened =
            spawn_blocking(move || open_all(&path, service, readers.max(1), statement_timeout));
        let opened = opened.await;
        let (writer, idle) = opened.map_err(|error| DbError::Unavailable(Arc::new(error)))??;
        let (sender, inbox) = mpsc::channel(writer::QUEUE);
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || writer::run(writer, inbox))
            .map_err(|error| DbError::Unavailable(Arc::new(error)))?;
        Ok(Self(Arc::new(Shared {
            service,
            writer: sender,
            readers: Readers::start(idle, statement_timeout)?,
            versions,
            patience: statement_timeout,
        })))
    }

    pub(super) fn table_version(&self, table: &str) -> u64 {
        self.0.versions.get(table)
    }

    pub(super) fn service(&self) -> &'static str {
        self.0.service
    }

    /// Runs a query on a reader and maps its first `limit` rows there.
    pub(super) async fn rows<T, F>(
        &self,
        statement: Statement,
        limit: usize,
        mut map: F,
    ) -> Result<Vec<T>, DbError>
    where
        F: FnMut(&Row<'_>) -> Result<T, DbError> + Send + 'static,
        T: Send + 'static,
    {
        let slot = Slot::default();
        let mapped = slot.clone();
        let turn = self.0.readers.run(Box::new(move |tx| {
            let mut rows = Vec::new();
            let done = query(tx, &statement, limit, &mut |row| {
                rows.push(map(row)?);
                Ok(())
            });
            mapped.put(done.map(|()| rows));
        }));
        turn.await?;
        slot.take().unwrap_or_else(|| Err(closed()))
    }

    /// Runs a job on one snapshot.
    pub(super) fn read(&self, mut job: Box<dyn Job>) -> Turn {
        let span = Span::current();
        self.0.readers.run(Box::new(move |tx| {
            let _entered = span.enter();
            // The snapshot begins with the first statement of the job, and ends when the reader
            // is tidied.
            let begun = match tx.conn() {
                Some(conn) => conn.bound("BEGIN"),
                None => Err(closed()),
            };
            match begun {
                Ok(()) => {
                    writer::drive(job.as_mut(), tx);
                }
                Err(error) => job.fail(error),
            }
        }))
    }

    /// Runs a job in a transaction. An error: the job was not run.
    pub(super) async fn write(&self, job: Box<dyn Job>, alone: bool) -> Result<(), DbError> {
        let (done, answer) = oneshot::channel();
        let message = Message::Run(Handed {
            job,
            alone,
            span: Span::current(),
            done,
        });
        match self.0.writer.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(message)) => {
                let sent = self.0.writer.send_timeout(message, self.0.patience).await;
                sent.map_err(|_| DbError::unavailable("too many writes are waiting"))?;
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(closed()),
        }
        answer.await.map_err(|_| closed())
    }

    pub(super) fn watch(&self) -> impl Fn() -> Option<[(&'static str, usize); 2]> + Send + 'static {
        let shared = Arc::downgrade(&self.0);
        move || {
            let shared = shared.upgrade()?;
            let writer = &shared.writer;
            Some([
                ("queries_waiting", shared.readers.waiting()),
                ("writes_waiting", writer.max_capacity() - writer.capacity()),
            ])
        }
    }

    pub(super) async fn ping(&self) -> Result<(), DbError> {
        if self.0.writer.is_closed() {
            return Err(closed());
        }
        self.rows("SELECT 1".into(), 1, |_| Ok(())).await?;
        Ok(())
    }

    /// Lets reads end and closes their connections, then lets the writer finish its queue and the
    /// file.
    pub(super) async fn close(&self) {
        self.0.readers.stop();
        if timeout(self.0.patience, self.0.readers.ended())
            .await
            .is_err()
        {
            tracing::warn!("queries were still running when the database was closed");
        }
        let (done, finished) = oneshot::channel();
        if self.0.writer.send(Message::Close(done)).await.is_ok() {
            let _ = finished.await;
        }
    }
}

fn query(
    tx: &mut Tx,
    statement: &Statement,
    limit: usize,
    on_row: &mut OnRow<'_>,
) -> Result<(), DbError> {
    match tx.conn() {
        Some(conn) => conn.query(statement, limit, on_row),
        None => Err(closed()),
    }
}

/// The writer's connection and the readers'.
fn open_all(
    path: &Path,
    service: &'static str,
    readers: u32,
    timeout: Duration,
) -> Result<(Tx, Vec<Tx>), DbError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| DbError::Unavailable(Arc::new(error)))?;
    }
    let open =
        |role| Conn::open(path, role, timeout).map(|conn| Tx::sqlite(Box::new(conn), service));
    // The writer first: it creates the file and turns its log on.
    let writer = open(Role::Writer)?;
    let mut idle = Vec::new();
    for _ in 0..readers {
        idle.push(open(Role::Reader)?);
    }
    Ok((writer, idle))
}
