//! Reading rows: pages by keyset, counts, batches by id.
//!
//! Invariant: every statement holds the row predicate that it is given; whoever calls takes it from the
//! grant that it reads under.

use mesh::db::{Dialect, Statement};
use sea_query::{
    Alias, Expr, ExprTrait as _, Func, NullOrdering, Order as Direction, PostgresQueryBuilder,
    Query, SelectStatement, SqliteQueryBuilder, UnionType,
};

use super::{bind, condition};
use crate::kernel::model::{
    cell::Cell,
    plan::{Order, is_never_null},
    predicate::{ColumnRef, Predicate},
    schema::Schema,
};

/// The table read from; no object's name begins with an underscore.
const TABLE: &str = "_t";
/// The union of branches.
const PAGE: &str = "_p";

/// A page of rows to read.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Page<'a> {
    /// The object.
    pub(in crate::kernel) schema: &'a Schema,
    /// Which rows.
    pub(in crate::kernel) rows: &'a Predicate,
    /// What to read of them.
    pub(in crate::kernel) columns: &'a [ColumnRef],
    /// In which order; together the keys are unique.
    pub(in crate::kernel) order: &'a [Order],
    /// Where the page before ended: the values of the order columns.
    pub(in crate::kernel) after: Option<&'a [Cell]>,
    /// Rows to skip; 0 with `after`.
    pub(in crate::kernel) offset: u64,
    /// Rows a page.
    pub(in crate::kernel) limit: u64,
    /// Whether equal rows are one.
    pub(in crate::kernel) distinct: bool,
}

/// The rows of a page, and one row more than its limit when more follow.
#[must_use]
pub(in crate::kernel) fn page(page: Page<'_>, dialect: Dialect) -> Statement {
    // With a cursor there is no offset.
    let branches = match page.after {
        Some(cells) => keyset(page.order, cells, dialect),
        None => vec![None],
    };
    let rows = page.limit.saturating_add(1);
    let mut branches: Vec<SelectStatement> = branches
        .into_iter()
        .map(|after| branch(page, after, dialect))
        .collect();
    let mut query = match branches.pop() {
        Some(only) if branches.is_empty() => only,
        // Nothing comes after: every key is at its end.
        None => branch(page, Some(Expr::cust("FALSE")), dialect),
        Some(last) => {
            branches.push(last);
            union(page, branches, rows, dialect)
        }
    };
    query.limit(rows);
    if page.offset > 0 {
        query.offset(page.offset);
    }
    build(&query, dialect)
}

/// How many rows fit; for `distinct`, how many different ones of these columns.
#[must_use]
pub(in crate::kernel) fn count(
    schema: &Schema,
    rows: &Predicate,
    distinct: Option<&[ColumnRef]>,
    dialect: Dialect,
) -> Statement {
    let mut query = Query::select();
    query.expr(Func::count(Expr::cust("*")));
    match distinct {
        Some(chosen) => {
            let mut different = Query::select();
            different.distinct();
            columns(&mut different, chosen, TABLE);
            from(&mut different, schema, rows, dialect);
            query.from_subquery(different, Alias::new(PAGE));
        }
        None => from(&mut query, schema, rows, dialect),
    }
    build(&query, dialect)
}

/// One row among those that fit.
#[must_use]
pub(in crate::kernel) fn by_id(
    schema: &Schema,
    rows: &Predicate,
    id: &str,
    read: &[ColumnRef],
    dialect: Dialect,
) -> Statement {
    let mut query = Query::select();
    columns(&mut query, read, TABLE);
    from(&mut query, schema, rows, dialect);
    query.and_where(id_column().eq(id));
    build(&query, dialect)
}

/// Those of the rows with these ids that fit, in no order.
#[must_use]
pub(in crate::kernel) fn by_ids(
    schema: &Schema,
    rows: &Predicate,
    ids: &[String],
    read: &[ColumnRef],
    dialect: Dialect,
) -> Statement {
    let mut query = Query::select();
    columns(&mut query, read, TABLE);
    from(&mut query, schema, rows, dialect);
    query.and_where(condition::any_of(id_column(), ids.iter().cloned(), dialect));
    build(&query, dialect)
}

/// Those of these ids whose rows fit both.
#[must_use]
pub(in crate::kernel) fn matching_ids(
    schema: &Schema,
    rows: &Predicate,
    filter: &Predicate,
    ids: &[String],
    dialect: Dialect,
) -> Statement {
    let mut query = Query::select();
    query.expr(id_column());
    from(&mut query, schema, rows, dialect);
    query.and_where(condition::build(filter, TABLE, dialect));
    query.and_where(condition::any_of(id_column(), ids.iter().cloned(), dialect));
    build(&query, dialect)
}

pub(super) fn build(query: &SelectStatement, dialect: Dialect) -> Statement {
    bind::statement(match dialect {
        Dialect::Sqlite => query.build(SqliteQueryBuilder),
        Dialect::Postgres => query.build(PostgresQueryBuilder),
    })
}

fn id_column() -> Expr {
    Expr::col((Alias::new(TABLE), Alias::new("id")))
}

fn columns(query: &mut SelectStatement, read: &[ColumnRef], table: &str) {
    for column in read {
        query.column(condition::qualified(table, column));
    }
}

fn from(query: &mut SelectStatement, schema: &Schema, rows: &Predicate, dialect: Dialect) {
    query.from_as(Alias::new(schema.name()), Alias::new(TABLE));
    if *rows != Predicate::True {
        query.and_where(condition::build(rows, TABLE, dialect));
    }
}

/// The rows of a page that come after a position, in order.
fn branch(page: Page<'_>, after: Option<Expr>, dialect: Dialect) -> SelectStatement {
    let mut query = Query::select();
    if page.distinct {
        query.distinct();
    }
    columns(&mut query, page.columns, TABLE);
    from(&mut query, page.schema, page.rows, dialect);
    if let Some(after) = after {
        query.and_where(after);
    }
    order_by(&mut query, page.order, TABLE, dialect);
    query
}

/// Disjoint branches, each with its own limit: one `OR` instead would read the whole index.
fn union(
    page: Page<'_>,
    branches: Vec<SelectStatement>,
    rows: u64,
    dialect: Dialect,
) -> SelectStatement {
    let mut members = branches
        .into_iter()
        .enumerate()
        .map(|(number, mut branch)| {
            branch.limit(rows);
            let alias = format!("_b{number}");
            let mut member = Query::select();
            columns(&mut member, page.columns, &alias);
            member.from_subquery(branch, Alias::new(&alias));
            member
        });
    let mut query = Query::select();
    columns(&mut query, page.columns, PAGE);
    if let Some(mut all) = members.next() {
        for member in members {
            all.union(UnionType::All, member);
        }
        query.from_subquery(all, Alias::new(PAGE));
    }
    order_by(&mut query, page.order, PAGE, dialect);
    query
}

/// NULLs are last when ascending and first when descending: PostgreSQL's own order, which its
/// indexes have; SQLite is told.
fn order_by(query: &mut SelectStatement, order: &[Order], table: &str, dialect: Dialect) {
    for Order { column, descending } in order {
        let expr = Expr::col(condition::qualified(table, column));
        let (direction, nulls) = if *descending {
            (Direction::Desc, NullOrdering::First)
        } else {
            (Direction::Asc, NullOrdering::Last)
        };
        if dialect == Dialect::Postgres || is_never_null(column) {
            query.order_by_expr(expr, direction);
        } else {
            query.order_by_expr_with_nulls(expr, direction, nulls);
        }
    }
}

/// The rows after a position, as disjoint conditions in the order of the rows' keys from the last
/// to the first.
///
/// Neighbouring keys of one direction that have values are compared as one row value, which an
/// index serves; what that leaves unknown because a key is NULL gets a branch of its own.
fn keyset(order: &[Order], cells: &[Cell], dialect: Dialect) -> Vec<Option<Expr>> {
    let keys: Vec<(&Order, &Cell)> = order.iter().zip(cells).collect();
    let mut branches = Vec::new();
    let mut start = 0;
    while start < keys.len() {
        let (key, cell) = keys[start];
        if cell.is_null() {
            // Descending, NULLs came first: all that has a value follows. Ascending, nothing does.
            if key.descending {
                branches.push(after_equal(
                    &keys[..start],
                    column(key).is_not_null(),
                    dialect,
                ));
            }
            start += 1;
            continue;
        }
        let run = keys[start..]
            .iter()
            .take_while(|(other, cell)| other.descending == key.descending && !cell.is_null())
            .count();
        let end = start + run;
        branches.push(after_equal(
            &keys[..start],
            beyond(&keys[start..end], dialect),
            dialect,
        ));
        if !key.descending {
            for index in start..end {
                let (key, _) = keys[index];
                if !is_never_null(&key.column) {
                    branches.push(after_equal(&keys[..index], column(key).is_null(), dialect));
                }
            }
        }
        start = end;
    }
    branches.into_iter().map(Some).collect()
}

/// The keys before are equal, and the rest holds.
fn after_equal(before: &[(&Order, &Cell)], rest: Expr, dialect: Dialect) -> Expr {
    before.iter().rev().fold(rest, |rest, (key, cell)| {
        let equal = if cell.is_null() {
            column(key).is_null()
        } else {
            column(key).eq(value(key, cell, dialect))
        };
        equal.and(rest)
    })
}

/// Keys of one direction, together beyond their values.
fn beyond(keys: &[(&Order, &Cell)], dialect: Dialect) -> Expr {
    let is_descending = keys.first().is_some_and(|(key, _)| key.descending);
    let (columns, values) = match keys {
        [(key, cell)] => (column(key), value(key, cell, dialect)),
        keys => (
            Expr::tuple(keys.iter().map(|(key, _)| column(key))),
            Expr::tuple(keys.iter().map(|(key, cell)| value(key, cell, dialect))),
        ),
    };
    if is_descending {
        columns.lt(values)
    } else {
        columns.gt(values)
    }
}

fn column(key: &Order) -> Expr {
    Expr::col(condition::qualified(TABLE, &key.column))
}

fn value(key: &Order, cell: &Cell, dialect: Dialect) -> Expr {
    bind::cell_expr(cell, key.column.storage, dialect)
}
