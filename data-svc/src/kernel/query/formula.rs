//! Formulas: fields computed on read (docs/reference/field-types.md §2), from what the caller may read.
//!
//! A formula that goes through a reference reads the record there, one level deep, as far as the
//! caller may; what they may not read is null.
//!
//! Invariant: a formula is shown only to whom all its inputs are shown; one that has no value for a
//! record is null there.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::kernel::{
    eval::EvalContext,
    model::{
        cell::Cell,
        formula::{Formula, LookedUp, Step},
        predicate::ColumnRef,
    },
};

/// The values of formulas for a record of these cells, in order; `found` has the records that
/// [`Formula::lookups`] ask for.
#[must_use]
pub(crate) fn values(
    formulas: &[Arc<Formula>],
    columns: &[ColumnRef],
    cells: &[Cell],
    found: &LookedUp,
    eval_context: &EvalContext,
) -> Vec<Value> {
    if formulas.is_empty() {
        return Vec::new();
    }
    let fields = columns.iter().zip(cells);
    let fields = fields.map(|(column, cell)| (column.field.name.clone(), cell.to_json()));
    let stored = fields.collect::<Map<_, _>>();
    formulas
        .iter()
        .map(|formula| {
            // What another formula was worth may be more than this one's inputs show.
            let mut record = Value::Object(stored.clone());
            for step in &formula.needs {
                let value = self::value(step, &record, found, eval_context);
                record[step.name.as_str()] = value;
            }
            self::value(&formula.own, &record, found, eval_context)
        })
        .collect()
}

/// The value for a record whose references are ids.
fn value(step: &Step, record: &Value, found: &LookedUp, eval_context: &EvalContext) -> Value {
    let Some(program) = &step.program else {
        return Value::Null;
    };
    let mut beyond = None;
    for reference in step.lookups.keys() {
        let Some(id) = record[reference.as_str()].as_str() else {
            continue;
        };
        let target = found.get(reference).and_then(|records| records.get(id));
        let target = target.cloned().unwrap_or_else(|| json!({"id": id}));
        beyond.get_or_insert_with(|| record.clone())[reference.as_str()] = target;
    }
    let record = beyond.as_ref().unwrap_or(record);
    let scope = eval_context.scope().record(record);
    let value = match step.result {
        Some(result) => program.evaluate_as(&scope, result),
        None => program.evaluate(&scope),
    };
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use metadata::Object;
    use time::macros::datetime;

    use std::collections::HashMap;

    use super::*;
    use crate::kernel::{compile, model::schema::Schema};

    fn schema(fields: Value) -> Schema {
        let (object, findings) = Object::from_value("deal", &json!({"fields": fields}));
        compile::schema(
            object
                .unwrap_or_else(|| panic!("{findings:?}"))
                .with_system_fields(),
        )
    }

    fn value(schema: &Schema, formula: &str, given: &[(&str, Cell)]) -> Value {
        let mut cells = vec![Cell::Null; schema.columns.len()];
        for (field, cell) in given {
            cells[schema.position(field).unwrap()] = cell.clone();
        }
        let formula = Arc::clone(&schema.formulas[formula]);
        let eval_context = EvalContext::nobody(datetime!(2026-11-25 10:00 UTC));
        let found = LookedUp::from([(
            "account".to_owned(),
            HashMap::from([("a1".to_owned(), json!({"id": "a1", "name": "Acme"}))]),
        )]);
        values(&[formula], &schema.columns, &cells, &found, &eval_context).remove(0)
    }

    #[test]
    fn formulas_read_fields_and_other_formulas() {
        let schema = schema(json!({
            "amount": {"type": "currency"},
            "rate": {"type": "number"},
            "tax": {"type": "formula", "expression": "amount * record.rate / 100", "returnType": "number"},
            "gross": {"type": "formula", "expression": "amount + tax", "returnType": "number"},
            "label": {"type": "formula", "expression": "'gross ' + string(gross)"},
            "round": {"type": "formula", "expression": "round + 1"},
        }));
        let amount = Cell::Decimal("200.50".parse().unwrap());
        let given = [("amount", amount), ("rate", Cell::Double(10.0))];
        assert_eq!(value(&schema, "tax", &given), json!(20.05));
        assert_eq!(value(&schema, "gross", &given), json!(220.55));
        assert_eq!(value(&schema, "label", &given), json!("gross 220.55"));
        let inputs: Vec<_> = schema.formulas["label"].inputs.iter().collect();
        assert_eq!(inputs, ["amount", "rate"]);
        // Without a value for what it reads, or of itself, a formula has none.
        assert_eq!(value(&schema, "tax", &[]), Value::Null);
        assert_eq!(value(&schema, "round", &[]), Value::Null);
    }
    #[test]
    fn formulas_read_one_level_through_a_reference() {
        let schema = schema(json!({
            "account": {"type": "lookup", "reference": "account"},
            "title": {"type": "formula", "expression": "record.account.name + '!'"},
            "who": {"type": "formula", "expression": "account == null ? 'nobody' : title"},
            "id_there": {"type": "formula", "expression": "account.id"},
            "own": {"type": "formula", "expression": "account"},
            "unread": {"type": "formula", "expression": "coalesce(account.city, 'unknown')"},
        }));
        let lookups = &schema.formulas["who"].lookups["account"];
        assert_eq!(lookups.iter().collect::<Vec<_>>(), ["name"]);
        let given = |id: &str| [("account", Cell::Text(id.to_owned()))];
        for (formula, known, unknown, none) in [
            ("title", json!("Acme!"), Value::Null, Value::Null),
            ("who", json!("Acme!"), Value::Null, json!("nobody")),
            ("id_there", json!("a1"), json!("a2"), Value::Null),
            ("own", json!("a1"), json!("a2"), Value::Null),
            (
                "unread",
                json!("unknown"),
                json!("unknown"),
                json!("unknown"),
            ),
        ] {
            assert_eq!(value(&schema, formula, &given("a1")), known, "{formula}");
            assert_eq!(value(&schema, formula, &given("a2")), unknown, "{formula}");
            assert_eq!(value(&schema, formula, &[]), none, "{formula}");
        }
    }
}
