//! Formulas: fields computed on read (spec/field-types.md §2), from what the caller may read.
//!
//! A formula that goes through a reference reads the record there, one level deep, as far as the
//! caller may; what they may not read is null.
//!
//! Invariant: a formula is shown only to whom all its inputs are shown; one that has no value for a
//! record is null there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use expr::{Program, ResultType};
use indexmap::IndexMap;
use metadata::{Field, FieldType};
use serde_json::{Map, Value, json};

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
    /// The references it goes through, also through other formulas, and the fields it reads there.
    pub lookups: BTreeMap<String, BTreeSet<String>>,
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
    /// As [`Formula::lookups`], of this text alone.
    lookups: BTreeMap<String, BTreeSet<String>>,
}

/// Records that references point to: by the reference's field, then by id.
pub type LookedUp = HashMap<String, HashMap<String, Value>>;

/// Compiles the formulas among the fields of an object.
#[must_use]
pub fn compile(fields: &IndexMap<String, Field>) -> IndexMap<String, Arc<Formula>> {
    let steps: IndexMap<&str, Arc<Step>> = fields
        .values()
        .filter(|field| field.field_type == FieldType::Formula)
        .map(|field| (field.name.as_str(), Arc::new(Step::of(field, fields))))
        .collect();
    steps
        .iter()
        .map(|(name, own)| {
            let mut walk = Walk {
                fields,
                steps: &steps,
                inputs: BTreeSet::new(),
                lookups: BTreeMap::new(),
                needs: Vec::new(),
            };
            walk.follow(own, 0);
            // The formula itself is the last that is needed.
            walk.needs.pop();
            let formula = Formula {
                name: (*name).to_owned(),
                inputs: walk.inputs,
                lookups: walk.lookups,
                needs: walk.needs,
                own: Arc::clone(own),
            };
            ((*name).to_owned(), Arc::new(formula))
        })
        .collect()
}

impl Step {
    fn of(field: &Field, fields: &IndexMap<String, Field>) -> Self {
        let source = field.expression.as_deref().unwrap_or_default();
        let result = match field.return_type.as_deref() {
            Some("number" | "currency" | "percent") => Some(ResultType::Number),
            Some("text" | "string") => Some(ResultType::Text),
            Some("boolean") => Some(ResultType::Boolean),
            Some("date") => Some(ResultType::Date),
            Some("datetime") => Some(ResultType::Moment),
            _ => None,
        };
        let program = Program::compile(source).ok();
        let mut lookups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in program
            .iter()
            .flat_map(|program| &program.references().record_paths)
        {
            if let [reference, field, ..] = path.as_slice()
                && fields
                    .get(reference)
                    .is_some_and(|field| field.is_reference() && !field.is_multi_value())
            {
                let read = lookups.entry(reference.clone()).or_default();
                read.insert(field.clone());
            }
        }
        Self {
            name: field.name.clone(),
            program,
            result,
            lookups,
        }
    }

    /// The value for a record whose references are ids.
    fn value(&self, record: &Value, found: &LookedUp, speaker: &Speaker) -> Value {
        let Some(program) = &self.program else {
            return Value::Null;
        };
        let mut beyond = None;
        for reference in self.lookups.keys() {
            let Some(id) = record[reference.as_str()].as_str() else {
                continue;
            };
            let target = found.get(reference).and_then(|records| records.get(id));
            let target = target.cloned().unwrap_or_else(|| json!({"id": id}));
            beyond.get_or_insert_with(|| record.clone())[reference.as_str()] = target;
        }
        let record = beyond.as_ref().unwrap_or(record);
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
    lookups: BTreeMap<String, BTreeSet<String>>,
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
        for (reference, fields) in &step.lookups {
            let read = self.lookups.entry(reference.clone()).or_default();
            read.extend(fields.iter().cloned());
        }
        if !self.needs.iter().any(|known| known.name == step.name) {
            self.needs.push(Arc::clone(step));
        }
    }
}

/// The values of formulas for a record of these cells, in order; `found` has the records that
/// [`Formula::lookups`] ask for.
#[must_use]
pub fn values(
    formulas: &[Arc<Formula>],
    columns: &[ColumnRef],
    cells: &[Cell],
    found: &LookedUp,
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
                let value = step.value(&record, found, speaker);
                record[step.name.as_str()] = value;
            }
            formula.own.value(&record, found, speaker)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use metadata::Object;
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
        let found = LookedUp::from([(
            "account".to_owned(),
            HashMap::from([("a1".to_owned(), json!({"id": "a1", "name": "Acme"}))]),
        )]);
        values(&[formula], &schema.columns, &cells, &found, &speaker).remove(0)
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
