//! TEMPORARY placeholder by the lead, overwrite me.
#[derive(Debug, thiserror::Error)]
pub enum DbError { #[error("unavailable")] Unavailable(anyhow::Error), #[error("timeout")] Timeout, #[error("serialization")] Serialization }
pub trait Retry { fn is_serialization_failure(&self) -> bool; }
