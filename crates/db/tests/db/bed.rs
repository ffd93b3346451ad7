//! A fresh database for one test.

use std::{future::Future, time::Duration};

use db::{BoxFuture, Db, DbConfig, DbError, Dialect, Statement, Tx};
use tempfile::TempDir;

pub(crate) struct Bed {
    pub(crate) db: Db,
    pub(crate) config: DbConfig,
    pub(crate) folder: Option<TempDir>,
}

impl Bed {
    pub(crate) async fn sqlite() -> Self {
        Self::sqlite_with(|_| ()).await
    }

    pub(crate) async fn sqlite_with(change: impl FnOnce(&mut DbConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/on/demand.db");
        let mut config = DbConfig::new(format!("sqlite:{}", path.display()));
        change(&mut config);
        Self {
            db: Db::open(&config).await.unwrap(),
            config,
            folder: Some(folder),
        }
    }

    pub(crate) async fn postgres(test: &str) -> Option<Self> {
        let Ok(url) = std::env::var("TEST_POSTGRES_URL") else {
            eprintln!("skipped: TEST_POSTGRES_URL is not set");
            return None;
        };
        let unique = db::clock::unix_ms();
        let mut name = format!("{test}_{}_{unique}", std::process::id());
        // Names end after 63 bytes; the end is what makes this one unique.
        let cut = name.len().saturating_sub(60);
        name.replace_range(..cut, "t_");
        let config = DbConfig {
            schema: Some(name),
            ..DbConfig::new(url)
        };
        Some(Self {
            db: Db::open(&config).await.unwrap(),
            config,
            folder: None,
        })
    }

    /// The same database as another process would see it.
    pub(crate) async fn open_again(&self) -> Db {
        Db::open(&self.config).await.unwrap()
    }

    /// The same database with another limit for statements.
    pub(crate) async fn with_timeout(&self, statement_timeout: Duration) -> Db {
        let config = DbConfig {
            statement_timeout,
            ..self.config.clone()
        };
        Db::open(&config).await.unwrap()
    }

    pub(crate) async fn clean(self) {
        if let Some(schema) = &self.config.schema {
            // Not through `self.db`, which the test may have closed.
            let db = Db::open(&DbConfig::new(self.config.url.clone()))
                .await
                .unwrap();
            db.execute(Statement::new(format!("DROP SCHEMA {schema} CASCADE")).once())
                .await
                .unwrap();
            db.close().await;
        }
        self.db.close().await;
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.db.dialect() == Dialect::Sqlite
    }

    pub(crate) async fn batch(&self, sql: &'static str) {
        let done = self
            .db
            .write(move |tx| Box::pin(async move { tx.execute_batch(sql).await }));
        done.await.unwrap();
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        count(&self.db, table).await
    }
}

pub(crate) async fn count(db: &Db, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    db.query_one(sql, |row| row.req_int(0)).await.unwrap()
}

/// `INSERT INTO t (n) VALUES (n)` as a job.
pub(crate) fn insert(
    n: i64,
) -> impl for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<(), DbError>> + Send {
    move |tx| {
        Box::pin(async move {
            tx.execute(Statement::new("INSERT INTO t (n) VALUES ($1)").bind(n))
                .await?;
            Ok(())
        })
    }
}

/// Fails the test rather than hang it.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it should have happened by now")
}

/// A query that never ends and gives rows at once on SQLite.
pub(crate) const ENDLESS: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT (n + 1) % 1000 FROM c) SELECT n FROM c";
