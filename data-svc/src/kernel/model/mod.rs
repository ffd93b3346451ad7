//! What the kernel works on, as plain data: the snapshot of the metadata in force, objects and their
//! columns, values, conditions on rows, rights. No I/O, no compiling, no clock.

pub mod cell;
pub mod coerce;
pub mod field_set;
pub mod formula;
pub mod hooks;
pub mod plan;
pub mod predicate;
pub mod registry;
pub mod rights;
pub mod schema;
pub mod summary;
pub mod translation;

/// The organisation that exists from the start: records that name none belong to it.
pub const DEFAULT_ORGANIZATION: &str = "00000000000000000000000001";
