//! What every room of ai-svc speaks of: messages, what their answers use, and the bodies of requests.
//! Plain values, no I/O.

pub(crate) mod body;
pub(crate) mod change;
pub(crate) mod message;
pub(crate) mod usage;
