//! The gRPC services: convert, call the engine, convert back.

pub mod changes;
pub mod metadata;
pub mod principal;
pub mod records;
pub mod registry;
