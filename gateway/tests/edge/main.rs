//! The gateway over fake services, driven as clients do: over a socket.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod bodies;
mod connections;
mod errors;
mod fakes;
mod harness;
mod head;
mod identity;
mod limits;
mod memory;
mod openapi;
mod own;
mod probe;
mod profiles;
mod transcoding;
mod uploads;
