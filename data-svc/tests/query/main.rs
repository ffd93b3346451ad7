//! Queries through their public door: read, planned, turned into SQL, run.

mod agreement;
mod filters;
mod fixture;
mod plans;
mod sql;
mod walks;
