//! Dialect (b): a list of steps, brought to a graph.

use serde_json::{Map, Value};

use super::config::{Kind, output_variable};
use super::graph::{Edge, EdgeKind, Graph};
use super::node::{Branch, Node, NodeConfig};
use crate::automation::retry::Backoff;
use crate::expression::{Dialect, Expression};
use crate::reader::Reader;

/// Steps in steps at most.
const DEPTH_MAX: usize = 16;

/// The label of the way on when a condition held, and when it did not.
const THEN: &str = "then";
const ELSE: &str = "default";

/// A loose end: the node, and the label of its way on.
type Tail = (usize, Option<&'static str>);

/// Reads a list of steps; `flow` tells where they stand.
///
/// # Errors
/// When it is none.
pub(super) fn graph(
    steps: &[Value],
    flow: &Reader<'_>,
    depth: usize,
    warnings: &mut Vec<String>,
) -> Result<Graph, String> {
    let mut graph = Graph::default();
    let mut builder = Builder {
        graph: &mut graph,
        flow,
        depth,
        warnings,
    };
    builder.sequence(steps, Vec::new())?;
    if !graph.nodes.is_empty() {
        graph.starts = vec![0];
    }
    Ok(graph)
}

struct Builder<'b, 'r> {
    graph: &'b mut Graph,
    flow: &'b Reader<'r>,
    depth: usize,
    warnings: &'b mut Vec<String>,
}

impl Builder<'_, '_> {
    /// Adds steps after the loose ends; gives the new ones.
    fn sequence(&mut self, steps: &[Value], mut tails: Vec<Tail>) -> Result<Vec<Tail>, String> {
        for step in steps {
            let Some(step) = step.as_object() else {
                return Err("a step is no object".to_owned());
            };
            let node = self.node(step)?;
            for (source, label) in tails {
                self.graph.edges.push(Edge {
                    source,
                    target: node,
                    kind: EdgeKind::Normal,
                    label: label.map(str::to_owned),
                    condition: None,
                    is_default: label == Some(ELSE),
                });
            }
            tails = match self.graph.nodes[node].config {
                NodeConfig::Decision { .. } => {
                    let mut tails = Vec::new();
                    for (key, label) in [("then", THEN), ("else", ELSE)] {
                        let steps = step.get(key).map(list).unwrap_or_default();
                        tails.extend(self.branch(steps, (node, Some(label)))?);
                    }
                    tails
                }
                _ => vec![(node, None)],
            };
        }
        Ok(tails)
    }

    fn branch(&mut self, steps: &[Value], from: Tail) -> Result<Vec<Tail>, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("steps lie more than {DEPTH_MAX} deep in steps"));
        }
        let tails = self.sequence(steps, vec![from]);
        self.depth -= 1;
        tails
    }

    fn node(&mut self, step: &Map<String, Value>) -> Result<usize, String> {
        let text = |key: &str| step.get(key).and_then(Value::as_str);
        let number = self.graph.nodes.len();
        let node_type = text("type").unwrap_or_default();
        let kind = Kind::of(node_type);
        let name = text("name").or_else(|| text("id")).map(str::to_owned);
        let id = name.unwrap_or_else(|| format!("step{}_{number}", self.depth));
        if self.graph.nodes.iter().any(|node| node.id == id) {
            return Err(format!("two steps have the name `{id}`"));
        }
        let config = merged(kind, step);
        let at = format!("{}.{id}", self.flow.at("steps"));
        let reader = Reader::over(step, at.clone(), self.flow.sink);
        let config = Reader::over(&config, at, self.flow.sink);
        let mut bodies = Vec::new();
        let mut condition = None;
        match kind {
            Kind::Decision => {
                let when = reader.expression(&["when", "condition"], Dialect::Cel);
                condition = Some(when.ok_or_else(|| format!("`{id}` has no `when`"))?);
            }
            Kind::Loop => {
                let body = step.get("do").or_else(|| step.get("steps"));
                bodies.push(self.inside(body.map(list).unwrap_or_default())?);
            }
            Kind::Parallel => {
                let listed = step.get("branches").or_else(|| step.get("steps"));
                for branch in listed.map(list).unwrap_or_default() {
                    let steps = match branch {
                        Value::Array(steps) => steps.as_slice(),
                        branch => match branch.get("steps") {
                            Some(steps) => list(steps),
                            None => std::slice::from_ref(branch),
                        },
                    };
                    bodies.push(self.inside(steps)?);
                }
            }
            _ => {}
        }
        let retry = reader
            .object(&["retry"])
            .map(|retry| Backoff::read(&retry, 1));
        self.graph.nodes.push(Node {
            node_type: node_type.to_owned(),
            label: reader.string(&["label"]),
            timeout_ms: reader.natural(&["timeoutMs"]).filter(|ms| *ms > 0),
            retry: retry.filter(|retry| retry.retries > 0),
            goes_on: text("onError") == Some("continue"),
            output_variable: output_variable(&config),
            config: match condition {
                Some(condition) => decision(condition),
                None => NodeConfig::read(kind, &config, bodies, self.warnings),
            },
            id,
        });
        if text("onError") == Some("rollback") {
            self.warnings.push(
                "`onError: rollback` fails the run: what steps have done is not undone".to_owned(),
            );
        }
        Ok(number)
    }

    fn inside(&mut self, steps: &[Value]) -> Result<Graph, String> {
        if self.depth >= DEPTH_MAX {
            return Err(format!("steps lie more than {DEPTH_MAX} deep in steps"));
        }
        graph(steps, self.flow, self.depth + 1, self.warnings)
    }
}

/// A step's own keys over its `config`, in the words of nodes.
fn merged(kind: Kind, step: &Map<String, Value>) -> Map<String, Value> {
    let config = step.get("config").and_then(Value::as_object);
    let mut merged = config.cloned().unwrap_or_default();
    for (key, value) in step {
        if !matches!(
            key.as_str(),
            "name" | "type" | "config" | "retry" | "onError"
        ) {
            merged.insert(key.clone(), value.clone());
        }
    }
    let mut rename = |step_word: &str, node_word: &str| {
        if let Some(value) = merged.shift_remove(step_word) {
            merged.insert(node_word.to_owned(), value);
        }
    };
    rename("output", "outputVariable");
    if kind == Kind::Loop {
        rename("items", "collection");
    }
    merged
}

fn decision(condition: Expression) -> NodeConfig {
    NodeConfig::Decision {
        branches: vec![Branch {
            label: THEN.to_owned(),
            condition,
        }],
    }
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(list) => list,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}
