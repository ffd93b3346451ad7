//! Compiles the formulas of an object, once for a revision.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use expr::{Program, ResultType};
use indexmap::IndexMap;
use metadata::{Field, FieldType};

use crate::kernel::model::formula::{Formula, Step};

/// Formulas of formulas that are followed.
const DEPTH_MAX: usize = 8;

/// Compiles the formulas among the fields of an object.
#[must_use]
pub(super) fn compile(fields: &IndexMap<String, Field>) -> IndexMap<String, Arc<Formula>> {
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
