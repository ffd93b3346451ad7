//! The commands of the program.

pub mod dev;
pub mod migrate;
pub mod people;
pub mod serve;
pub mod validate;
