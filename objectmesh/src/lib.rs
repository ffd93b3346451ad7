//! The `objectmesh` program as a library: the mesh composed in one process, the commands, and the
//! demo data of the example app.

pub mod apps;
pub mod cli;
pub mod commands;
pub mod compose;
pub mod demo;
