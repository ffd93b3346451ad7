//! Keeping summaries: the parents of a changed row are locked in the order of their ids, then
//! computed anew by a second statement, which sees what others committed while this one waited
//! (docs/reference/field-types.md). Nothing else of the parent moves.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt as _;
use mesh::{
    clock,
    db::{Db, DbError, Dialect, Statement, Tx, Value},
};
use metadata::SummaryFunction;
use sea_query::{
    Alias, Expr, ExprTrait as _, PostgresQueryBuilder, Query, SelectStatement, SqliteQueryBuilder,
};
use sha2::{Digest as _, Sha256};

use super::{bind, condition, ddl::quote};
use crate::kernel::model::{
    registry::Registry,
    schema::{Schema, Storage},
    summary::Feed,
};

/// The child's table; no object's name begins with an underscore.
const CHILD: &str = "_c";

/// Computes the summaries of these parents anew, which all are of one object, from the rows of
/// `child`.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn recompute(
    tx: &mut Tx,
    child: &str,
    parent: &str,
    ids: Vec<String>,
    feeds: &[&Feed],
) -> Result<(), DbError> {
    // SQLite has one writer.
    if tx.dialect() == Dialect::Postgres {
        let sql = format!(
            "SELECT id FROM {} WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
            quote(parent)
        );
        let lock = Statement::with(sql, vec![Value::TextArray(ids.clone())]);
        if tx.query(lock, |_| Ok(())).await?.is_empty() {
            return Ok(());
        }
    }
    let statement = computed(child, parent, feeds, Some(&ids), tx.dialect());
    tx.execute(statement).await?;
    Ok(())
}

/// Computes summaries that were not kept until now: those of new fields, and those whose
/// definition changed.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn fill(db: &Db, registry: &Registry) -> Result<(), DbError> {
    let mut wanted = BTreeMap::new();
    for schema in registry.schemas() {
        for feed in schema.feeds() {
            wanted.insert(mark(schema, feed), (schema.name().to_owned(), feed.clone()));
        }
    }
    let noted = Statement::new("SELECT name FROM om_data_set WHERE name LIKE 'summary %'");
    let noted: BTreeSet<String> = db
        .query(noted, |row| Ok(row.req_text(0)?.to_owned()))
        .await?
        .into_iter()
        .collect();
    // One that is gone may come back when what it stored is long outdated.
    for gone in noted.iter().filter(|mark| !wanted.contains_key(*mark)) {
        let forget = Statement::new("DELETE FROM om_data_set WHERE name = $1").bind(gone.clone());
        db.execute(forget).await?;
    }
    for (mark, (child, feed)) in wanted {
        if noted.contains(&mark) {
            continue;
        }
        db.write_alone::<_, DbError, _>(move |tx| {
            let (mark, child, feed) = (mark.clone(), child.clone(), feed.clone());
            async move {
                if tx.dialect() == Dialect::Postgres {
                    let sql = format!(
                        "SELECT count(*) FROM (SELECT id FROM {} ORDER BY id FOR NO KEY UPDATE) AS locked",
                        quote(&feed.parent)
                    );
                    tx.query(Statement::with(sql, Vec::new()), |_| Ok(())).await?;
                }
                let all = computed(&child, &feed.parent, &[&feed], None, tx.dialect());
                tx.execute(all).await?;
                let note = Statement::new(
                    "INSERT INTO om_data_set (name, loaded_at) VALUES ($1, $2) \
                     ON CONFLICT (name) DO NOTHING",
                );
                tx.execute(note.bind(mark).bind(clock::now())).await?;
                Ok(())
            }
            .boxed()
        })
        .await?;
    }
    Ok(())
}

/// What is noted once a summary is kept: its name and what it is made of.
fn mark(child: &Schema, feed: &Feed) -> String {
    let made_of = format!(
        "{} {} {:?} {:?}",
        child.name(),
        feed.reference.name,
        feed.summary.field.summary,
        feed.summed.as_ref().map(|column| column.storage),
    );
    let hash = Sha256::digest(made_of.as_bytes());
    let hash: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("summary {}.{} {hash}", feed.parent, feed.summary.field.name)
}

/// Sets the summaries of these parents, or of all.
fn computed(
    child: &str,
    parent: &str,
    feeds: &[&Feed],
    ids: Option<&[String]>,
    dialect: Dialect,
) -> Statement {
    let mut query = Query::update();
    query.table(Alias::new(parent));
    for feed in feeds {
        let select = aggregate(child, feed, dialect);
        query.value(
            Alias::new(&feed.summary.name),
            Expr::SubQuery(None, Box::new(select.into())),
        );
    }
    if let Some(ids) = ids {
        let id = Expr::col((Alias::new(parent), Alias::new("id")));
        query.and_where(condition::any_of(id, ids.iter().cloned(), dialect));
    }
    bind::statement(match dialect {
        Dialect::Sqlite => query.build(SqliteQueryBuilder),
        Dialect::Postgres => query.build(PostgresQueryBuilder),
    })
}

fn aggregate(child: &str, feed: &Feed, dialect: Dialect) -> SelectStatement {
    let reference = Expr::col((Alias::new(CHILD), Alias::new(&feed.reference.name)));
    let parent = Expr::col((Alias::new(&feed.parent), Alias::new("id")));
    let mut select = Query::select();
    select
        .expr(Expr::cust(function(feed, dialect)))
        .from_as(Alias::new(child), Alias::new(CHILD))
        .and_where(reference.eq(parent))
        .and_where(condition::build(&feed.rows, CHILD, dialect));
    select
}

/// The aggregate as a double. Decimals are added up as whole numbers, and scaled once at the end,
/// so that both databases round alike.
fn function(feed: &Feed, dialect: Dialect) -> String {
    let double = match dialect {
        Dialect::Sqlite => "REAL",
        Dialect::Postgres => "DOUBLE PRECISION",
    };
    let Some(column) = &feed.summed else {
        return format!("CAST(count(*) AS {double})");
    };
    let name = format!("{}.{}", quote(CHILD), quote(&column.name));
    let factor = match column.storage {
        Storage::Decimal(scale) => format!("1{}.0", "0".repeat(scale as usize)),
        _ => "1.0".to_owned(),
    };
    let value = match (column.storage, dialect) {
        // SQLite stores the whole number.
        (Storage::Decimal(_), Dialect::Postgres) => format!("({name} * {factor})"),
        _ => name,
    };
    match feed.function {
        SummaryFunction::Count => format!("CAST(count(*) AS {double})"),
        SummaryFunction::Sum => format!("coalesce(CAST(sum({value}) AS {double}) / {factor}, 0.0)"),
        SummaryFunction::Avg => {
            format!("CAST(sum({value}) AS {double}) / (count({value}) * {factor})")
        }
        SummaryFunction::Min => format!("CAST(min({value}) AS {double}) / {factor}"),
        SummaryFunction::Max => format!("CAST(max({value}) AS {double}) / {factor}"),
    }
}
