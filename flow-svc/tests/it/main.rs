//! flow-svc through its RPCs: a real node on SQLite in this process, small fakes of its peers beside it. What a
//! flow does in each branch is told here; `objectmesh/tests/flows` has what only several processes can show.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod failures;
mod fake_auth;
mod fake_data;
mod fake_filter;
mod fake_streams;
mod journal;
mod nodes;
mod paths;
mod peers;
mod rights;
mod scripts;
mod starts;
mod triggers;
mod world;
