//! Aggregations: the same door as lists, with groups instead of records.

use std::sync::Arc;

use mesh::{Error, Result, db::DbError};
use metadata::ApiMethod;

use super::Page;
use crate::kernel::{
    Kernel, Record, Work,
    access::Grant,
    model::{
        plan::{Key, Measure},
        rights::Operation,
    },
    query::{self, Query},
    store::{aggregate, bind},
};

/// Most groups of one query, before `having` and pages.
const GROUPS_MAX: u64 = 10_000;

/// What an aggregation of an object reads under.
pub(super) fn open(work: &Work, object: &str) -> Result<Arc<Grant>> {
    work.open(object, ApiMethod::Aggregate, Operation::Read)
        .or_else(|_| work.open(object, ApiMethod::List, Operation::Read))
}

/// Answers a query with groups or aggregations: a row a group.
pub(super) async fn aggregate(
    kernel: &Kernel,
    work: &Work,
    object: &str,
    query: &Query,
) -> Result<Page> {
    let grant = open(work, object)?;
    let plan = query::aggregate::plan(query, &grant, work)?;
    let dialect = kernel.db.dialect();
    let statement = aggregate::groups(plan.groups(), GROUPS_MAX + 1, dialect);
    let keys = plan.keys.iter().map(Key::storage);
    let storages: Vec<_> = keys
        .chain(plan.measures.iter().map(Measure::storage))
        .collect();
    let groups = kernel
        .db
        .query(statement, move |row| {
            let cells = storages.iter().enumerate();
            cells
                .map(|(index, storage)| bind::read_cell(row, index, *storage, dialect))
                .collect::<Result<Vec<_>, DbError>>()
        })
        .await?;
    if groups.len() as u64 > GROUPS_MAX {
        let message = format!("The query has more than {GROUPS_MAX} groups");
        return Err(Error::validation("INVALID_QUERY", message)
            .with("parameter", "groupBy")
            .with("limit", GROUPS_MAX)
            .with("hint", "group by less, or filter more"));
    }
    let (rows, total) = plan.page(groups);
    let items = rows.into_iter().map(|json| Record {
        id: String::new(),
        version: 0,
        json,
    });
    Ok(Page {
        items: items.collect(),
        total: plan.count.then(|| i64::try_from(total).unwrap_or(i64::MAX)),
        next_cursor: None,
    })
}
