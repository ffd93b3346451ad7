//! Rules over plain values: what a request may say, what a tool takes, what a call costs. No I/O.

pub(crate) mod input;
pub(crate) mod message;
pub(crate) mod proposal;
pub(crate) mod schema;
pub(crate) mod usage;
