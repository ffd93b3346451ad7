//! Hashing passwords: argon2id on a pool of its own, so that a burst of sign-ins takes neither all
//! processors nor all memory, and nobody waits without bound.

use std::{sync::Arc, thread};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use mesh::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{config::HashingConfig, domain::input};

/// Memory of one hash, in KiB (OWASP's least for argon2id with two passes).
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;

/// The pool.
pub(super) struct Passwords {
    /// Running and waiting callers.
    places: Arc<Semaphore>,
    /// Running callers.
    threads: Arc<Semaphore>,
    /// Verified against when there is no such user, at the same cost.
    dummy: Arc<str>,
}

impl Passwords {
    /// A pool of the configured size.
    pub(super) fn new(config: &HashingConfig) -> anyhow::Result<Self> {
        let threads = match config.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        Ok(Self {
            places: Arc::new(Semaphore::new(threads + config.queue_max)),
            threads: Arc::new(Semaphore::new(threads)),
            dummy: hash_now("nobody has this password")?.into(),
        })
    }

    /// The PHC string of a password, with a fresh salt.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when too many wait.
    pub(super) async fn hash(&self, password: String) -> Result<String> {
        self.run(move || hash_now(&password)).await
    }

    /// Whether the password fits. Without a hash (no such user) it never does, after the same work.
    ///
    /// # Errors
    /// SERVICE_UNAVAILABLE when too many wait.
    pub(super) async fn verify(&self, password: String, hash: Option<&str>) -> Result<bool> {
        let known = hash.is_some() && input::can_be_password(&password);
        let hash: Arc<str> = hash.map_or_else(|| self.dummy.clone(), Into::into);
        // A text too long for a password is not hashed, but what is hashed instead costs the same.
        let password = if input::can_be_password(&password) {
            password
        } else {
            String::new()
        };
        let fits = self.run(move || verify_now(&password, &hash)).await?;
        Ok(fits && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T> {
        let busy = |_| Error::unavailable("Sign-in");
        let place = self.places.clone().try_acquire_owned().map_err(busy)?;
        let thread = self
            .threads
            .clone()
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        // The permits go along: a caller that gives up does not make room for more work than fits.
        let work = move || {
            let _held: (OwnedSemaphorePermit, OwnedSemaphorePermit) = (place, thread);
            work()
        };
        let done = tokio::task::spawn_blocking(work)
            .await
            .map_err(Error::internal)?;
        done.map_err(Error::internal)
    }
}

fn argon2() -> anyhow::Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(refused)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_now(password: &str) -> anyhow::Result<String> {
    let salt = &mesh::id::secret()[..16];
    let hash = argon2()?
        .hash_password_with_salt(password.as_bytes(), salt)
        .map_err(refused)?;
    Ok(hash.to_string())
}

fn verify_now(password: &str, hash: &str) -> anyhow::Result<bool> {
    let hash = PasswordHash::new(hash).map_err(refused)?;
    match argon2()?.verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(refused(error)),
    }
}

fn refused(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("argon2: {error}")
}

#[cfg(test)]
mod tests {
    use mesh::error::Reason;

    use super::*;

    fn pool(threads: usize, queue_max: usize) -> Passwords {
        Passwords::new(&HashingConfig { threads, queue_max }).unwrap()
    }

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_only() {
        let pool = pool(0, 8);
        let hash = pool.hash("correct horse".into()).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(
            pool.verify("correct horse".into(), Some(&hash))
                .await
                .unwrap()
        );
        for wrong in ["", "correct horse ", &"x".repeat(10_000)] {
            assert!(!pool.verify(wrong.into(), Some(&hash)).await.unwrap());
        }
        assert!(
            !pool
                .verify("nobody has this password".into(), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn beyond_the_queue_the_answer_is_503_and_the_pool_recovers() {
        let pool = pool(1, 2);
        let calls = (0..8).map(|_| pool.hash("correct horse".into()));
        let answers = futures::future::join_all(calls).await;
        let refused: Vec<_> = answers
            .iter()
            .filter_map(|answer| answer.as_ref().err())
            .collect();
        assert_eq!(refused.len(), 5);
        assert!(
            refused
                .iter()
                .all(|error| error.reason() == Reason::ServiceUnavailable)
        );
        assert!(pool.hash("correct horse".into()).await.is_ok());
    }
}
