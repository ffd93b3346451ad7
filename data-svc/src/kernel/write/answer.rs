//! What a writer is told of the record: all that they may read of it, formulas included.

use std::sync::Arc;

use mesh::{Result, db::Tx};
use metadata::FieldType;

use crate::kernel::{
    Kernel, Record, Work,
    access::Grant,
    eval::EvalContext,
    model::{
        cell::Cell,
        formula::{Formula, LookedUp},
        rights::Operation,
        schema::Schema,
    },
    query::{self, Lookups},
};

/// How records of one object are shown to one writer.
pub(super) struct View {
    schema: Arc<Schema>,
    /// Positions of the columns that are shown.
    shown: Vec<usize>,
    formulas: Vec<Arc<Formula>>,
    lookups: Lookups,
    eval_context: EvalContext,
}

impl View {
    /// The view of a writer. One who may write but not read sees the id.
    ///
    /// # Errors
    /// Those of [`Lookups::of`].
    pub(super) fn of(work: &Work, schema: &Arc<Schema>) -> Result<Self> {
        let read = work.grant(schema, Operation::Read).ok();
        let columns = schema.columns.iter().enumerate();
        let shown = columns.filter(|(_, column)| {
            let name = column.field.name.as_str();
            is_shown(read.as_deref(), name)
                && !column.field.internal
                && name != "deleted_at"
                && !matches!(
                    column.field.field_type,
                    FieldType::Password | FieldType::Secret
                )
        });
        let shown = shown.map(|(position, _)| position).collect();
        let formulas = match &read {
            Some(grant) if !schema.formulas.is_empty() => query::readable_formulas(grant),
            Some(_) | None => Vec::new(),
        };
        Ok(Self {
            schema: Arc::clone(schema),
            shown,
            lookups: Lookups::of(work, &formulas, &schema.columns)?,
            formulas,
            eval_context: work.eval_context(),
        })
    }

    /// The record of these cells, in the transaction that has written it: what the same write summed
    /// up is seen.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn show_in(&self, tx: &mut Tx, cells: &[Cell]) -> Result<Record> {
        let found = self.lookups.find_in(tx, &[cells]).await?;
        Ok(self.show(cells, &found))
    }

    /// The record of these cells, once they are committed.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn answer(&self, kernel: &Kernel, cells: &[Cell]) -> Result<Record> {
        let found = self.lookups.find(&kernel.db, &[cells]).await?;
        Ok(self.show(cells, &found))
    }

    /// The record of these cells.
    fn show(&self, cells: &[Cell], found: &LookedUp) -> Record {
        let schema = &self.schema;
        let shown = self.shown.iter().map(|position| {
            let column = &schema.columns[*position];
            (column.field.name.as_str(), &cells[*position])
        });
        let mut json = query::record_json(shown);
        if !self.formulas.is_empty() {
            json.pop();
            let columns = &schema.columns;
            query::write_formulas(
                &mut json,
                &self.formulas,
                columns,
                cells,
                found,
                &self.eval_context,
            );
            json.push(b'}');
        }
        Record {
            id: schema.text_of(cells, "id").unwrap_or_default().to_owned(),
            version: schema.version_of(cells),
            json,
        }
    }
}

fn is_shown(read: Option<&Grant>, name: &str) -> bool {
    match read {
        Some(grant) => grant.can_read(name),
        None => name == "id",
    }
}

/// The record of these cells as the writer may read it.
///
/// # Errors
/// Those of the database.
pub(super) async fn answer(
    kernel: &Kernel,
    work: &Work,
    schema: &Arc<Schema>,
    cells: &[Cell],
) -> Result<Record> {
    View::of(work, schema)?.answer(kernel, cells).await
}
