//! The rules of records over plain types: no SQL, no gRPC, no clock, no randomness.

pub mod cell;
pub mod coerce;
pub mod expression;
pub mod formula;
mod matching;
pub mod policy;
pub mod predicate;
pub mod query;
pub mod record;
pub mod rights;
pub mod row_policy;
pub mod schema;
pub mod summary;
pub mod translation;
