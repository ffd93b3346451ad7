//! Agents: who talks, with what instructions and tools (spec/ai.md §8), and the loop of model and
//! tools.

mod choose;
mod prompt;
mod run;
mod sink;
mod trace;

pub(crate) use choose::{Agent, choose};
pub(crate) use prompt::system;
pub(crate) use run::{Progress, Run};
pub(crate) use sink::Sink;
pub(crate) use trace::Traced;
