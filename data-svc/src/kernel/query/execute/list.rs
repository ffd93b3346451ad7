//! Lists and queries of records: a page at a time.

use std::sync::Arc;

use mesh::{
    Result,
    db::{DbError, Dialect},
};
use sha2::{Digest as _, Sha256};

use super::{
    PAGE_BYTES_MAX, Page,
    expand::{Answer, expand_rows},
    record::key,
};
use crate::kernel::{
    Kernel, Record, Work,
    model::{cell::Cell, predicate::ColumnRef},
    query::{self, Plan, Query},
    store::{bind, select},
};

/// A row of a page: what goes out, and what the cursor needs of it.
struct Row {
    id: String,
    version: i64,
    body: Body,
    keys: Vec<Cell>,
}

/// A row is written as JSON at once, unless something in it is expanded or computed.
enum Body {
    Json(Vec<u8>),
    Cells(Vec<Cell>),
}

/// Answers a list or a query for records.
///
/// # Errors
/// As docs/reference/objectql.md §11.
pub async fn list(kernel: &Kernel, work: &Work, object: &str, query: Query) -> Result<Page> {
    let plan = Arc::new(query::plan(query, object, work, &kernel.cursor_key)?);
    let (rows, total) = tokio::try_join!(rows(kernel, &plan), total(kernel, &plan))?;
    page(kernel, work, &plan, rows, total).await
}

async fn total(kernel: &Kernel, plan: &Plan) -> Result<Option<i64>> {
    if !plan.count {
        return Ok(None);
    }
    let distinct = plan.distinct.then_some(plan.columns.as_slice());
    let (dialect, schema) = (kernel.db.dialect(), &plan.grant.schema);
    let statement = select::count(schema, &plan.rows, distinct, dialect);
    // What rows of other tables decide changes with them.
    let version = match plan.rows.related().is_empty() {
        true => kernel.db.table_version(schema.name()),
        false => None,
    };
    let Some(version) = version else {
        let total = kernel.db.query_one(statement, |row| row.int(0)).await?;
        return Ok(Some(total.unwrap_or_default()));
    };
    // A digest, because filters may be long.
    let key = Sha256::digest(format!("{}\n{:?}", statement.sql, statement.args));
    if let Some(known) = kernel.totals.get(key)
        && known.version == version
    {
        return Ok(Some(known.total));
    }
    let total = kernel.db.query_one(statement, |row| row.int(0)).await?;
    let total = total.unwrap_or_default();
    kernel
        .totals
        .insert(key, Arc::new(Total { version, total }));
    Ok(Some(total))
}

/// How many rows fit a statement, as long as its table has that version.
pub(in crate::kernel) struct Total {
    version: u64,
    total: i64,
}

async fn rows(kernel: &Kernel, plan: &Arc<Plan>) -> Result<Vec<Row>> {
    if plan.limit == 0 {
        return Ok(Vec::new());
    }
    let dialect = kernel.db.dialect();
    let statement = select::page(plan.page(&plan.fetch_columns()), dialect);
    let reader = RowReader::new(Arc::clone(plan));
    let rows = kernel
        .db
        .query(statement, move |row| reader.read(row, dialect))
        .await?;
    Ok(rows)
}

/// What goes out of the rows that were read. A page ends early where it would grow too large,
/// whatever is expanded or computed in it.
async fn page(
    kernel: &Kernel,
    work: &Work,
    plan: &Plan,
    mut rows: Vec<Row>,
    total: Option<i64>,
) -> Result<Page> {
    let limit = usize::try_from(plan.limit).unwrap_or(usize::MAX);
    let found = rows.len();
    rows.truncate(limit);
    let mut keys: Vec<Vec<Cell>> = Vec::with_capacity(rows.len());
    for row in &mut rows {
        keys.push(std::mem::take(&mut row.keys));
    }
    let items = shape(kernel, work, plan, rows).await?;
    let more = items.len() < found;
    let last = items.len().checked_sub(1).and_then(|last| keys.get(last));
    Ok(Page {
        next_cursor: last.filter(|_| more).map(|last| plan.next_cursor(last)),
        items,
        total,
    })
}

/// The records of rows, as many as a page may hold and at least one.
async fn shape(kernel: &Kernel, work: &Work, plan: &Plan, rows: Vec<Row>) -> Result<Vec<Record>> {
    let mut records = Vec::with_capacity(rows.len());
    let mut pending = Vec::new();
    let mut size = 0;
    for row in rows {
        let (id, version) = (row.id, row.version);
        match row.body {
            Body::Json(json) => {
                size += json.len();
                if size > PAGE_BYTES_MAX && !records.is_empty() {
                    return Ok(records);
                }
                records.push(Record { id, version, json });
            }
            Body::Cells(cells) => pending.push((id, version, cells)),
        }
    }
    if !pending.is_empty() {
        let cells: Vec<&[Cell]> = pending
            .iter()
            .map(|(_, _, cells)| cells.as_slice())
            .collect();
        let columns = plan.answer_columns();
        let answer = Answer {
            columns: &columns,
            shown: plan.columns.len(),
            formulas: &plan.formulas,
            bytes_max: PAGE_BYTES_MAX,
        };
        let jsons = expand_rows(kernel, work, answer, &cells, &plan.expand).await?;
        for ((id, version, _), json) in pending.into_iter().zip(jsons) {
            records.push(Record { id, version, json });
        }
    }
    Ok(records)
}

/// Reads the rows of a plan.
struct RowReader {
    plan: Arc<Plan>,
    columns: Vec<ColumnRef>,
    keys: Vec<Vec<u8>>,
    shown: usize,
    /// How many of the columns the answer is made of.
    answered: usize,
    id: Option<usize>,
    version: Option<usize>,
    order: Vec<usize>,
}

impl RowReader {
    fn new(plan: Arc<Plan>) -> Self {
        let columns = plan.fetch_columns();
        let position = |name: &str| columns.iter().position(|column| column.field.name == name);
        let order = plan.cursor_positions();
        let keys = columns
            .iter()
            .map(|column| key(&column.field.name))
            .collect();
        Self {
            id: position("id"),
            version: position("version"),
            shown: plan.columns.len(),
            answered: plan.answer_columns().len(),
            order,
            keys,
            columns,
            plan,
        }
    }

    fn read(&self, row: &mesh::db::Row<'_>, dialect: Dialect) -> Result<Row, DbError> {
        let cell = |index: usize| bind::read_cell(row, index, self.columns[index].storage, dialect);
        let body = if self.plan.expand.is_empty() && self.plan.formulas.is_empty() {
            let mut json = Vec::with_capacity(self.shown * 32);
            json.push(b'{');
            for index in 0..self.shown {
                if index > 0 {
                    json.push(b',');
                }
                json.extend_from_slice(&self.keys[index]);
                bind::write_json(row, index, self.columns[index].storage, dialect, &mut json)?;
            }
            json.push(b'}');
            Body::Json(json)
        } else {
            Body::Cells((0..self.answered).map(cell).collect::<Result<_, _>>()?)
        };
        let version = match self.version {
            Some(index) => row.int(index)?.unwrap_or_default(),
            None => 0,
        };
        let id = match self.id {
            Some(index) => row.text(index)?.unwrap_or_default().to_owned(),
            None => String::new(),
        };
        Ok(Row {
            id,
            version,
            body,
            keys: self
                .order
                .iter()
                .map(|index| cell(*index))
                .collect::<Result<_, _>>()?,
        })
    }
}
