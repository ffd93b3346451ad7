//! From JSON to the typed model, one file per kind of item. Every function reports what it
//! could not read to the sink and goes on.

pub(crate) mod field;
pub(crate) mod object;
pub(crate) mod permission;
pub(crate) mod position;
pub(crate) mod rule;
pub(crate) mod seed;

mod option;
mod relation;
