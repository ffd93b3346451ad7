//! Formulas: fields computed on read (spec/field-types.md §2), from what the caller may read.
//!
//! Invariant: a formula is shown only to whom all its inputs are shown; one that has no value for a
//! record is null there.

use std::{collections::BTreeSet, sync::Arc};

use expr::{Program, ResultType};
use indexmap::IndexMap;
use metadata::{Field, FieldType};
use serde_json::{Map, Value};

use super::{cell::Cell, expression::Speaker, predicate::ColumnRef};

/// Formulas of formulas that are followed.
const DEPTH_MAX: usize = 8;

/// A formula field, compiled.
#[derive(Debug)]
pub struct Formula {
    /// Name of the field.
    pub name: String,
    /// The fields it reads that are stored, also through other formulas.
    pub inputs: BTreeSet<String>,
    /// The formulas to evaluate before it, in order.
    needs: Vec<Arc<Step>>,
    own: Arc<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    /// None when the text is no expression; it was told when the package was loaded.
    program: Option<Program>,
    result: Option<ResultType>,
}

/// Compiles the formulas among the fields of an object.
#[must_use]
pub fn compile(fields: &IndexMap<String, Field>) -> IndexMap<String, Arc<Formula>> {
    let steps: IndexMap<&str, Arc<Step>> = fields
        .values()
        .filter(|field| field.field_type == FieldType::Formula)
        .map(|field| (field.name.as_str(), Arc::new(Step::of(field))))
        .collect();
    steps
        .iter()
        .map(|(name, own)| {
            let mut walk = Walk {
                fields,
                steps: &steps,
                inputs: BTreeSet::new(),
                needs: Vec::new(),
            };
            walk.follow(own, 0);
            // The formula itself is the last that is needed.
            walk.needs.pop();
            let formula = Formula {
                name: (*name).to_owned(),
                inputs: walk.inputs,
                needs: walk.needs,
                own: Arc::clone(own),
            };
            ((*name).to_owned(), Arc::new(formula))
        })
        .collect()
}

impl Step {
    fn of(field: &Field) -> Self {
        let source = field.expression.as_deref().unwrap_or_default();
        let result = match field.return_type.as_deref() {
            Some("number" | "currency" | "percent") => Some(ResultType::Number),
            Some("text" | "string") => Some(ResultType::Text),
            Some("boolean") => Some(ResultType::Boolean),
            Some("date") => Some(ResultType::Date),
            Some("datetime") => Some(ResultType::Moment),
            _ => None,
        };
        Self {
            name: field.name.clone(),
            program: Program::compile(source).ok(),
            result,
        }
    }

    fn value(&self, record: &Value, speaker: &Speaker) -> Value {
        let Some(program) = &self.program else {
            return Value::Null;
        };
        let scope = speaker.scope().record(record);
        let value = match self.result {
            Some(result) => program.evaluate_as(&scope, result),
            None => program.evaluate(&scope),
        };
        value.unwrap_or_default()
    }
}

struct Walk<'w> {
    fields: &'w IndexMap<String, Field>,
    steps: &'w IndexMap<&'w str, Arc<Step>>,
    inputs: BTreeSet<String>,
    needs: Vec<Arc<Step>>,
}

impl Walk<'_> {
    fn follow(&mut self, step: &Arc<Step>, depth: usize) {
        let known = self.needs.iter().any(|known| known.name == step.name);
        // A formula that needs itself stays null.
        if known || depth > DEPTH_MAX {
            return;
        }
        if let Some(program) = &step.program {
            let references = program.references();
            let names: Vec<&str> = match references.whole_record {
                true => self.fields.keys().map(String::as_str).collect(),
                false => references.fields().collect(),
            };
            for name in names {
                match self.steps.get(name) {
                    Some(other) if other.name != step.name => self.follow(other, depth + 1),
                    Some(_) => {}
                    None if self.fields.contains_key(name) => {
                        self.inputs.insert(name.to_owned());
                    }
                    None => {}
                }
            }
        }
        if !self.needs.iter().any(|known| known.name == step.name) {
            self.needs.push(Arc::clone(step));
        }
    }
}

/// The values of formulas for a record of these cells, in order.
#[must_use]
pub fn values(
    formulas: &[Arc<Formula>],
    columns: &[ColumnRef],
    cells: &[Cell],
    speaker: &Speaker,
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
                let value = step.value(&record, speaker);
                record[step.name.as_str()] = value;
            }
            formula.own.value(&record, speaker)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use metadata::Object;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;
    use crate::domain::schema::Schema;

    fn schema(fields: Value) -> Schema {
        let (object, findings) = Object::from_value("deal", &json!({"fields": fields}));
        Schema::new(
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
        let speaker = Speaker::nobody(datetime!(2026-11-25 10:00 UTC));
        values(&[formula], &schema.columns, &cells, &speaker).remove(0)
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
}
