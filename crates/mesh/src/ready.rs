//! Whether a service can do its work: what it needs is asked every second, and told to gRPC health
//! and to the admin listener.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{db::Db, tasks::Tasks, watched::DEGRADED_AFTER};

/// How often what is needed is asked, and for how long it may think.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is asked until it is ready for the first time.
const SOON: Duration = Duration::from_millis(50);
/// The name under which gRPC health tells of the tasks beside the calls; unknown until one has failed.
pub const BACKGROUND: &str = "background";
const NO_METADATA: &str = "the metadata is not here yet";

/// The readiness of a service. Clones are the same.
#[derive(Clone)]
pub struct Readiness {
    inner: Arc<Inner>,
}

struct Inner {
    health: HealthReporter,
    /// The database without which nothing works.
    db: Option<Db>,
    /// Whether the metadata is there, without which nothing works.
    metadata: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    leaving: AtomicBool,
    /// Whether the tasks beside the calls are known to work.
    background: AtomicBool,
    missing: Mutex<Option<&'static str>>,
}

impl Readiness {
    pub(crate) fn new(health: HealthReporter, db: Option<Db>) -> Self {
        Self::over_metadata(health, db, None)
    }

    /// The same of a service that needs metadata, too.
    pub(crate) fn over_metadata(
        health: HealthReporter,
        db: Option<Db>,
        metadata: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    ) -> Self {
        let missing = metadata.is_some().then_some(NO_METADATA);
        Self {
            inner: Arc::new(Inner {
                health,
                db,
                metadata,
                leaving: AtomicBool::new(false),
                background: AtomicBool::new(true),
                missing: Mutex::new(missing),
            }),
        }
    }

    /// The readiness of a process that needs nothing of its own.
    #[must_use]
    pub fn of_itself() -> Self {
        Self::new(HealthReporter::new(), None)
    }

    /// Asks now.
    ///
    /// # Errors
    /// What is missing.
    pub async fn check(&self) -> Result<(), &'static str> {
        if self.inner.leaving.load(Ordering::Relaxed) {
            return Err("the process is stopping");
        }
        if self
            .inner
            .metadata
            .as_ref()
            .is_some_and(|is_there| !is_there())
        {
            return Err(NO_METADATA);
        }
        let Some(db) = &self.inner.db else {
            return Ok(());
        };
        match tokio::time::timeout(EVERY, db.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err("the database does not answer"),
        }
    }

    /// Waits until the service can do its work.
    ///
    /// # Errors
    /// What is missing after that time.
    pub async fn within(&self, patience: Duration) -> Result<(), &'static str> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            match self.check().await {
                Err(_) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(SOON / 5).await;
                }
                checked => return checked,
            }
        }
    }

    /// Keeps gRPC health at what is true, until the process leaves.
    pub fn watch(&self, tasks: &Tasks) {
        let (readiness, stop) = (self.clone(), tasks.stop_token());
        let watched = tasks.clone();
        tasks.spawn(async move {
            loop {
                readiness.update().await;
                readiness.tell_background(&watched).await;
                let pause = match readiness.is_waiting() {
                    true => SOON,
                    false => EVERY,
                };
                if tokio::time::timeout(pause, stop.cancelled()).await.is_ok() {
                    return;
                }
            }
        });
    }

    fn is_waiting(&self) -> bool {
        let missing = self.inner.missing.lock();
        *missing.unwrap_or_else(PoisonError::into_inner) == Some(NO_METADATA)
    }

    async fn update(&self) {
        let missing = self.check().await.err();
        let before = {
            let mut known = self
                .inner
                .missing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, missing)
        };
        if before == missing {
            return;
        }
        match missing {
            Some(missing) => tracing::warn!(missing, "not ready"),
            None => tracing::info!("ready again"),
        }
        self.tell(missing.is_none()).await;
    }

    async fn tell(&self, ready: bool) {
        self.set("", ready).await;
    }

    /// Tells whether the tasks beside the calls do what they are for. Calls are taken all the same.
    async fn tell_background(&self, tasks: &Tasks) {
        let works = tasks.failing_for(DEGRADED_AFTER).is_empty();
        if self.inner.background.swap(works, Ordering::Relaxed) != works {
            self.set(BACKGROUND, works).await;
        }
    }

    async fn set(&self, name: &str, works: bool) {
        let status = if works {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.inner.health.set_service_status(name, status).await;
    }

    /// The process stops: from now on it is not ready.
    pub async fn leave(&self) {
        self.inner.leaving.store(true, Ordering::Relaxed);
        self.tell(false).await;
    }
}
