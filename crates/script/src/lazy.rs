//! A pool that is started when a script first runs: most processes never run one.

use std::{io, path::PathBuf};

use tokio::sync::OnceCell;

use crate::pool::{Config, Pool};

/// The sandbox, started when it is first asked for.
#[derive(Debug)]
pub struct LazyPool {
    config: Config,
    pool: OnceCell<Pool>,
}

impl LazyPool {
    /// A sandbox of so many workers. `program` is started as a worker; empty for this program.
    #[must_use]
    pub fn new(program: &str, workers: usize) -> Self {
        Self {
            config: Config {
                program: (!program.is_empty()).then(|| PathBuf::from(program)),
                workers: workers.max(1),
                ..Config::default()
            },
            pool: OnceCell::new(),
        }
    }

    /// The pool.
    ///
    /// # Errors
    /// When it cannot be started; the next call tries again.
    pub async fn get(&self) -> io::Result<&Pool> {
        self.pool
            .get_or_try_init(|| Pool::start(self.config.clone()))
            .await
    }
}
