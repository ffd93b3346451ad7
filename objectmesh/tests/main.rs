//! The tests of the whole mesh, in one binary: it is linked once.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[macro_use]
mod support;
mod otlp;
mod process;
mod tree;

mod actions;
mod aggregates;
mod ai;
mod artifacts;
mod clients;
mod cluster;
mod concurrency;
mod contract;
mod docs;
mod durability;
mod expressions;
mod faults;
mod flows;
mod foreign;
mod fuzz;
mod hooks;
mod languages;
mod lookup_formulas;
mod not_built;
mod openapi;
mod permissions;
mod processes;
mod records;
mod refusals;
mod replicas;
mod rooms;
mod row_policies;
mod summaries;
mod telemetry;
mod tidy;
mod tour;
mod validate;
