//! What a writer is told of the record: all that they may read of it, formulas included.

use std::sync::Arc;

use mesh::Result;
use metadata::FieldType;

use crate::kernel::{
    Kernel, Record, Work,
    access::Grant,
    eval::Speaker,
    model::{
        cell::Cell,
        formula::{Formula, LookedUp},
        rights::Operation,
        schema::Schema,
    },
    query,
};

/// How records of one object are shown to one writer. Made before a transaction, since it may have to
/// look things up; what it shows is then made without waiting.
pub(super) struct View {
    schema: Arc<Schema>,
    /// Positions of the columns that are shown.
    shown: Vec<usize>,
    formulas: Vec<Arc<Formula>>,
    found: LookedUp,
    speaker: Speaker,
}

impl View {
    /// How a record of these cells is shown. A caller who may write but not read gets its id.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn of(
        kernel: &Kernel,
        work: &Work,
        schema: &Arc<Schema>,
        cells: &[Cell],
    ) -> Result<Self> {
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
        let found = query::look_up(kernel, work, &formulas, &schema.columns, &[cells]).await?;
        Ok(Self {
            schema: Arc::clone(schema),
            shown,
            formulas,
            found,
            speaker: work.speaker(),
        })
    }

    /// The record of these cells.
    pub(super) fn show(&self, cells: &[Cell]) -> Record {
        let schema = &self.schema;
        let shown = self.shown.iter().map(|position| {
            let column = &schema.columns[*position];
            (column.field.name.as_str(), &cells[*position])
        });
        let mut json = query::record_json(shown);
        if !self.formulas.is_empty() {
            json.pop();
            let (columns, found) = (&schema.columns, &self.found);
            query::write_formulas(
                &mut json,
                &self.formulas,
                columns,
                cells,
                found,
                &self.speaker,
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
    Ok(View::of(kernel, work, schema, cells).await?.show(cells))
}
