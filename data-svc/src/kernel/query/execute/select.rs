//! Rows for the rooms of this service, as cells.

use std::sync::Arc;

use mesh::{Error, Result, db::DbError};
use metadata::ApiMethod;
use serde_json::Value;

use crate::kernel::{
    Kernel, Work,
    model::{cell::Cell, plan::Order, predicate::ColumnRef, rights::Operation},
    query,
    store::{bind, select},
};

/// The fields of rows that a filter fits (docs/reference/objectql.md §3) and the work may see: the first ones by
/// id, at most that many.
///
/// # Errors
/// Those of the grant and of the filter; INTERNAL for a field that is not stored.
pub async fn select(
    kernel: &Kernel,
    work: &Work,
    object: &str,
    filter: &Value,
    fields: &[&str],
    limit: u64,
) -> Result<Vec<Vec<Cell>>> {
    let grant = work.open(object, ApiMethod::List, Operation::Read)?;
    let rows = query::predicate(filter, &grant, work)?.and(grant.rows.clone());
    let columns: Option<Vec<ColumnRef>> = fields
        .iter()
        .map(|field| grant.schema.column(field).map(Arc::clone))
        .collect();
    let (Some(columns), Some(id)) = (columns, grant.schema.column("id")) else {
        return Err(Error::internal(anyhow::anyhow!(
            "{object} does not store all of {fields:?}"
        )));
    };
    let order = [Order {
        column: Arc::clone(id),
        descending: false,
    }];
    let page = select::Page {
        schema: &grant.schema,
        rows: &rows,
        columns: &columns,
        order: &order,
        after: None,
        offset: 0,
        // The store reads one row more.
        limit: limit.saturating_sub(1),
        distinct: false,
    };
    let dialect = kernel.db.dialect();
    let statement = select::page(page, dialect);
    let reading = columns.clone();
    let found = kernel
        .db
        .query(statement, move |row| {
            let columns = reading.iter().enumerate();
            columns
                .map(|(index, column)| bind::read_cell(row, index, column.storage, dialect))
                .collect::<Result<Vec<_>, DbError>>()
        })
        .await?;
    Ok(found)
}
