//! What is kept of a run, read back. What cannot be read is damage: the run fails with it, since to go
//! on with less than was kept would do what nobody asked for.

use mesh::delegation::DelegationGrant;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::fault::Fault;
use crate::store::Run;

/// Reads what is kept as JSON text; `what` names it.
///
/// # Errors
/// A fault that ends the run.
pub(super) fn read<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::damaged(what, &error))
}

/// What a run began with.
pub(super) struct Origin {
    /// The inputs.
    pub(super) input: Map<String, Value>,
    /// `record` and `previous` of a trigger.
    pub(super) context: Map<String, Value>,
    /// For tokens; none where nobody began it.
    pub(super) grant: Option<DelegationGrant>,
}

impl Origin {
    /// Reads it.
    ///
    /// # Errors
    /// A fault that ends the run.
    pub(super) fn of(run: &Run) -> Result<Self, Fault> {
        // Nothing needs them to go on, but they say the row is whole.
        let _warnings: Vec<String> = read("list of warnings", &run.warnings)?;
        let grant = run.grant.as_deref();
        Ok(Self {
            input: read("input", &run.input)?,
            context: read("context", &run.context)?,
            grant: grant.map(|text| read("beginning", text)).transpose()?,
        })
    }
}
