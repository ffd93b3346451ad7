//! REST as data: the table of routes that the descriptors state, and the transcoder that moves a
//! request over it: HTTP → wire bytes ([`Route::encode`]) → one call ([`call`]) → HTTP
//! ([`Route::render`]).
//!
//! Invariant: no endpoint has code of its own. Raw JSON is never parsed on the way, and the hot
//! path touches no descriptor; what descriptors say is compiled into the table at start.

mod build;
mod call;
mod deprecation;
mod encode;
mod json;
mod render;
mod scalar;
pub(crate) mod shape;
mod stream;
pub(crate) mod table;
mod template;
mod wire;

#[cfg(test)]
mod oracle;

pub use call::{Answer, Failure, Outcome, RawCodec, call, open};
pub use deprecation::Deprecated;
pub use proto::annotations::v1::{Expand, RateClass};
pub use stream::{EVENT_STREAM, Form, Opened};
pub use table::{Match, Route, Table, Vars};
