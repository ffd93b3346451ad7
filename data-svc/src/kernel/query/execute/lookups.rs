//! What formulas read through references: the records there, one statement a reference, within what
//! the caller may read of them (docs/reference/field-types.md §2).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh::{
    Result,
    db::{Db, DbError, Dialect, Row, Statement, Tx},
    error::Reason,
};
use serde_json::{Map, Value};

use crate::kernel::{
    Work,
    access::{Access as _, Grant},
    model::{
        cell::Cell,
        formula::{Formula, LookedUp},
        predicate::ColumnRef,
    },
    store::{bind, select},
};

/// Looks up the records that formulas ask for beside rows of these columns. What the caller may not see
/// is not among them, and a field that they may not read is not in one.
pub(in crate::kernel) struct Lookups(Vec<Lookup>);

/// The records that one reference points to.
struct Lookup {
    reference: String,
    /// Of the reference among the columns.
    position: usize,
    grant: Arc<Grant>,
    columns: Arc<[ColumnRef]>,
}

impl Lookups {
    /// Those that these formulas need.
    ///
    /// # Errors
    /// Those of the grant but a refusal.
    pub(in crate::kernel) fn of(
        work: &Work,
        formulas: &[Arc<Formula>],
        columns: &[ColumnRef],
    ) -> Result<Self> {
        let mut asked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (reference, fields) in formulas.iter().flat_map(|formula| &formula.lookups) {
            let read = asked.entry(reference).or_default();
            read.extend(fields.iter().map(String::as_str));
        }
        let mut lookups = Vec::new();
        for (reference, fields) in asked {
            let position = columns
                .iter()
                .position(|column| column.field.name == reference);
            let Some(position) = position else { continue };
            let Some(target) = columns[position].field.reference.as_deref() else {
                continue;
            };
            let grant = match work.read_grant(target) {
                Ok(grant) => grant,
                Err(error)
                    if matches!(
                        error.reason(),
                        Reason::PermissionDenied | Reason::NotFound | Reason::MethodNotAllowed
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let read = grant.schema.columns.iter().filter(|column| {
                let name = column.field.name.as_str();
                name == "id" || (fields.contains(name) && grant.can_read(name))
            });
            lookups.push(Lookup {
                reference: reference.to_owned(),
                position,
                columns: read.cloned().collect(),
                grant,
            });
        }
        Ok(Self(lookups))
    }

    /// What they find for rows.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::kernel) async fn find(&self, db: &Db, rows: &[&[Cell]]) -> Result<LookedUp> {
        let dialect = db.dialect();
        let mut found = LookedUp::new();
        for lookup in &self.0 {
            if let Some(statement) = lookup.statement(rows, dialect) {
                let records = db.query(statement, lookup.reader(dialect)).await?;
                found.insert(lookup.reference.clone(), records.into_iter().collect());
            }
        }
        Ok(found)
    }

    /// The same within a transaction, which sees what it has written itself.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::kernel) async fn find_in(
        &self,
        tx: &mut Tx,
        rows: &[&[Cell]],
    ) -> Result<LookedUp> {
        let dialect = tx.dialect();
        let mut found = LookedUp::new();
        for lookup in &self.0 {
            if let Some(statement) = lookup.statement(rows, dialect) {
                let records = tx.query(statement, lookup.reader(dialect)).await?;
                found.insert(lookup.reference.clone(), records.into_iter().collect());
            }
        }
        Ok(found)
    }
}

impl Lookup {
    /// None where no row refers to anything.
    fn statement(&self, rows: &[&[Cell]], dialect: Dialect) -> Option<Statement> {
        let ids = rows.iter().filter_map(|row| row[self.position].as_text());
        let ids: BTreeSet<&str> = ids.collect();
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        let (schema, rows) = (&self.grant.schema, &self.grant.rows);
        let statement = || select::by_ids(schema, rows, &ids, &self.columns, dialect);
        (!ids.is_empty()).then(statement)
    }

    /// Reads a record: its id, and what may be read of it.
    fn reader(
        &self,
        dialect: Dialect,
    ) -> impl Fn(&Row<'_>) -> Result<(String, Value), DbError> + Send + 'static {
        let columns = Arc::clone(&self.columns);
        move |row| {
            let mut id = String::new();
            let mut record = Map::new();
            for (index, column) in columns.iter().enumerate() {
                let cell = bind::read_cell(row, index, column.storage, dialect)?;
                if column.field.name == "id" {
                    id = cell.as_text().unwrap_or_default().to_owned();
                }
                record.insert(column.field.name.clone(), cell.to_json());
            }
            Ok((id, Value::Object(record)))
        }
    }
}
