//! Summaries are kept in the transaction of the child's write (docs/reference/field-types.md §2).

use std::collections::{BTreeMap, BTreeSet};

use mesh::db::{DbError, Tx};
use metadata::SummaryFunction;

use crate::kernel::{
    access::image::Image,
    model::{cell::Cell, predicate::ColumnRef, schema::Schema, summary::Feed},
    store,
};

/// What the summaries of a new record are: nothing points to it yet.
pub(super) fn begin(schema: &Schema, cells: &mut [Cell]) {
    for (column, cell) in schema.columns.iter().zip(cells) {
        if let Some(summary) = &column.field.summary {
            *cell = match summary.function {
                SummaryFunction::Count | SummaryFunction::Sum => Cell::Double(0.0),
                SummaryFunction::Avg | SummaryFunction::Min | SummaryFunction::Max => Cell::Null,
            };
        }
    }
}

/// Computes the summaries that a changed row feeds; a row that comes or goes has no image before
/// or after.
///
/// # Errors
/// Those of the database.
pub(super) async fn recompute(
    tx: &mut Tx,
    schema: &Schema,
    before: Option<&[Cell]>,
    after: Option<&[Cell]>,
) -> Result<(), DbError> {
    let mut moved: BTreeMap<&str, (BTreeSet<&str>, Vec<&Feed>)> = BTreeMap::new();
    for feed in schema.feeds() {
        let mut parents = touched(feed, schema, before, after).peekable();
        if parents.peek().is_some() {
            let (ids, feeds) = moved.entry(&feed.parent).or_default();
            ids.extend(parents);
            feeds.push(feed);
        }
    }
    for (parent, (ids, feeds)) in moved {
        let ids = ids.into_iter().map(str::to_owned).collect();
        store::summary::recompute(tx, schema.name(), parent, ids, &feeds).await?;
    }
    Ok(())
}

/// The parents whose summary changes when a row does.
fn touched<'c>(
    feed: &Feed,
    schema: &Schema,
    before: Option<&'c [Cell]>,
    after: Option<&'c [Cell]>,
) -> impl Iterator<Item = &'c str> + use<'c> {
    let before = given(feed, schema, before);
    let after = given(feed, schema, after);
    let differ = before != after;
    let both = [before, after].into_iter().filter(move |_| differ);
    both.flatten().map(|(parent, _)| parent)
}

/// The parent that a row gives to, and what; none where it gives nothing.
fn given<'c>(
    feed: &Feed,
    schema: &Schema,
    cells: Option<&'c [Cell]>,
) -> Option<(&'c str, &'c Cell)> {
    let cells = cells?;
    let cell = |column: &ColumnRef| cells.get(schema.position(&column.field.name)?);
    let parent = cell(&feed.reference)?.as_text()?;
    let given = match &feed.summed {
        Some(column) => cell(column)?,
        None => &Cell::Null,
    };
    let image = Image::new(schema, cells);
    image.fits(&feed.rows).then_some((parent, given))
}
