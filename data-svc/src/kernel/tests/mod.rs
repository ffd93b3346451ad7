//! Queries through the kernel's own doors: read, planned, turned into SQL, run on both databases; and
//! the two evaluators of a predicate against each other.

mod agreement;
mod filters;
mod fixture;
mod plans;
mod sql;
mod walks;
