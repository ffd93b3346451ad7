//! Single records and rows, by id.

use std::sync::Arc;

use mesh::{Result, db::DbError};
use metadata::ApiMethod;

use super::{
    expand::{Answer, expand_rows},
    record::{record_json, record_not_found},
};
use crate::kernel::{
    Kernel, Record, Work,
    access::{self, Grant},
    model::{
        cell::Cell,
        predicate::{ColumnRef, Predicate},
        rights::Operation,
        schema::Schema,
    },
    query,
    store::{bind, select},
};

/// Fetches one record; `select` and `expand` as in docs/reference/objectql.md, empty for all and none.
///
/// # Errors
/// NOT_FOUND also for a record that the caller may not see.
pub async fn get(
    kernel: &Kernel,
    work: &Work,
    object: &str,
    id: &str,
    select: &str,
    expand: &str,
) -> Result<Record> {
    let grant = work.open(object, ApiMethod::Get, Operation::Read)?;
    let (select, expand) = query::for_get(select, expand)?;
    let plan = query::project(select.as_deref(), &expand, &grant, work)?;
    let answered = query::with_inputs(&plan.grant, &plan.columns, &plan.formulas);
    let columns = with_version(&plan.grant, &answered);
    let cells = row(kernel, &plan.grant.schema, &plan.grant.rows, id, &columns)
        .await?
        .ok_or_else(|| record_not_found(object, id))?;
    let version = version_of(&columns, &cells);
    let json = if plan.expand.is_empty() && plan.formulas.is_empty() {
        let shown = plan.columns.iter().zip(&cells);
        record_json(shown.map(|(column, cell)| (column.field.name.as_str(), cell)))
    } else {
        let answer = Answer {
            columns: &answered,
            shown: plan.columns.len(),
            formulas: &plan.formulas,
            bytes_max: usize::MAX,
        };
        let rows = &[&cells[..answered.len()]];
        let mut jsons = expand_rows(kernel, work, answer, rows, &plan.expand).await?;
        jsons.pop().unwrap_or_default()
    };
    Ok(Record {
        id: id.to_owned(),
        version,
        json,
    })
}

/// The cells of one row among those.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn row(
    kernel: &Kernel,
    schema: &Schema,
    rows: &Predicate,
    id: &str,
    columns: &[ColumnRef],
) -> Result<Option<Vec<Cell>>> {
    let dialect = kernel.db.dialect();
    let statement = select::by_id(schema, rows, id, columns, dialect);
    let storages: Vec<_> = columns.iter().map(|column| column.storage).collect();
    let cells = kernel
        .db
        .query_opt(statement, move |row| {
            storages
                .iter()
                .enumerate()
                .map(|(index, storage)| bind::read_cell(row, index, *storage, dialect))
                .collect::<Result<Vec<_>, DbError>>()
        })
        .await?;
    Ok(cells)
}

/// Whether a row is there for the grant.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn is_reachable(
    kernel: &Kernel,
    grant: &Grant,
    id: &str,
) -> Result<bool> {
    let Some(column) = grant.schema.column("id") else {
        return Ok(false);
    };
    let column = [Arc::clone(column)];
    let row = row(kernel, &grant.schema, &grant.rows, id, &column).await?;
    Ok(row.is_some())
}

/// Whether a row is there for anybody.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn exists(
    kernel: &Kernel,
    schema: &Arc<Schema>,
    id: &str,
) -> Result<bool> {
    is_reachable(kernel, &access::live(schema), id).await
}

/// The columns, and the version's behind them when it is not among them.
fn with_version(grant: &Grant, columns: &[ColumnRef]) -> Vec<ColumnRef> {
    let mut all = columns.to_vec();
    if let Some(version) = grant.schema.column("version")
        && !columns.iter().any(|column| column.field.name == "version")
    {
        all.push(Arc::clone(version));
    }
    all
}

/// The version among the cells; 0 when there is none.
fn version_of(columns: &[ColumnRef], cells: &[Cell]) -> i64 {
    let mut fields = columns.iter().zip(cells);
    match fields.find(|(column, _)| column.field.name == "version") {
        Some((_, Cell::Integer(version))) => *version,
        _ => 0,
    }
}
