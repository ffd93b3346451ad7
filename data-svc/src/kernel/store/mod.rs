//! SQL of records, private to the kernel. Identifiers come from the registry only, values are always
//! bound.
//!
//! Invariant: imports the model and nothing above it; it writes what it is given and looks nothing up.

pub(in crate::kernel) mod aggregate;
pub(in crate::kernel) mod assignment;
pub(in crate::kernel) mod audit;
pub(in crate::kernel) mod autonumber;
pub(in crate::kernel) mod bind;
pub(in crate::kernel) mod condition;
pub(in crate::kernel) mod ddl;
pub(in crate::kernel) mod idempotency;
pub(in crate::kernel) mod secret;
pub(in crate::kernel) mod select;
pub(in crate::kernel) mod summary;
pub(in crate::kernel) mod write;
