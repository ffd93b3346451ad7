//! The commands of the program.

pub mod dev;
pub mod migrate;
pub mod openapi;
pub mod people;
pub mod serve;
pub mod validate;
