//! All SQL of data-svc. Identifiers come from the registry only, values are always bound.

pub mod aggregate;
pub mod bind;
pub mod condition;
pub mod ddl;
pub mod outbox;
pub mod package;
pub mod select;
pub mod summary;
pub mod write;
