//! Formulas, compiled: what they read and in which order they are evaluated.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use expr::{Program, ResultType};
use serde_json::Value;

/// A formula field, compiled.
#[derive(Debug)]
pub struct Formula {
    /// Name of the field.
    pub name: String,
    /// The fields it reads that are stored, also through other formulas.
    pub inputs: BTreeSet<String>,
    /// The references it goes through, also through other formulas, and the fields it reads there.
    pub lookups: BTreeMap<String, BTreeSet<String>>,
    /// The formulas to evaluate before it, in order.
    pub(in crate::kernel) needs: Vec<Arc<Step>>,
    /// Its own text.
    pub(in crate::kernel) own: Arc<Step>,
}

/// The text of one formula, compiled.
#[derive(Debug)]
pub(in crate::kernel) struct Step {
    pub(in crate::kernel) name: String,
    /// None when the text is no expression; it was told when the package was loaded.
    pub(in crate::kernel) program: Option<Program>,
    pub(in crate::kernel) result: Option<ResultType>,
    /// As [`Formula::lookups`], of this text alone.
    pub(in crate::kernel) lookups: BTreeMap<String, BTreeSet<String>>,
}

/// Records that references point to: by the reference's field, then by id.
pub type LookedUp = HashMap<String, HashMap<String, Value>>;
