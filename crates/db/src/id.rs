//! Ids: ULIDs (26 characters, Crockford base 32), which sort by time of making.

use std::sync::{LazyLock, Mutex, PoisonError};

use rand::Rng as _;
use ulid::{Generator, Ulid};

/// A new id, greater than every id this process made before.
#[must_use]
pub fn new() -> String {
    // A lock, not a task: the critical section is a few nanoseconds and never awaits.
    static GENERATOR: LazyLock<Mutex<Generator>> = LazyLock::new(|| Mutex::new(Generator::new()));
    let mut generator = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    generator
        .generate()
        .unwrap_or_else(|_| Ulid::generate())
        .to_string()
}

/// 256 random bits for a secret, from the operating system's generator.
#[must_use]
pub fn secret() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
