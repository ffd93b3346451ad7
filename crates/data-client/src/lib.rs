//! What the other services need of data-svc: records, their changes, the metadata in force, and the
//! host of scripts.
//!
//! Invariant: nothing here decides what somebody may see or do. Each call is made as whoever its
//! context says, and data-svc decides.
//! Invariant: data-svc's messages are read here and nowhere else; services see the types of this
//! crate and of `metadata`.

pub mod changes;
pub mod metadata;
pub mod records;
pub mod registry;
pub mod script_host;
