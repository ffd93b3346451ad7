//! Converts requests, calls the app, converts answers.

pub(crate) mod actions;
pub(crate) mod flows;
