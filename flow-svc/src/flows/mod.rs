//! Flows: starting runs, driving them, showing them (docs/reference/automation.md, "Flows"; docs/adr).
//!
//! Invariant: exactly one driver's writes to a run's journal count, and a step whose result is kept
//! never runs again.
//! Invariant: a run goes on from what was kept, or it fails; it never goes on from less.

mod action_call;
mod actor;
mod branch;
mod control_node;
mod driver;
mod fault;
mod interpreter;
mod journal;
mod kept;
mod node;
mod record_node;
mod script_node;
mod show;
mod start;
mod state;
mod subflow_node;
mod triggers;

pub(crate) use action_call::run_for_action;
pub(crate) use driver::{driver, spawn as spawn_tasks};
pub(crate) use show::{cancel, get, list, shown_to};
pub(crate) use start::{How, may_start, start};
