//! Carries plans out: runs their statements and shapes what they find.

mod aggregate;
mod expand;
mod fits;
mod get;
mod list;
mod lookups;
mod record;
mod select;

use mesh::Result;
use metadata::ApiMethod;

use super::Query;
use crate::kernel::{Kernel, Record, Work, model::rights::Operation};

pub(in crate::kernel) use self::list::Total;
pub(in crate::kernel) use self::{
    fits::fits,
    get::{exists, is_reachable, row},
    lookups::Lookups,
    record::{record_json, record_not_found, write_formulas},
};
pub use self::{get::get, list::list, select::select};

/// A page of JSON ends early here (docs/reference/objectql.md §5).
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A page of records.
#[derive(Debug)]
pub struct Page {
    /// The records, in order.
    pub items: Vec<Record>,
    /// How many fit in all; `None` when not asked for.
    pub total: Option<i64>,
    /// Where the next page starts.
    pub next_cursor: Option<String>,
}

/// Whether the caller may ask this of an object at all: said before what is wrong with the question
/// (docs/reference/errors.md §8). Groups are for objects that offer either `aggregate` or `list`
/// (docs/reference/objectql.md §7).
///
/// # Errors
/// NOT_FOUND, METHOD_NOT_ALLOWED, PERMISSION_DENIED.
pub fn check(work: &Work, object: &str, is_aggregate: bool) -> Result<()> {
    match is_aggregate {
        true => aggregate::open(work, object).map(drop),
        false => work
            .open(object, ApiMethod::List, Operation::Read)
            .map(drop),
    }
}

/// Answers any query: records, or groups of them.
///
/// # Errors
/// As docs/reference/objectql.md §11; VALIDATION_ERROR `INVALID_QUERY` for more than 10,000 groups.
pub async fn answer(kernel: &Kernel, work: &Work, object: &str, query: Query) -> Result<Page> {
    match query.is_aggregate() {
        true => aggregate::aggregate(kernel, work, object, &query).await,
        false => list(kernel, work, object, query).await,
    }
}
