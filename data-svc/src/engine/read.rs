//! Reading: lists, queries and single records.

use std::sync::Arc;

use mesh::{Error, Result, db::DbError};
use metadata::ApiMethod;

use super::{Engine, Record, Work, expand::Answer};
use crate::{
    domain::{
        cell::{Cell, write_text},
        expression::Speaker,
        formula::{self, Formula, LookedUp},
        policy::{Grant, Operation},
        predicate::ColumnRef,
        query::{self, Plan, Query},
    },
    store::{bind, select},
};

/// A page of JSON ends early here (spec/objectql.md §5).
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

impl Engine {
    /// Whether the caller may list an object at all: said before what is wrong with the question
    /// (architecture.md §10).
    ///
    /// # Errors
    /// NOT_FOUND, METHOD_NOT_ALLOWED, PERMISSION_DENIED.
    pub fn check_readable(&self, work: &Work, object: &str) -> Result<()> {
        work.open(object, ApiMethod::List, Operation::Read)
            .map(drop)
    }

    /// Answers a list or query.
    ///
    /// # Errors
    /// As spec/objectql.md §11.
    pub async fn list(&self, work: &Work, object: &str, query: Query) -> Result<Page> {
        let plan = Arc::new(query::plan(query, object, work, &self.cursor_key)?);
        let (rows, total) = tokio::try_join!(self.rows(&plan), self.total(&plan))?;
        self.page(work, &plan, rows, total).await
    }

    async fn total(&self, plan: &Plan) -> Result<Option<i64>> {
        if !plan.count {
            return Ok(None);
        }
        let statement = select::count(plan, self.db.dialect());
        let total = self.db.query_one(statement, |row| row.int(0)).await?;
        Ok(Some(total.unwrap_or_default()))
    }

    async fn rows(&self, plan: &Arc<Plan>) -> Result<Vec<Row>> {
        if plan.limit == 0 {
            return Ok(Vec::new());
        }
        let dialect = self.db.dialect();
        let statement = select::select(plan, dialect);
        let reader = RowReader::new(Arc::clone(plan));
        let rows = self
            .db
            .query(statement, move |row| reader.read(row, dialect))
            .await?;
        Ok(rows)
    }

    async fn page(
        &self,
        work: &Work,
        plan: &Plan,
        mut rows: Vec<Row>,
        total: Option<i64>,
    ) -> Result<Page> {
        let limit = usize::try_from(plan.limit).unwrap_or(usize::MAX);
        let mut more = rows.len() > limit;
        rows.truncate(limit);
        let mut size = 0;
        let fits = rows.iter().take_while(|row| {
            size += match &row.body {
                Body::Json(json) => json.len(),
                Body::Cells(_) => 0,
            };
            size <= PAGE_BYTES_MAX
        });
        let fits = fits.count().max(1);
        if fits < rows.len() {
            rows.truncate(fits);
            more = true;
        }
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|last| plan.next_cursor(&last.keys));
        let items = self.shape(work, plan, rows).await?;
        Ok(Page {
            items,
            total,
            next_cursor,
        })
    }

    async fn shape(&self, work: &Work, plan: &Plan, rows: Vec<Row>) -> Result<Vec<Record>> {
        let mut records = Vec::with_capacity(rows.len());
        let mut pending = Vec::new();
        for row in rows {
            match row.body {
                Body::Json(json) => records.push(Record {
                    id: row.id,
                    version: row.version,
                    json,
                }),
                Body::Cells(cells) => pending.push((row.id, row.version, cells)),
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
            };
            let jsons = self.expand_rows(work, answer, &cells, &plan.expand).await?;
            for ((id, version, _), json) in pending.into_iter().zip(jsons) {
                records.push(Record { id, version, json });
            }
        }
        Ok(records)
    }

    /// Fetches one record.
    ///
    /// # Errors
    /// NOT_FOUND also for a record that the caller may not see.
    pub async fn get(
        &self,
        work: &Work,
        object: &str,
        id: &str,
        select: &str,
        expand: &str,
    ) -> Result<Record> {
        let grant = Arc::new(work.open(object, ApiMethod::Get, Operation::Read)?);
        let (select, expand) = query::for_get(select, expand)?;
        let plan = query::project(select.as_deref(), &expand, &grant, work)?;
        let answered = query::with_inputs(&plan.grant, &plan.columns, &plan.formulas);
        let columns = with_version(&plan.grant, &answered);
        let cells = self
            .row(&plan.grant, id, &columns)
            .await?
            .ok_or_else(|| record_not_found(object, id))?;
        let version = version_of(&columns, &cells);
        let shown = plan.columns.len();
        let json = if plan.expand.is_empty() && plan.formulas.is_empty() {
            record_json(&plan.columns, &cells[..shown])
        } else {
            let answer = Answer {
                columns: &answered,
                shown,
                formulas: &plan.formulas,
            };
            let mut jsons = self
                .expand_rows(work, answer, &[&cells[..answered.len()]], &plan.expand)
                .await?;
            jsons.pop().unwrap_or_default()
        };
        Ok(Record {
            id: id.to_owned(),
            version,
            json,
        })
    }

    /// The cells of one row that the grant reaches.
    pub(super) async fn row(
        &self,
        grant: &Grant,
        id: &str,
        columns: &[ColumnRef],
    ) -> Result<Option<Vec<Cell>>> {
        let dialect = self.db.dialect();
        let statement = select::by_id(grant, id, columns, dialect);
        let storages: Vec<_> = columns.iter().map(|column| column.storage).collect();
        let cells = self
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

    /// Whether a row is there at all for the grant.
    pub(super) async fn is_visible(&self, grant: &Grant, id: &str) -> Result<bool> {
        let Some(column) = grant.schema.column("id") else {
            return Ok(false);
        };
        Ok(self.row(grant, id, &[Arc::clone(column)]).await?.is_some())
    }
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

    fn read(&self, row: &mesh::db::Row<'_>, dialect: mesh::db::Dialect) -> Result<Row, DbError> {
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

/// `"name":`
pub(super) fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    write_text(&mut key, name);
    key.push(b':');
    key
}

/// A record as JSON.
pub(super) fn record_json(columns: &[ColumnRef], cells: &[Cell]) -> Vec<u8> {
    let mut json = Vec::with_capacity(columns.len() * 32);
    json.push(b'{');
    for (index, (column, cell)) in columns.iter().zip(cells).enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write_text(&mut json, &column.field.name);
        json.push(b':');
        cell.write_json(&mut json);
    }
    json.push(b'}');
    json
}

/// Appends formulas to a record that is being written.
pub(super) fn write_formulas(
    json: &mut Vec<u8>,
    formulas: &[Arc<Formula>],
    columns: &[ColumnRef],
    cells: &[Cell],
    found: &LookedUp,
    speaker: &Speaker,
) {
    let values = formula::values(formulas, columns, cells, found, speaker);
    for (formula, value) in formulas.iter().zip(values) {
        if json.last() != Some(&b'{') {
            json.push(b',');
        }
        json.extend_from_slice(&key(&formula.name));
        json.extend_from_slice(value.to_string().as_bytes());
    }
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
pub(super) fn version_of(columns: &[ColumnRef], cells: &[Cell]) -> i64 {
    columns
        .iter()
        .position(|column| column.field.name == "version")
        .and_then(|index| match cells[index] {
            Cell::Integer(version) => Some(version),
            _ => None,
        })
        .unwrap_or_default()
}

/// The answer for a record that is not there, or that the caller may not see.
pub(super) fn record_not_found(object: &str, id: &str) -> Error {
    Error::not_found("RECORD_NOT_FOUND", format!("There is no {object} \"{id}\""))
        .with("object", object)
        .with("id", id)
}
