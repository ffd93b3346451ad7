//! The groups of an aggregation, in no order.
//!
//! Invariant: the statement holds the row predicate that it is given.

use mesh::db::{Dialect, Statement};
use sea_query::{Alias, CaseStatement, Expr, Query};

use super::{condition, select};
use crate::kernel::model::{
    plan::{Bucket, Function, Key, Measure},
    predicate::{ColumnRef, Predicate},
    schema::{Schema, Storage},
};

/// The table read from.
const TABLE: &str = "_t";

/// Groups of rows, and what is made of each.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Groups<'a> {
    /// The object.
    pub(in crate::kernel) schema: &'a Schema,
    /// Which rows.
    pub(in crate::kernel) rows: &'a Predicate,
    /// By what they are grouped; without any there is one group.
    pub(in crate::kernel) keys: &'a [Key],
    /// What is made of each group.
    pub(in crate::kernel) measures: &'a [Measure],
}

/// Group keys, then aggregates, of at most so many groups.
#[must_use]
pub(in crate::kernel) fn groups(groups: Groups<'_>, most: u64, dialect: Dialect) -> Statement {
    let mut query = Query::select();
    for key in groups.keys {
        query.expr(key_expr(key, dialect));
    }
    for measure in groups.measures {
        query.expr(measure_expr(measure, dialect));
    }
    query.from_as(Alias::new(groups.schema.name()), Alias::new(TABLE));
    query.and_where(condition::build(groups.rows, TABLE, dialect));
    for key in groups.keys {
        query.add_group_by([key_expr(key, dialect)]);
    }
    query.limit(most);
    select::build(&query, dialect)
}

fn column(column: &ColumnRef) -> Expr {
    Expr::col(condition::qualified(TABLE, column))
}

fn key_expr(key: &Key, dialect: Dialect) -> Expr {
    let value = column(&key.column);
    let Some(bucket) = key.bucket else {
        return value;
    };
    let template = match dialect {
        Dialect::Postgres => {
            let moment = match key.column.storage {
                Storage::DateTime => "($1 AT TIME ZONE 'UTC')",
                _ => "$1",
            };
            let form = match bucket {
                Bucket::Year => "YYYY",
                Bucket::Quarter => "YYYY\"-Q\"Q",
                Bucket::Month => "YYYY-MM",
                Bucket::Week => "IYYY\"-W\"IW",
                Bucket::Day => "YYYY-MM-DD",
                Bucket::Hour => "YYYY-MM-DD\"T\"HH24",
            };
            format!("to_char({moment}, '{form}')")
        }
        Dialect::Sqlite => {
            let form = match bucket {
                Bucket::Year => "%Y",
                // Its number follows.
                Bucket::Quarter => "%Y-Q",
                Bucket::Month => "%Y-%m",
                Bucket::Week => "%G-W%V",
                Bucket::Day => "%Y-%m-%d",
                Bucket::Hour => "%Y-%m-%dT%H",
            };
            let text = format!("strftime('{form}', $1)");
            match bucket {
                Bucket::Quarter => {
                    let number = "((CAST(strftime('%m', $2) AS INTEGER) + 2) / 3)";
                    return custom(
                        &format!("{text} || {number}"),
                        [value.clone(), value],
                        dialect,
                    );
                }
                _ => text,
            }
        }
    };
    custom(&template, [value], dialect)
}

/// SQL with expressions in the places of `$1`, `$2`, in that order.
fn custom(template: &str, exprs: impl IntoIterator<Item = Expr>, dialect: Dialect) -> Expr {
    match dialect {
        Dialect::Postgres => Expr::cust_with_exprs(template.to_owned(), exprs),
        Dialect::Sqlite => {
            let template = template.replace("$1", "?").replace("$2", "?");
            Expr::cust_with_exprs(template, exprs)
        }
    }
}

/// The aggregate. Decimals are added up as whole numbers, and scaled once at the end, so that both
/// databases round alike.
fn measure_expr(measure: &Measure, dialect: Dialect) -> Expr {
    let filtered = |value: Expr| match &measure.filter {
        Some(filter) => {
            let condition = condition::build(filter, TABLE, dialect);
            CaseStatement::new().case(condition, value).into()
        }
        None => value,
    };
    let Some(of) = &measure.column else {
        return match &measure.filter {
            Some(_) => custom("count($1)", [filtered(Expr::cust("1"))], dialect),
            None => Expr::cust("count(*)"),
        };
    };
    let value = filtered(column(of));
    let distinct = match measure.distinct {
        true => "DISTINCT ",
        false => "",
    };
    let one = |template: String| custom(&template, [value.clone()], dialect);
    match measure.function {
        Function::Count => one(format!("count({distinct}$1)")),
        Function::CountDistinct => one("count(DISTINCT $1)".to_owned()),
        Function::Min => one("min($1)".to_owned()),
        Function::Max => one("max($1)".to_owned()),
        Function::Sum => one(match of.storage {
            Storage::Integer => format!("CAST(coalesce(sum({distinct}$1), 0) AS BIGINT)"),
            Storage::Double => format!("coalesce(sum({distinct}$1), 0.0)"),
            _ => format!("coalesce(sum({distinct}$1), 0)"),
        }),
        Function::Avg => {
            let double = match dialect {
                Dialect::Sqlite => "REAL",
                Dialect::Postgres => "DOUBLE PRECISION",
            };
            let factor = match of.storage {
                Storage::Decimal(scale) => format!("1{}.0", "0".repeat(scale as usize)),
                _ => "1.0".to_owned(),
            };
            let summed = match (of.storage, dialect) {
                // SQLite stores the whole number.
                (Storage::Decimal(_), Dialect::Postgres) => format!("($1) * {factor}"),
                _ => "$1".to_owned(),
            };
            let template = format!(
                "CAST(sum({distinct}{summed}) AS {double}) / (count({distinct}$2) * {factor})"
            );
            custom(&template, [value.clone(), value], dialect)
        }
    }
}
