//! How often this process has changed each table of a SQLite file: what was worked out of a table may
//! be used again until then. SQLite only, where one process has the file; on PostgreSQL others write.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
};

/// The counts of one file; one for all who open it in this process.
#[derive(Debug, Default)]
pub(super) struct TableVersions {
    committed: Mutex<HashMap<Box<str>, u64>>,
}

/// Tables that the open transaction of one writer has touched.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched(Arc<Mutex<HashSet<Box<str>>>>);

impl Touched {
    /// A row of the table is being changed.
    pub(super) fn add(&self, table: &str) {
        let mut touched = lock(&self.0);
        if !touched.contains(table) {
            touched.insert(table.into());
        }
    }
}

impl TableVersions {
    /// Those of a file.
    pub(super) fn of(path: &Path) -> Arc<Self> {
        static FILES: LazyLock<Mutex<HashMap<PathBuf, Weak<TableVersions>>>> =
            LazyLock::new(Mutex::default);
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut files = lock(&FILES);
        files.retain(|_, versions| versions.strong_count() > 0);
        if let Some(known) = files.get(&path).and_then(Weak::upgrade) {
            return known;
        }
        let versions = Arc::default();
        files.insert(path, Arc::downgrade(&versions));
        versions
    }

    /// How many commits have changed the table.
    pub(super) fn get(&self, table: &str) -> u64 {
        lock(&self.committed)
            .get(table)
            .copied()
            .unwrap_or_default()
    }

    /// What was touched is committed. Called before anybody is told of it.
    pub(super) fn commit(&self, touched: &Touched) {
        let touched = std::mem::take(&mut *lock(&touched.0));
        let mut committed = lock(&self.committed);
        for table in touched {
            *committed.entry(table).or_default() += 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
