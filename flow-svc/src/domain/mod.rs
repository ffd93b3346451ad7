//! Rules over plain types; no I/O.

pub(crate) mod action;
pub(crate) mod flow;
pub(crate) mod invocation;
pub(crate) mod param;
