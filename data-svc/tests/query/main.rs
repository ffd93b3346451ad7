//! Queries through their public door: read, planned, turned into SQL, run.

mod agreement;
mod fixture;
mod plans;
mod sql;
mod walks;
