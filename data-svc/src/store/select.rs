//! Reading rows: pages by keyset, counts, batches by id.
//!
//! Invariant: every statement holds the row predicate of the grant it reads under.

use mesh::db::{Dialect, Statement};
use sea_query::{
    Alias, Expr, ExprTrait as _, Func, NullOrdering, Order as Direction, PostgresQueryBuilder,
    Query, SelectStatement, SqliteQueryBuilder, UnionType,
};

use super::{bind, condition};
use crate::domain::{
    cell::Cell,
    policy::Grant,
    predicate::{ColumnRef, Predicate},
    query::{Order, Plan, is_never_null},
};

/// The table read from; no object's name begins with an underscore.
const TABLE: &str = "_t";
/// The union of branches.
const PAGE: &str = "_p";

/// The page of a plan: [`Plan::fetch_columns`], and one row more than its limit when more follow.
#[must_use]
pub fn select(plan: &Plan, dialect: Dialect) -> Statement {
    // With a cursor there is no offset.
    let branches = match &plan.after {
        Some(cells) => keyset(&plan.order, cells, dialect),
        None => vec![None],
    };
    let rows = plan.limit.saturating_add(1);
    let mut branches: Vec<SelectStatement> = branches
        .into_iter()
        .map(|after| branch(plan, after, dialect))
        .collect();
    let mut query = match branches.pop() {
        Some(only) if branches.is_empty() => only,
        // Nothing comes after: every key is at its end.
        None => branch(plan, Some(Expr::cust("FALSE")), dialect),
        Some(last) => {
            branches.push(last);
            union(plan, branches, rows, dialect)
        }
    };
    query.limit(rows);
    if plan.offset > 0 {
        query.offset(plan.offset);
    }
    build(&query, dialect)
}

/// How many rows fit the plan, pages aside.
#[must_use]
pub fn count(plan: &Plan, dialect: Dialect) -> Statement {
    let mut query = Query::select();
    query.expr(Func::count(Expr::cust("*")));
    if plan.distinct {
        let mut rows = Query::select();
        rows.distinct();
        columns(&mut rows, &plan.columns, TABLE);
        from(&mut rows, &plan.grant, &plan.rows, dialect);
        query.from_subquery(rows, Alias::new(PAGE));
    } else {
        from(&mut query, &plan.grant, &plan.rows, dialect);
    }
    build(&query, dialect)
}

/// One row that the grant reaches.
#[must_use]
pub fn by_id(grant: &Grant, id: &str, read: &[ColumnRef], dialect: Dialect) -> Statement {
    let mut query = Query::select();
    columns(&mut query, read, TABLE);
    from(&mut query, grant, &grant.rows, dialect);
    query.and_where(id_column().eq(id));
    build(&query, dialect)
}

/// Those of the rows with these ids that the grant reaches, in no order.
#[must_use]
pub fn by_ids(grant: &Grant, ids: &[String], read: &[ColumnRef], dialect: Dialect) -> Statement {
    let mut query = Query::select();
    columns(&mut query, read, TABLE);
    from(&mut query, grant, &grant.rows, dialect);
    query.and_where(condition::any_of(id_column(), ids.iter().cloned(), dialect));
    build(&query, dialect)
}

/// Those of these ids whose rows the grant reaches and the filter fits.
#[must_use]
pub fn matching_ids(
    grant: &Grant,
    filter: &Predicate,
    ids: &[String],
    dialect: Dialect,
) -> Statement {
    let mut query = Query::select();
    query.expr(id_column());
    from(&mut query, grant, &grant.rows, dialect);
    query.and_where(condition::build(filter, TABLE, dialect));
    query.and_where(condition::any_of(id_column(), ids.iter().cloned(), dialect));
    build(&query, dialect)
}

/// Id and version of one row that the grant reaches, the one with the smallest id; the version is
/// 0 where the object keeps none.
#[must_use]
pub fn first(grant: &Grant, dialect: Dialect) -> Statement {
    let mut query = Query::select();
    query.expr(id_column());
    match grant.schema.column("version") {
        Some(version) => query.column(condition::qualified(TABLE, version)),
        None => query.expr(Expr::cust("0")),
    };
    from(&mut query, grant, &grant.rows, dialect);
    query.order_by_expr(id_column(), Direction::Asc).limit(1);
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

fn from(query: &mut SelectStatement, grant: &Grant, rows: &Predicate, dialect: Dialect) {
    query.from_as(Alias::new(grant.schema.name()), Alias::new(TABLE));
    if *rows != Predicate::True {
        query.and_where(condition::build(rows, TABLE, dialect));
    }
}

/// The rows of a plan that come after a position, in order.
fn branch(plan: &Plan, after: Option<Expr>, dialect: Dialect) -> SelectStatement {
    let mut query = Query::select();
    if plan.distinct {
        query.distinct();
    }
    columns(&mut query, &plan.fetch_columns(), TABLE);
    from(&mut query, &plan.grant, &plan.rows, dialect);
    if let Some(after) = after {
        query.and_where(after);
    }
    order_by(&mut query, &plan.order, TABLE, dialect);
    query
}

/// Disjoint branches, each with its own limit: one `OR` instead would read the whole index.
fn union(
    plan: &Plan,
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
            columns(&mut member, &plan.fetch_columns(), &alias);
            member.from_subquery(branch, Alias::new(&alias));
            member
        });
    let mut query = Query::select();
    columns(&mut query, &plan.fetch_columns(), PAGE);
    if let Some(mut all) = members.next() {
        for member in members {
            all.union(UnionType::All, member);
        }
        query.from_subquery(all, Alias::new(PAGE));
    }
    order_by(&mut query, &plan.order, PAGE, dialect);
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
