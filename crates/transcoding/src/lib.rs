//! REST as data: the table of routes that the descriptors state, and the transcoder that moves a
//! request over it: HTTP → wire bytes ([`Route::encode`]) and wire bytes → HTTP ([`Route::render`]).
//! The call between them is made by whoever has a way to the service.
//!
//! Invariant: no endpoint has code of its own. Raw JSON is never parsed on the way, and the hot
//! path touches no descriptor; what descriptors say is compiled into the table at start. Nothing here
//! does I/O or knows a process: one contract and one request in, bytes out.

pub mod access;
mod build;
mod challenge;
mod comments;
mod deprecation;
mod encode;
mod error;
mod event_stream;
mod frame;
mod json;
pub mod openapi;
mod plan;
mod render;
mod scalar;
mod shape;
mod table;
mod template;
mod upload;
mod wire;

#[cfg(test)]
mod oracle;

pub use access::Entry;
pub use challenge::Challenge;
pub use deprecation::Deprecated;
pub use error::{Error, Misfit, Parts, Result, Violation};
pub use event_stream::{EVENT_STREAM, Form, HTTP_BODY, Piece};
pub use proto::annotations::v1::{Expand, RateClass};
pub use table::{Match, Route, Table, Vars, family};
pub use upload::{PIECE_MAX, RawBody};
