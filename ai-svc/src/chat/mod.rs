//! Chat: what a person said is answered by an agent, which may call tools on the way; and plain
//! completion.

mod answer;
mod complete;
mod input;
mod run;
mod sink;
mod stream;
mod trace;
mod turn;

use std::time::Duration;

pub(crate) use answer::Answer;
pub(crate) use complete::complete;
pub(crate) use input::{Chat, appended, completion, wants_events};
pub(crate) use sink::Sink;
pub(crate) use stream::{Relayed, begin, bytes};
pub(crate) use turn::{Turn, turn};

/// The longest an answer may take that comes as events.
pub(crate) const STREAM_MAX: Duration = Duration::from_secs(30 * 60);
