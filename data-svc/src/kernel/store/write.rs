//! Writing rows: insert, update, delete. Statements check again what their caller relied on: the
//! version as read, the rows within reach, the records referred to.

use std::sync::Arc;

use mesh::db::{DbError, Dialect, Statement, Tx, Value};
use sea_query::{Alias, Condition, Expr, ExprTrait as _, Query};

use super::{bind, condition, ddl::quote};
use crate::kernel::model::{
    cell::Cell,
    predicate::{Comparison, Predicate},
    schema::{Column, Schema, Storage},
};

/// What a row refers to through one field.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct Tie {
    /// The field.
    pub(in crate::kernel) field: String,
    /// The object that it refers to, which is its table.
    pub(in crate::kernel) object: String,
    /// The records.
    pub(in crate::kernel) ids: Vec<String>,
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

/// Inserts a whole row.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn insert(
    tx: &mut Tx,
    schema: &Schema,
    cells: &[Cell],
) -> Result<(), DbError> {
    let dialect = tx.dialect();
    let names: Vec<String> = schema
        .columns
        .iter()
        .map(|column| quote(&column.name))
        .collect();
    let marks: Vec<String> = (1..=names.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({})",
        quote(schema.name()),
        names.join(", "),
        marks.join(", ")
    );
    let args = schema
        .columns
        .iter()
        .zip(cells)
        .map(|(column, cell)| bind::cell_to_value(cell, column.storage, dialect))
        .collect();
    tx.execute(Statement::with(sql, args)).await?;
    Ok(())
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
        let (table, ids) = (&tie.object, &tie.ids);
        let sql = match tx.dialect() {
            Dialect::Sqlite => format!(
                "SELECT count(*) FROM {} WHERE id IN (SELECT value FROM json_each($1))",
                quote(table)
            ),
            Dialect::Postgres => format!(
                "SELECT count(*) FROM (SELECT id FROM {} WHERE id = ANY($1) ORDER BY id FOR KEY SHARE) AS locked",
                quote(table)
            ),
        };
        let statement = Statement::with(sql, vec![Value::TextArray(ids.clone())]);
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
