//! Flows: starting runs, driving them, showing them (spec/automation.md §4, architecture.md §8).
//!
//! Invariant: exactly one driver's writes to a run's journal count, and a step whose result is kept
//! never runs again.

mod branch;
mod driver;
mod fault;
mod interpreter;
mod journal;
mod node;
mod record_node;
mod script_node;
mod show;
mod start;
mod state;
mod triggers;
mod who;

use std::{collections::HashMap, sync::Mutex};

use tokio::sync::Notify;

pub(crate) use driver::spawn as spawn_tasks;
pub(crate) use show::{cancel, get, list, shown_to};
pub(crate) use start::{How, may_start, start};

/// The runs that this process drives.
pub(crate) struct Flows {
    /// This process, as a driver.
    driver: String,
    /// Touched for a moment only, never while anything is awaited.
    active: Mutex<HashMap<String, driver::Active>>,
    /// There may be a run to claim.
    wake: Notify,
    /// Whether the driver's row is known to be there.
    alive: std::sync::atomic::AtomicBool,
}

impl Flows {
    /// Of a process that drives nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            driver: mesh::id::new(),
            active: Mutex::default(),
            wake: Notify::new(),
            alive: std::sync::atomic::AtomicBool::new(false),
        }
    }
}
