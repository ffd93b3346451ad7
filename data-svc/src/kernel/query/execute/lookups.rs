//! What formulas read through references: the records there, one statement a reference, within what
//! the caller may read of them (spec/field-types.md §2).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use mesh::{Result, db::DbError, error::Reason};
use serde_json::{Map, Value};

use crate::kernel::{
    Kernel, Work,
    access::Access as _,
    model::{
        cell::Cell,
        formula::{Formula, LookedUp},
        predicate::ColumnRef,
    },
    store::{bind, select},
};

/// The records that formulas ask for beside the rows of a page. One that the caller may not
/// see is not among them, and a field that they may not read is not in it.
pub(in crate::kernel) async fn look_up(
    kernel: &Kernel,
    work: &Work,
    formulas: &[Arc<Formula>],
    columns: &[ColumnRef],
    rows: &[&[Cell]],
) -> Result<LookedUp> {
    let mut asked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (reference, fields) in formulas.iter().flat_map(|formula| &formula.lookups) {
        let read = asked.entry(reference).or_default();
        read.extend(fields.iter().map(String::as_str));
    }
    let mut found = LookedUp::new();
    for (reference, fields) in asked {
        let position = columns
            .iter()
            .position(|column| column.field.name == reference);
        let Some(position) = position else { continue };
        let ids: BTreeSet<&str> = rows
            .iter()
            .filter_map(|row| row[position].as_text())
            .collect();
        let target = columns[position].field.reference.as_deref();
        if let (Some(target), false) = (target, ids.is_empty()) {
            let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
            let records = targets(kernel, work, target, &ids, &fields).await?;
            found.insert(reference.to_owned(), records);
        }
    }
    Ok(found)
}

async fn targets(
    kernel: &Kernel,
    work: &Work,
    target: &str,
    ids: &[String],
    fields: &BTreeSet<&str>,
) -> Result<HashMap<String, Value>> {
    let grant = match work.read_grant(target) {
        Ok(grant) => grant,
        Err(error)
            if matches!(
                error.reason(),
                Reason::PermissionDenied | Reason::NotFound | Reason::MethodNotAllowed
            ) =>
        {
            return Ok(HashMap::new());
        }
        Err(error) => return Err(error),
    };
    let columns: Arc<[ColumnRef]> = grant
        .schema
        .columns
        .iter()
        .filter(|column| {
            let name = column.field.name.as_str();
            name == "id" || (fields.contains(name) && grant.can_read(name))
        })
        .cloned()
        .collect();
    let dialect = kernel.db.dialect();
    let statement = select::by_ids(&grant.schema, &grant.rows, ids, &columns, dialect);
    let records = kernel
        .db
        .query(statement, move |row| {
            let mut id = String::new();
            let mut record = Map::new();
            for (index, column) in columns.iter().enumerate() {
                let cell = bind::read_cell(row, index, column.storage, dialect)?;
                if column.field.name == "id" {
                    id = cell.as_text().unwrap_or_default().to_owned();
                }
                record.insert(column.field.name.clone(), cell.to_json());
            }
            Ok::<_, DbError>((id, Value::Object(record)))
        })
        .await?;
    Ok(records.into_iter().collect())
}
