//! Processes that end in the middle of a run.
