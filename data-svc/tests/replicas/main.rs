//! Several replicas of data-svc on one database, on SQLite always and on PostgreSQL where
//! `TEST_POSTGRES_URL` names a server.

mod bed;
mod changes;
mod registry;
mod summaries;
