//! Agents: who answers, with what instructions, tools and model (docs/reference/ai.md), and what the model is
//! told before the conversation.

mod choose;
mod prompt;

pub(crate) use choose::{Agent, choose};
pub(crate) use prompt::system;
