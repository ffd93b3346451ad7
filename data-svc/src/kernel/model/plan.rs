//! The parts of checked plans that become SQL: sort keys, group keys, aggregates.

use crate::kernel::model::{
    predicate::{ColumnRef, Predicate},
    schema::{Column, Storage},
};

/// One sort key of a plan. NULLs are last when ascending, first when descending.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The column.
    pub column: ColumnRef,
    /// From the largest down.
    pub descending: bool,
}

/// Whether the server always gives the column a value.
#[must_use]
pub fn is_never_null(column: &Column) -> bool {
    let name = column.field.name.as_str();
    name == "id" || (column.field.system && matches!(name, "created_at" | "updated_at" | "version"))
}

/// What is done with the values of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// How many rows, or values.
    Count,
    /// How many different values.
    CountDistinct,
    /// Their sum; of none 0.
    Sum,
    /// Their mean; of none null.
    Avg,
    /// The smallest; of none null.
    Min,
    /// The largest; of none null.
    Max,
}

/// How a moment is cut, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// `2026`
    Year,
    /// `2026-Q1`
    Quarter,
    /// `2026-03`
    Month,
    /// `2026-W09`, by ISO 8601.
    Week,
    /// `2026-03-07`
    Day,
    /// `2026-03-07T14`
    Hour,
}

/// A group key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its column.
    pub column: ColumnRef,
    /// How it is cut.
    pub bucket: Option<Bucket>,
    /// Its name in the answer.
    pub alias: String,
}

impl Key {
    /// How its values are read.
    #[must_use]
    pub fn storage(&self) -> Storage {
        match self.bucket {
            Some(_) => Storage::Text,
            None => self.column.storage,
        }
    }
}

/// What is made of a group.
#[derive(Debug, Clone)]
pub struct Measure {
    /// What is done.
    pub function: Function,
    /// With which column; none counts rows.
    pub column: Option<ColumnRef>,
    /// Whether equal values count once.
    pub distinct: bool,
    /// Only rows that fit this.
    pub filter: Option<Predicate>,
    /// Its name in the answer.
    pub alias: String,
}

impl Measure {
    /// How its values are read.
    #[must_use]
    pub fn storage(&self) -> Storage {
        match (self.function, &self.column) {
            (Function::Count | Function::CountDistinct, _) | (_, None) => Storage::Integer,
            (Function::Avg, Some(_)) => Storage::Double,
            (Function::Sum | Function::Min | Function::Max, Some(column)) => column.storage,
        }
    }
}
