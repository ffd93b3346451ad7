//! The variables of a run. They are not kept: going through the kept results again makes them anew.

use expr::{Interpolation, Scope};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::fault::Fault;
use crate::catalog::Flow;

/// Names that expressions take for what a change or a hook gives, and that a flow may use.
const SHADOWED: [&str; 4] = ["record", "previous", "result", "env"];

/// What is alike for all steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Env {
    pub(super) user: Value,
    pub(super) organization: Value,
}

/// What a run knows at a step.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// An object.
    vars: Value,
    input: Value,
    record: Value,
    previous: Value,
    /// What end nodes said.
    output: Map<String, Value>,
}

impl State {
    /// At the beginning of a run: its input, and `record` and `previous` of its trigger.
    pub(super) fn new(
        flow: &Flow,
        input: Map<String, Value>,
        mut context: Map<String, Value>,
    ) -> Self {
        let mut vars = flow.spec.defaults();
        vars.extend(input.clone());
        let mut taken = |key: &str| context.remove(key).unwrap_or_default();
        Self {
            vars: Value::Object(vars),
            input: Value::Object(input),
            record: taken("record"),
            previous: taken("previous"),
            output: Map::new(),
        }
    }

    /// What expressions see.
    pub(super) fn scope<'s>(&'s self, env: &'s Env, now: OffsetDateTime) -> Scope<'s> {
        let mut scope = Scope::new(now)
            .vars(&self.vars)
            .input(&self.input)
            .bind("inputs", &self.input)
            .user(&env.user)
            .org(&env.organization)
            .record(&self.record)
            .previous(&self.previous);
        for name in SHADOWED {
            if let Some(value) = self.vars.get(name) {
                scope = scope.bind(name, value);
            }
        }
        scope
    }

    /// A value of a node's configuration with its placeholders filled in.
    ///
    /// # Errors
    /// EXECUTION_ERROR when it gets too long.
    pub(super) fn resolve(
        &self,
        env: &Env,
        now: OffsetDateTime,
        value: &Value,
    ) -> Result<Value, Fault> {
        let resolved = Interpolation::resolve_all(value, &self.scope(env, now));
        resolved.map_err(|error| Fault::execution(error.to_string()))
    }

    /// All variables.
    pub(super) fn vars(&self) -> &Value {
        &self.vars
    }

    /// The record of the trigger; null without one.
    pub(super) fn record(&self) -> &Value {
        &self.record
    }

    /// What it was before.
    pub(super) fn previous(&self) -> &Value {
        &self.previous
    }

    /// Sets a variable.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        if let Value::Object(vars) = &mut self.vars {
            vars.insert(name.to_owned(), value);
        }
    }

    /// Sets what a step gave, under the node's id. What it gave is also its `output`.
    pub(super) fn set_output(&mut self, node: &str, output: &Value) {
        let value = match output {
            Value::Object(fields) if !fields.contains_key("output") => {
                let mut fields = fields.clone();
                fields.insert("output".to_owned(), output.clone());
                Value::Object(fields)
            }
            Value::Object(_) => output.clone(),
            Value::Null => Value::Null,
            other => json!({"output": other}),
        };
        self.set(node, value);
    }

    /// Adds to the output of the run.
    pub(super) fn say(&mut self, said: &Value) {
        if let Value::Object(said) = said {
            self.output.extend(said.clone());
        }
    }

    /// The output of the run: what end nodes said, and the variables that are declared to be.
    pub(super) fn output(&self, flow: &Flow) -> Value {
        let mut output = Map::new();
        for name in flow.spec.outputs() {
            let value = self.vars.get(name).cloned().unwrap_or_default();
            output.insert(name.to_owned(), value);
        }
        output.extend(self.output.clone());
        Value::Object(output)
    }

    /// Takes over what a branch has changed since it began with `before`.
    pub(super) fn take_over(&mut self, before: &Self, branch: Self) {
        if let (Value::Object(vars), Value::Object(changed)) = (&mut self.vars, branch.vars) {
            for (name, value) in changed {
                if before.vars.get(&name) != Some(&value) {
                    vars.insert(name, value);
                }
            }
        }
        self.output.extend(branch.output);
    }
}
