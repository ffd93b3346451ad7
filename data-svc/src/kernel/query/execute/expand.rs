//! Expansion: ids of reference fields replaced by the records they point to, one statement a level
//! (docs/reference/objectql.md §6).

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{Result, db::DbError};

use super::{
    lookups::Lookups,
    record::{key, write_formulas},
};
use crate::kernel::{
    Kernel, Work,
    eval::EvalContext,
    model::{
        cell::{Cell, write_text},
        formula::{Formula, LookedUp},
        predicate::ColumnRef,
    },
    query::{Expansion, with_inputs},
    store::{bind, select},
};

/// What of a row is answered.
#[derive(Clone, Copy)]
pub(super) struct Answer<'a> {
    /// The columns of the row.
    pub(super) columns: &'a [ColumnRef],
    /// How many of them are shown as they are; the others only serve formulas.
    pub(super) shown: usize,
    /// What is computed.
    pub(super) formulas: &'a [Arc<Formula>],
    /// How many bytes of rows are written; the first is in any case.
    pub(super) bytes_max: usize,
}

/// The records that an expansion found, as JSON by id. An id without one stays an id.
type Found = HashMap<String, Vec<u8>>;

/// Writes rows as JSON with their expansions in place and their formulas behind: as many as may be
/// answered, and at least one.
pub(super) fn expand_rows<'a>(
    kernel: &'a Kernel,
    work: &'a Work,
    answer: Answer<'a>,
    rows: &'a [&'a [Cell]],
    expansions: &'a [Expansion],
) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
    async move {
        let mut found: HashMap<&str, (Found, &Expansion)> = HashMap::new();
        for expansion in expansions {
            let position = answer
                .columns
                .iter()
                .position(|column| column.field.name == expansion.field);
            let Some(position) = position else { continue };
            let ids: BTreeSet<String> = rows.iter().flat_map(|row| ids(&row[position])).collect();
            let ids = ids.into_iter().collect();
            let records = expansion_of(kernel, work, expansion, ids).await?;
            found.insert(&expansion.field, (records, expansion));
        }
        let lookups = Lookups::of(work, answer.formulas, answer.columns)?;
        let looked_up = lookups.find(&kernel.db, rows).await?;
        let eval_context = work.eval_context();
        let mut size = 0;
        let mut jsons = Vec::with_capacity(rows.len());
        for row in rows {
            let json = row_json(answer, row, &found, &looked_up, &eval_context);
            size += json.len();
            if size > answer.bytes_max && !jsons.is_empty() {
                break;
            }
            jsons.push(json);
        }
        Ok(jsons)
    }
    .boxed()
}

/// Fetches the targets of one expansion.
async fn expansion_of(
    kernel: &Kernel,
    work: &Work,
    expansion: &Expansion,
    ids: Vec<String>,
) -> Result<Found> {
    let Some(target) = &expansion.target else {
        return Ok(Found::new());
    };
    if ids.is_empty() {
        return Ok(Found::new());
    }
    let dialect = kernel.db.dialect();
    let columns: Arc<[ColumnRef]> =
        with_inputs(target, &expansion.columns, &expansion.formulas).into();
    let reading = Arc::clone(&columns);
    let statement = select::by_ids(&target.schema, &target.rows, &ids, &columns, dialect);
    let rows: Vec<Vec<Cell>> = kernel
        .db
        .query(statement, move |row| {
            reading
                .iter()
                .enumerate()
                .map(|(index, column)| bind::read_cell(row, index, column.storage, dialect))
                .collect::<Result<_, DbError>>()
        })
        .await?;
    let cells: Vec<&[Cell]> = rows.iter().map(Vec::as_slice).collect();
    let answer = Answer {
        columns: &columns,
        shown: expansion.columns.len(),
        formulas: &expansion.formulas,
        bytes_max: usize::MAX,
    };
    let jsons = expand_rows(kernel, work, answer, &cells, &expansion.nested).await?;
    let mut found: Found = rows
        .iter()
        .zip(jsons)
        .filter_map(|(row, json)| Some((row.first()?.as_text()?.to_owned(), json)))
        .collect();
    // What the nested filter leaves out is null; what may not be seen stays an id.
    if let Some(filter) = &expansion.filter {
        let statement = select::matching_ids(&target.schema, &target.rows, filter, &ids, dialect);
        let fitting: BTreeSet<String> = kernel
            .db
            .query(statement, |row| Ok(row.req_text(0)?.to_owned()))
            .await?
            .into_iter()
            .collect();
        for (id, json) in &mut found {
            if !fitting.contains(id) {
                *json = b"null".to_vec();
            }
        }
    }
    Ok(found)
}

/// The ids that a reference cell holds.
fn ids(cell: &Cell) -> Vec<String> {
    if let Cell::Json(list) = cell {
        return serde_json::from_str(list).unwrap_or_default();
    }
    cell.as_text().map(str::to_owned).into_iter().collect()
}

fn row_json(
    answer: Answer<'_>,
    row: &[Cell],
    found: &HashMap<&str, (Found, &Expansion)>,
    looked_up: &LookedUp,
    eval_context: &EvalContext,
) -> Vec<u8> {
    let columns = answer.columns;
    let mut json = Vec::with_capacity(columns.len() * 48);
    json.push(b'{');
    let shown = columns.iter().zip(row).take(answer.shown);
    for (index, (column, cell)) in shown.enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(&key(&column.field.name));
        match found.get(column.field.name.as_str()) {
            None => cell.write_json(&mut json),
            Some((records, expansion)) => write_expanded(&mut json, cell, records, expansion),
        }
    }
    write_formulas(
        &mut json,
        answer.formulas,
        columns,
        row,
        looked_up,
        eval_context,
    );
    json.push(b'}');
    json
}

fn write_expanded(json: &mut Vec<u8>, cell: &Cell, records: &Found, expansion: &Expansion) {
    if let Some(id) = cell.as_text() {
        return match records.get(id) {
            Some(record) => json.extend_from_slice(record),
            None => write_text(json, id),
        };
    }
    let is_list = matches!(cell, Cell::Json(_)) && expansion.multiple;
    if !is_list || expansion.target.is_none() {
        return cell.write_json(json);
    }
    // Dangling members of a list are dropped, the order is kept.
    json.push(b'[');
    let mut first = true;
    for record in ids(cell).iter().filter_map(|id| records.get(id)) {
        if record == b"null" {
            continue;
        }
        if !first {
            json.push(b',');
        }
        first = false;
        json.extend_from_slice(record);
    }
    json.push(b']');
}
