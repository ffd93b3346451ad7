//! Whether a row in memory fits a predicate, rows of other tables included.

use std::sync::Arc;

use mesh::{Result, db::Db};

use crate::kernel::{
    access::image::{self, Image},
    model::{cell::Cell, predicate::Predicate, schema::Schema},
    store::select,
};

/// Whether a row as it is to be fits: what other tables decide is asked of the database, the rest is
/// evaluated on the image. `object` finds the schema of a table.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn fits<'s>(
    db: &Db,
    object: impl Fn(&str) -> Option<&'s Arc<Schema>>,
    schema: &Schema,
    predicate: &Predicate,
    cells: &[Cell],
) -> Result<bool> {
    let mut answers = Vec::new();
    for part in predicate.related() {
        let Predicate::Related {
            column,
            table,
            predicate,
        } = part
        else {
            continue;
        };
        let ids = image::references(schema, cells, column);
        let found = match object(table) {
            Some(target) if !ids.is_empty() => {
                let rows = &Predicate::True;
                let statement = select::matching_ids(target, rows, predicate, &ids, db.dialect());
                !db.query(statement, |_| Ok(())).await?.is_empty()
            }
            Some(_) | None => false,
        };
        answers.push((part, found));
    }
    Ok(Image::new(schema, cells).knowing(&answers).fits(predicate))
}
