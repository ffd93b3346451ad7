//! One SQLite connection: how it is opened, how a statement runs on it, and how it is stopped.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{
    CachedStatement, Connection, OpenFlags, ToSql,
    config::DbConfig,
    hooks::Action,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    DbError, Row, Statement, Value,
    job::OnRow,
    table_versions::{TableVersions, Touched},
    text,
};

/// Prepared statements kept by a connection.
const STATEMENTS: usize = 256;
/// Instructions of SQLite's machine between two looks at the clock: some 20 µs.
const LOOK_EVERY: i32 = 1000;
const NEVER: u64 = u64::MAX;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// Creates the file if it is missing, and changes it.
    Writer,
    /// Cannot change anything.
    Reader,
}

/// An open connection.
pub(super) struct Conn {
    raw: Connection,
    control: Arc<Control>,
    timeout: Duration,
    /// The flag of a caller that never leaves.
    nobody: Arc<AtomicBool>,
    versions: Arc<TableVersions>,
    touched: Touched,
}

/// What the running statement asks whether it is to stop. SQLite's own interrupt is no use here: it
/// does not know whose statement it hits, which may be the next caller's.
struct Control {
    born: Instant,
    /// Microseconds after `born` at which the running statement is stopped.
    deadline: AtomicU64,
    /// Set by the caller that the connection works for, when they go away. Locked only to look at
    /// it or to replace it.
    left: Mutex<Arc<AtomicBool>>,
}

impl Control {
    fn must_stop(&self) -> bool {
        self.has_left() || self.micros() >= self.deadline.load(Ordering::Relaxed)
    }

    fn has_left(&self) -> bool {
        self.left().load(Ordering::Relaxed)
    }

    fn left(&self) -> MutexGuard<'_, Arc<AtomicBool>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_micros()).unwrap_or(NEVER)
    }
}

/// How long a connection waits for a lock of the file.
const BUSY: Duration = Duration::from_secs(5);
/// Between two attempts to open a file that another process is just turning into WAL mode.
const OPEN_AGAIN: Duration = Duration::from_millis(5);

impl Conn {
    /// Opens the file. SQLite waits by itself for every lock but the one for changing the journal's
    /// mode, where it answers SQLITE_BUSY at once: processes that open a new file at the same moment
    /// meet there.
    pub(super) fn open(path: &Path, role: Role, timeout: Duration) -> Result<Self, DbError> {
        let began = Instant::now();
        loop {
            match Self::open_once(path, role, timeout) {
                Err(DbError::Serialization) if began.elapsed() < BUSY => {
                    std::thread::sleep(OPEN_AGAIN);
                }
                opened => return opened,
            }
        }
    }

    fn open_once(path: &Path, role: Role, timeout: Duration) -> Result<Self, DbError> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if role == Role::Writer {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let raw = Connection::open_with_flags(path, flags)?;
        raw.busy_timeout(BUSY)?;
        // With statistics, SQLite prepares a statement anew at each execution whose bound values may
        // change its plan, a LIMIT among them: that was a tenth of a list.
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // synchronous=FULL: an acknowledged write survives a power cut.
        raw.execute_batch(match role {
            Role::Writer => {
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                 PRAGMA mmap_size = 268435456; PRAGMA cache_size = -65536;
                 PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;"
            }
            Role::Reader => {
                "PRAGMA query_only = ON; PRAGMA mmap_size = 268435456;
                 PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;"
            }
        })?;
        raw.set_prepared_statement_cache_capacity(STATEMENTS);
        let control = Arc::new(Control {
            born: Instant::now(),
            deadline: AtomicU64::new(NEVER),
            left: Mutex::default(),
        });
        let asked = Arc::clone(&control);
        raw.progress_handler(LOOK_EVERY, Some(move || asked.must_stop()))?;
        let touched = Touched::default();
        if role == Role::Writer {
            let touched = touched.clone();
            raw.update_hook(Some(move |_: Action, _: &str, table: &str, _: i64| {
                touched.add(table);
            }))?;
        }
        Ok(Self {
            raw,
            control,
            timeout,
            nobody: Arc::default(),
            versions: TableVersions::of(path),
            touched,
        })
    }

    /// Counts what the transaction that was just committed has changed.
    pub(super) fn committed(&self) {
        self.versions.commit(&self.touched);
    }

    /// Works for a caller from here on, who sets `left` when they go away.
    pub(super) fn serve(&mut self, left: Arc<AtomicBool>) {
        *self.control.left() = left;
    }

    /// Runs a statement and hands out its first `limit` rows.
    pub(super) fn query(
        &mut self,
        statement: &Statement,
        limit: usize,
        on_row: &mut OnRow<'_>,
    ) -> Result<(), DbError> {
        self.timed(|raw| {
            let mut prepared = prepare(raw, statement)?;
            let mut rows = prepared.raw_query();
            for _ in 0..limit {
                let Some(row) = rows.next()? else { break };
                on_row(&Row::sqlite(row))?;
            }
            Ok(())
        })
    }

    /// Runs a statement for its effect; returns the rows it changed.
    pub(super) fn execute(&mut self, statement: &Statement) -> Result<u64, DbError> {
        self.timed(|raw| {
            let mut prepared = prepare(raw, statement)?;
            let mut rows = prepared.raw_query();
            // RETURNING rows are stepped over, as PostgreSQL's driver does.
            while rows.next()?.is_some() {}
            drop(rows);
            // Only these change rows; after others SQLite repeats the count of the one before.
            if prepared.readonly() {
                Ok(0)
            } else {
                Ok(raw.changes())
            }
        })
    }

    /// Runs several statements without values and without a time limit.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        Ok(self.raw.execute_batch(sql)?)
    }

    /// Runs one of the statements that bound a transaction.
    pub(super) fn bound(&mut self, sql: &'static str) -> Result<(), DbError> {
        self.raw.prepare_cached(sql)?.raw_execute()?;
        Ok(())
    }

    /// Whether a transaction is open. SQLite ends one by itself when the disk is full or a
    /// writing statement was stopped.
    pub(super) fn in_transaction(&self) -> bool {
        !self.raw.is_autocommit()
    }

    /// Ends what the last caller may have left open, and works for nobody.
    pub(super) fn tidy(&mut self) {
        self.serve(Arc::clone(&self.nobody));
        if self.in_transaction()
            && let Err(error) = self.bound("ROLLBACK")
        {
            tracing::error!(%error, "a SQLite transaction could not be rolled back");
        }
    }

    fn timed<T>(
        &mut self,
        run: impl FnOnce(&Connection) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        if self.control.has_left() {
            return Err(DbError::Timeout);
        }
        let limit = u64::try_from(self.timeout.as_micros()).unwrap_or(NEVER);
        let deadline = self.control.micros().saturating_add(limit);
        self.control.deadline.store(deadline, Ordering::Relaxed);
        let result = run(&self.raw);
        self.control.deadline.store(NEVER, Ordering::Relaxed);
        result
    }
}

fn prepare<'c>(raw: &'c Connection, statement: &Statement) -> Result<Prepared<'c>, DbError> {
    let mut prepared = match statement.once {
        true => Prepared::Once(raw.prepare(&statement.sql)?),
        false => Prepared::Cached(raw.prepare_cached(&statement.sql)?),
    };
    bind(&mut prepared, &statement.args)?;
    Ok(prepared)
}

/// Binds by number. To SQLite `$2` is a name, so its position says nothing; only its digits do.
fn bind(prepared: &mut rusqlite::Statement<'_>, args: &[Value]) -> Result<(), DbError> {
    let mut highest = 0;
    for position in 1..=prepared.parameter_count() {
        let number = match prepared.parameter_name(position) {
            Some(name) => number(name).ok_or(DbError::Value("a placeholder has no number"))?,
            None => position,
        };
        highest = highest.max(number);
        let Some(value) = number.checked_sub(1).and_then(|index| args.get(index)) else {
            return Err(DbError::Value("a placeholder has no value"));
        };
        value.check()?;
        prepared.raw_bind_parameter(position, value)?;
    }
    match highest == args.len() {
        true => Ok(()),
        false => Err(DbError::Value("a value has no placeholder")),
    }
}

/// The number in `$12`, `?12` or `$12::jsonb`, which SQLite takes for one name.
fn number(name: &str) -> Option<usize> {
    let digits = name.get(1..)?;
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits.get(..end.unwrap_or(digits.len()))?.parse().ok()
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Text(Some(value)) | Self::Json(Some(value)) => {
                ToSqlOutput::Borrowed(ValueRef::Text(value.as_bytes()))
            }
            Self::Int(Some(value)) => (*value).into(),
            Self::Double(Some(value)) => (*value).into(),
            Self::Bool(Some(value)) => i64::from(*value).into(),
            Self::Decimal(Some(value)) => text::decimal(*value).into(),
            Self::Date(Some(value)) => text::date(*value).into(),
            Self::Time(Some(value)) => text::time(*value).into(),
            Self::DateTime(Some(value)) => text::date_time(*value).into(),
            Self::Bytes(Some(value)) => ToSqlOutput::Borrowed(ValueRef::Blob(value)),
            Self::TextArray(values) => serde_json::to_string(values)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?
                .into(),
            Self::Text(None)
            | Self::Int(None)
            | Self::Double(None)
            | Self::Bool(None)
            | Self::Decimal(None)
            | Self::Date(None)
            | Self::Time(None)
            | Self::DateTime(None)
            | Self::Json(None)
            | Self::Bytes(None) => ToSqlOutput::Borrowed(ValueRef::Null),
        })
    }
}

/// A prepared statement, kept by the connection or not.
enum Prepared<'c> {
    Cached(CachedStatement<'c>),
    Once(rusqlite::Statement<'c>),
}

impl<'c> std::ops::Deref for Prepared<'c> {
    type Target = rusqlite::Statement<'c>;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Cached(statement) => statement,
            Self::Once(statement) => statement,
        }
    }
}

impl std::ops::DerefMut for Prepared<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Cached(statement) => statement,
            Self::Once(statement) => statement,
        }
    }
}
