//! data-svc through its own doors, without a mesh: what every replica tells, and what a write leaves
//! behind. On SQLite always, and on PostgreSQL where `TEST_POSTGRES_URL` names a server.

mod answers;
mod bed;
mod changes;
mod groups;
mod people;
mod registry;
mod repeats;
mod rights;
mod summaries;
mod totals;
mod traces;
