//! Records as JSON: the form in which they leave the kernel.

use std::sync::Arc;

use mesh::Error;

use crate::kernel::{
    eval::EvalContext,
    model::{
        cell::{Cell, write_text},
        formula::{Formula, LookedUp},
        predicate::ColumnRef,
    },
    query::formula,
};

/// `"name":`
pub(super) fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    write_text(&mut key, name);
    key.push(b':');
    key
}

/// Fields as a JSON object, in that order.
pub(in crate::kernel) fn record_json<'r>(
    fields: impl Iterator<Item = (&'r str, &'r Cell)>,
) -> Vec<u8> {
    let mut json = Vec::with_capacity(fields.size_hint().0 * 32 + 256);
    json.push(b'{');
    for (index, (name, cell)) in fields.enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write_text(&mut json, name);
        json.push(b':');
        cell.write_json(&mut json);
    }
    json.push(b'}');
    json
}

/// Appends formulas to a record that is being written.
pub(in crate::kernel) fn write_formulas(
    json: &mut Vec<u8>,
    formulas: &[Arc<Formula>],
    columns: &[ColumnRef],
    cells: &[Cell],
    found: &LookedUp,
    eval_context: &EvalContext,
) {
    let values = formula::values(formulas, columns, cells, found, eval_context);
    for (formula, value) in formulas.iter().zip(values) {
        if json.last() != Some(&b'{') {
            json.push(b',');
        }
        json.extend_from_slice(&key(&formula.name));
        json.extend_from_slice(value.to_string().as_bytes());
    }
}

/// The answer for a record that is not there, or that the caller may not see.
pub(in crate::kernel) fn record_not_found(object: &str, id: &str) -> Error {
    Error::not_found("RECORD_NOT_FOUND", format!("There is no {object} \"{id}\""))
        .with("object", object)
        .with("id", id)
}
