//! Flows as runs need them: what metadata says of them, and their conditions compiled.

use std::{collections::HashMap, sync::Arc};

use expr::{Program, Scope};
use metadata::{
    Expression, Item,
    automation::flow::{self, NodeConfig, Timing, Trigger},
};

/// A flow, compiled.
#[derive(Debug)]
pub(crate) struct Flow {
    /// What metadata says of it.
    pub(crate) spec: Arc<flow::Flow>,
    /// The item it was compiled from.
    pub(crate) item: Arc<Item>,
    /// Changes of records that start it.
    pub(crate) triggers: Vec<Trigger>,
    /// What is wrong with it without keeping it from running.
    pub(crate) warnings: Vec<String>,
    conditions: Conditions,
}

impl Flow {
    /// Compiles the flow of an item; nothing for an item that is none.
    pub(crate) fn compile(item: &Arc<Item>) -> Option<Self> {
        let spec = item.definition.flow()?;
        let mut warnings = spec.warnings.clone();
        let conditions = Conditions::of(spec, &mut warnings);
        let mut triggers = Vec::new();
        for trigger in &spec.triggers {
            let fault = trigger
                .condition
                .as_ref()
                .and_then(|one| conditions.fault(one));
            match (trigger.timing, fault) {
                (Timing::Before, _) => warnings.push(
                    "its trigger before a write does not fire: such flows are not built".to_owned(),
                ),
                (Timing::After, Some(fault)) => {
                    warnings.push(format!("it never fires, its condition is wrong: {fault}"));
                }
                (Timing::After, None) => triggers.push(trigger.clone()),
            }
        }
        if spec.kind == flow::FlowKind::Schedule || spec.schedule.is_some() {
            warnings.push("its schedule does not fire: schedules are not built".to_owned());
        }
        Some(Self {
            spec: Arc::clone(spec),
            item: Arc::clone(item),
            triggers,
            warnings,
            conditions,
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Whether a condition of it holds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn holds(&self, condition: &Expression, scope: &Scope<'_>) -> Result<bool, String> {
        self.conditions.holds(condition, scope)
    }
}

/// The conditions of a flow by their text, each compiled once; or why it is none.
#[derive(Debug, Default)]
struct Conditions(HashMap<String, Result<Program, String>>);

impl Conditions {
    fn of(spec: &flow::Flow, warnings: &mut Vec<String>) -> Self {
        let mut conditions = Self::default();
        for trigger in &spec.triggers {
            if let Some(condition) = &trigger.condition {
                conditions.add(condition);
            }
        }
        for node in spec.graph.all_nodes() {
            if let NodeConfig::Decision { branches } = &node.config {
                for branch in branches {
                    if let Some(fault) = conditions.add(&branch.condition) {
                        let label = &branch.label;
                        warnings.push(format!("the condition `{label}` is wrong: {fault}"));
                    }
                }
            }
        }
        for edge in spec.graph.all_edges() {
            let fault = edge.condition.as_ref().and_then(|one| conditions.add(one));
            if let Some(fault) = fault {
                warnings.push(format!("the condition of an edge is wrong: {fault}"));
            }
        }
        conditions
    }

    /// Compiles one; gives what is wrong with it.
    fn add(&mut self, condition: &Expression) -> Option<&str> {
        let source = &condition.source;
        let entry = self.0.entry(source.clone());
        let compiled = entry.or_insert_with(|| {
            let compiled = Program::compile_condition(source);
            compiled.map_err(|error| format!("`{source}`: {error}"))
        });
        compiled.as_ref().err().map(String::as_str)
    }

    fn fault(&self, condition: &Expression) -> Option<&str> {
        let compiled = self.0.get(&condition.source)?;
        compiled.as_ref().err().map(String::as_str)
    }

    fn holds(&self, condition: &Expression, scope: &Scope<'_>) -> Result<bool, String> {
        let source = &condition.source;
        let compiled = self.0.get(source);
        let compiled = compiled.ok_or_else(|| format!("`{source}`: it is none of the flow's"))?;
        let program = compiled.as_ref().map_err(Clone::clone)?;
        let holds = program.holds(scope);
        holds.map_err(|error| format!("`{source}`: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use metadata::ItemType;
    use serde_json::{Value, json};

    use super::*;

    fn of(value: Value) -> Flow {
        let (item, _) = Item::new(ItemType::Flow, "sample", value);
        Flow::compile(&Arc::new(item)).unwrap()
    }

    #[test]
    fn a_trigger_that_cannot_fire_is_told_and_left_out() {
        let with =
            |config: Value| of(json!({"nodes": [{"id": "s", "type": "start", "config": config}]}));
        let flow = with(json!({"objectName": "task", "triggerType": "record-after-write"}));
        assert_eq!((flow.triggers.len(), flow.warnings.len()), (1, 0));
        for config in [
            json!({"objectName": "task", "triggerType": "record-before-update"}),
            json!({"objectName": "task", "triggerType": "record-after-update", "condition": "(("}),
        ] {
            let flow = with(config);
            assert_eq!((flow.triggers.len(), flow.warnings.len()), (0, 1));
        }
    }

    #[test]
    fn conditions_are_compiled_wherever_they_stand() {
        let flow = of(json!({
            "nodes": [{"id": "s", "type": "start"}, {"id": "l", "type": "loop", "config": {"body": {"nodes": [
                {"id": "d", "type": "decision", "config": {"conditions": [{"label": "x", "expression": "a > 1"}]}},
                {"id": "e"}],
                "edges": [{"source": "d", "target": "e", "condition": "(("}]}}}],
            "edges": [{"source": "s", "target": "l", "condition": "true"}]}));
        assert_eq!(flow.warnings.len(), 1, "{:?}", flow.warnings);
        let vars = json!({"a": 2});
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let scope = Scope::new(now).vars(&vars);
        let holds = |source: &str| {
            let of = Expression {
                dialect: metadata::Dialect::Cel,
                source: source.to_owned(),
            };
            flow.holds(&of, &scope)
        };
        assert_eq!(holds("a > 1"), Ok(true));
        assert_eq!(holds("true"), Ok(true));
        assert!(holds("((").is_err() && holds("b").is_err());
    }
}
