//! Writing rows: insert, update, delete. Statements check again what their caller relied on: the
//! version as read, the rows within reach, the records referred to.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use mesh::db::{DbError, Dialect, Statement, Tx, Value};
use sea_query::{Alias, Condition, Expr, ExprTrait as _, Query};

use super::{bind, condition, ddl::quote};
use crate::kernel::model::{
    cell::Cell,
    predicate::{Comparison, Predicate},
    schema::{Column, Schema, Storage},
};

/// Rows that one statement writes at most.
const PART_MAX: usize = 32;

/// What a row refers to through one field.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct Tie {
    /// The field.
    pub(in crate::kernel) field: String,
    /// The object that it refers to, which is its table.
    pub(in crate::kernel) object: String,
    /// The records.
    pub(in crate::kernel) ids: Vec<String>,
    /// Whether they were there when the write was prepared.
    pub(in crate::kernel) was_there: bool,
}

/// An update that is ready to be applied.
#[derive(Debug)]
pub(in crate::kernel) struct Update {
    /// The object.
    pub(in crate::kernel) schema: Arc<Schema>,
    /// Which rows the caller may change.
    pub(in crate::kernel) rows: Predicate,
    /// The record.
    pub(in crate::kernel) id: String,
    /// Its version as read.
    pub(in crate::kernel) version: i64,
    /// The row as read.
    pub(in crate::kernel) before: Vec<Cell>,
    /// The row as it is to be.
    pub(in crate::kernel) after: Vec<Cell>,
    /// References to check again.
    pub(in crate::kernel) references: Vec<Tie>,
}

/// A deletion that is ready to be applied.
#[derive(Debug)]
pub(in crate::kernel) struct Delete {
    /// The object.
    pub(in crate::kernel) schema: Arc<Schema>,
    /// Which rows the caller may delete.
    pub(in crate::kernel) rows: Predicate,
    /// The record.
    pub(in crate::kernel) id: String,
    /// Its version as read.
    pub(in crate::kernel) version: i64,
    /// The row as read.
    pub(in crate::kernel) before: Vec<Cell>,
}

/// Parts of 1 to 8, 16, 24 and 32: so many texts of a statement are prepared, and not one for each number
/// of rows.
pub(crate) fn parts<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = match items.len() {
            0 => return None,
            few @ 1..8 => few,
            many => many.min(PART_MAX) / 8 * 8,
        };
        let (part, rest) = items.split_at(size);
        items = rest;
        Some(part)
    })
}

/// Inserts a whole row.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn insert(
    tx: &mut Tx,
    schema: &Schema,
    cells: &[Cell],
) -> Result<(), DbError> {
    insert_all(tx, schema, &[cells]).await
}

/// Inserts whole rows by one statement.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn insert_all(
    tx: &mut Tx,
    schema: &Schema,
    rows: &[&[Cell]],
) -> Result<(), DbError> {
    let dialect = tx.dialect();
    let names: Vec<String> = schema
        .columns
        .iter()
        .map(|column| quote(&column.name))
        .collect();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES {}",
        quote(schema.name()),
        names.join(", "),
        placeholders(rows.len(), names.len()),
    );
    let cells = rows
        .iter()
        .flat_map(|cells| schema.columns.iter().zip(*cells));
    let args = cells.map(|(column, cell)| bind::cell_to_value(cell, column.storage, dialect));
    tx.execute(Statement::with(sql, args.collect())).await?;
    Ok(())
}

/// `($1, $2), ($3, $4)`.
fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            if column > 1 {
                text.push_str(", ");
            }
            // Writing to a text cannot fail.
            let _ = write!(text, "${}", row * columns + column);
        }
        text.push(')');
    }
    text
}

/// Whether a row is there already: one with its id, or with the values of one of its unique indexes.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn is_there(
    tx: &mut Tx,
    schema: &Schema,
    cells: &[Cell],
) -> Result<bool, DbError> {
    let dialect = tx.dialect();
    let mut keys: Vec<Vec<&str>> = vec![vec!["id"]];
    let indexes = schema.object.indexes.iter().filter(|index| index.unique);
    keys.extend(indexes.map(|index| index.fields.iter().map(String::as_str).collect()));
    for fields in keys {
        let statement = probe(schema, cells, &fields, dialect);
        if tx.query_opt(statement, |_| Ok(())).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks for a row with the values of these fields.
fn probe(schema: &Schema, cells: &[Cell], fields: &[&str], dialect: Dialect) -> Statement {
    let mut same = Condition::all();
    for field in fields {
        let (Some(column), Some(position)) = (schema.column(field), schema.position(field)) else {
            continue;
        };
        let value = bind::cell_expr(&cells[position], column.storage, dialect);
        same = same.add(Expr::col(Alias::new(&column.name)).eq(value));
    }
    let mut query = Query::select();
    query.expr(Expr::cust("1")).from(Alias::new(schema.name()));
    query.cond_where(same).limit(1);
    super::select::build(&query, dialect)
}

/// Changes the columns that differ. False when the row moved since it was read, or left the
/// caller's reach.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn update(tx: &mut Tx, job: &Update) -> Result<bool, DbError> {
    let statement = update_statement(job, tx.dialect());
    Ok(tx.execute(statement).await? == 1)
}

fn update_statement(job: &Update, dialect: Dialect) -> Statement {
    let mut query = Query::update();
    query.table(Alias::new(job.schema.name()));
    for ((column, before), after) in job.schema.columns.iter().zip(&job.before).zip(&job.after) {
        if before != after {
            query.value(
                Alias::new(&column.name),
                bind::cell_expr(after, column.storage, dialect),
            );
        }
    }
    query.cond_where(unmoved(
        &job.schema,
        &job.id,
        job.version,
        &job.rows,
        dialect,
    ));
    match dialect {
        Dialect::Sqlite => bind::statement(query.build(sea_query::SqliteQueryBuilder)),
        Dialect::Postgres => bind::statement(query.build(sea_query::PostgresQueryBuilder)),
    }
}

/// Positions of the columns that an update changes.
pub(in crate::kernel) fn changed_columns(job: &Update) -> Vec<usize> {
    let cells = job.before.iter().zip(&job.after).enumerate();
    let changed = cells.filter(|(_, (before, after))| before != after);
    changed.map(|(position, _)| position).collect()
}

/// Changes rows of one object that change in these columns; answers the ids of those that had not
/// moved since they were read. PostgreSQL only; for objects with versions, and callers whose reach the
/// row itself decides: what has the version that was read is still within it.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn update_all(
    tx: &mut Tx,
    columns: &[usize],
    jobs: &[&Update],
) -> Result<BTreeSet<String>, DbError> {
    let Some(first) = jobs.first() else {
        return Ok(BTreeSet::new());
    };
    let (schema, dialect) = (&first.schema, tx.dialect());
    let names: Vec<String> = columns
        .iter()
        .map(|position| quote(&schema.columns[*position].name))
        .collect();
    let values: Vec<String> = (0..names.len())
        .map(|number| format!("c{number}"))
        .collect();
    let set: Vec<String> = names
        .iter()
        .zip(&values)
        .map(|(name, value)| format!("{name} = _v.{value}"))
        .collect();
    let sql = format!(
        "UPDATE {} AS _t SET {} FROM (VALUES {}) AS _v (id, version, {}) \
         WHERE _t.id = _v.id AND _t.version = _v.version RETURNING _t.id",
        quote(schema.name()),
        set.join(", "),
        placeholders(jobs.len(), columns.len() + 2),
        values.join(", "),
    );
    let mut args = Vec::with_capacity(jobs.len() * (columns.len() + 2));
    for job in jobs {
        args.push(Value::Text(Some(job.id.clone())));
        args.push(Value::Int(Some(job.version)));
        args.extend(columns.iter().map(|position| {
            let column = &schema.columns[*position];
            bind::cell_to_value(&job.after[*position], column.storage, dialect)
        }));
    }
    let ids = tx.query(Statement::with(sql, args), |row| {
        Ok(row.req_text(0)?.to_owned())
    });
    Ok(ids.await?.into_iter().collect())
}

/// Locks rows that are to be changed, in the order of their ids. PostgreSQL only.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn lock_rows(
    tx: &mut Tx,
    table: &str,
    ids: Vec<String>,
) -> Result<(), DbError> {
    let sql = format!(
        "SELECT id FROM {} WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
        quote(table)
    );
    let lock = Statement::with(sql, vec![Value::TextArray(ids)]);
    tx.query(lock, |_| Ok(())).await?;
    Ok(())
}

/// Locks records that are referred to, in the order of their ids, so that they cannot go away before
/// the commit; answers those that are there. PostgreSQL only.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn lock_referenced(
    tx: &mut Tx,
    table: &str,
    ids: Vec<String>,
) -> Result<BTreeSet<String>, DbError> {
    let sql = format!(
        "SELECT id FROM {} WHERE id = ANY($1) ORDER BY id FOR KEY SHARE",
        quote(table)
    );
    let lock = Statement::with(sql, vec![Value::TextArray(ids)]);
    let found = tx
        .query(lock, |row| Ok(row.req_text(0)?.to_owned()))
        .await?;
    Ok(found.into_iter().collect())
}

/// Deletes the row. False when it moved since it was read, or left the caller's reach.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn delete(tx: &mut Tx, job: &Delete) -> Result<bool, DbError> {
    let statement = delete_statement(job, tx.dialect());
    Ok(tx.execute(statement).await? == 1)
}

fn delete_statement(job: &Delete, dialect: Dialect) -> Statement {
    let mut query = Query::delete();
    query.from_table(Alias::new(job.schema.name()));
    query.cond_where(unmoved(
        &job.schema,
        &job.id,
        job.version,
        &job.rows,
        dialect,
    ));
    match dialect {
        Dialect::Sqlite => bind::statement(query.build(sea_query::SqliteQueryBuilder)),
        Dialect::Postgres => bind::statement(query.build(sea_query::PostgresQueryBuilder)),
    }
}

/// The row is the one that was read, and still within reach.
fn unmoved(
    schema: &Schema,
    id: &str,
    version: i64,
    rows: &Predicate,
    dialect: Dialect,
) -> Condition {
    let mut all = Condition::all().add(Expr::col(Alias::new("id")).eq(id));
    if schema.is_versioned() {
        all = all.add(Expr::col(Alias::new("version")).eq(version));
    }
    all.add(condition::build(rows, schema.name(), dialect))
}

/// Locks the records that new references point to, so that they cannot go away before the commit.
///
/// Answers the first that is gone.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn lock_references(
    tx: &mut Tx,
    references: &[Tie],
) -> Result<Option<Tie>, DbError> {
    for tie in references {
        let (table, ids) = (quote(&tie.object), &tie.ids);
        let list = || Value::TextArray(ids.clone());
        let (condition, bound) = match (tx.dialect(), ids.as_slice()) {
            (_, [id]) => ("id = $1", Value::Text(Some(id.clone()))),
            (Dialect::Sqlite, _) => ("id IN (SELECT value FROM json_each($1))", list()),
            (Dialect::Postgres, _) => ("id = ANY($1)", list()),
        };
        let sql = match tx.dialect() {
            Dialect::Sqlite => format!("SELECT count(*) FROM {table} WHERE {condition}"),
            Dialect::Postgres => format!(
                "SELECT count(*) FROM (SELECT id FROM {table} WHERE {condition} ORDER BY id \
                 FOR KEY SHARE) AS locked"
            ),
        };
        let statement = Statement::with(sql, vec![bound]);
        let found = tx
            .query_one(statement, |row| row.int(0))
            .await?
            .unwrap_or_default();
        let mut distinct = ids.clone();
        distinct.sort();
        distinct.dedup();
        if usize::try_from(found) != Ok(distinct.len()) {
            return Ok(Some(tie.clone()));
        }
    }
    Ok(None)
}

/// The rows that hold this id in a column, or in a list.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn referring(
    tx: &mut Tx,
    schema: &Schema,
    column: &Arc<Column>,
    id: &str,
) -> Result<Vec<Vec<Cell>>, DbError> {
    let dialect = tx.dialect();
    let statement = referring_statement(schema, column, id, dialect);
    let storages: Vec<Storage> = schema.columns.iter().map(|column| column.storage).collect();
    tx.query(statement, move |row| {
        storages
            .iter()
            .enumerate()
            .map(|(index, storage)| bind::read_cell(row, index, *storage, dialect))
            .collect()
    })
    .await
}

fn referring_statement(
    schema: &Schema,
    column: &Arc<Column>,
    id: &str,
    dialect: Dialect,
) -> Statement {
    let mut query = Query::select();
    for column in &schema.columns {
        query.column(Alias::new(&column.name));
    }
    query.from(Alias::new(schema.name()));
    let predicate = if column.storage == Storage::Json {
        Predicate::Member(Arc::clone(column), id.to_owned())
    } else {
        Predicate::Compare(
            Arc::clone(column),
            Comparison::Eq,
            Cell::Text(id.to_owned()),
        )
    };
    query.and_where(condition::build(&predicate, schema.name(), dialect));
    query.order_by(Alias::new("id"), sea_query::Order::Asc);
    match dialect {
        Dialect::Sqlite => bind::statement(query.build(sea_query::SqliteQueryBuilder)),
        Dialect::Postgres => bind::statement(query.build(sea_query::PostgresQueryBuilder)),
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn rows_are_written_in_parts_of_few_sizes() {
        let items = [0; 45];
        let sizes: Vec<usize> = parts(&items).map(<[_]>::len).collect();
        assert_eq!(sizes, [32, 8, 5]);
        assert_eq!(parts(&items[..0]).count(), 0);
    }
}
