//! Converts requests, calls the app, converts answers.

mod flows;

pub(crate) use flows::Flows;
