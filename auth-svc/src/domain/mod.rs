//! The rules about people and their sessions, over plain types.
//!
//! Invariant: no I/O, no clock, no randomness here; moments and random bits are handed in.

pub(crate) mod api_key;
pub(crate) mod audit;
pub(crate) mod cookie;
pub(crate) mod identity;
pub(crate) mod input;
pub(crate) mod key;
pub(crate) mod proof;
pub(crate) mod revocation;
pub(crate) mod rights;
pub(crate) mod session;
pub(crate) mod throttle;
pub(crate) mod token;
pub(crate) mod user;
