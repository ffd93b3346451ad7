//! All SQL of flow-svc.

mod following;
pub(crate) mod idempotency;
mod run;
mod step;

use mesh::db::Migration;

pub(crate) use following::{follow_on, followed, free, jump};
pub(crate) use run::{
    DRIVE, End, Inserted, NewRun, Run, StartKey, Status, cancel, definition, depth_of, end, find,
    insert, list, park, repeat, started_by_key, take_up, total,
};
pub(crate) use step::{Step, begin, finish, steps};

/// The tables.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "create_idempotent_calls",
        sql: include_str!("../../migrations/0001_create_idempotent_calls.sql"),
    },
    Migration {
        version: 2,
        name: "create_leases",
        sql: include_str!("../../migrations/0002_create_leases.sql"),
    },
    Migration {
        version: 3,
        name: "create_flow_runs",
        sql: include_str!("../../migrations/0003_create_flow_runs.sql"),
    },
    Migration {
        version: 4,
        name: "create_queue",
        sql: include_str!("../../migrations/0004_create_queue.sql"),
    },
    Migration {
        version: 5,
        name: "queue_open_runs",
        sql: include_str!("../../migrations/0005_queue_open_runs.sql"),
    },
    Migration {
        version: 6,
        name: "drop_drivers",
        sql: include_str!("../../migrations/0006_drop_drivers.sql"),
    },
];
