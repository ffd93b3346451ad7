//! Summaries: fields that count or sum up the records that point to theirs (docs/reference/field-types.md §2).

use metadata::SummaryFunction;

use crate::kernel::model::predicate::{ColumnRef, Predicate};

/// What an object's records give to a summary of the record that they point to.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The reference to the parent.
    pub reference: ColumnRef,
    /// The parent's object, which is its table.
    pub parent: String,
    /// The parent's field.
    pub summary: ColumnRef,
    /// What is computed.
    pub function: SummaryFunction,
    /// Of which field; none for a count.
    pub summed: Option<ColumnRef>,
    /// Of which records. A moment in the filter is that of the revision: a stored value does not
    /// follow the clock.
    pub rows: Predicate,
}
