//! Dialect (b): a list of steps, brought to a graph.

use serde_json::{Map, Value};

use super::{Condition, Edge, EdgeKind, Graph, Kind, Node, read::backoff};

/// Steps in steps at most.
const DEPTH_MAX: usize = 16;

/// The label of the way on when a condition held, and when it did not.
const THEN: &str = "then";
const ELSE: &str = "default";

/// A loose end: the node, and the label of its way on.
type Tail = (usize, Option<&'static str>);

/// Reads a list of steps.
///
/// # Errors
/// When it is none.
pub(super) fn graph(
    steps: &[Value],
    depth: usize,
    warnings: &mut Vec<String>,
) -> Result<Graph, String> {
    let mut graph = Graph::default();
    let mut builder = Builder {
        graph: &mut graph,
        depth,
        warnings,
    };
    builder.sequence(steps, Vec::new())?;
    if !graph.nodes.is_empty() {
        graph.starts = vec![0];
    }
    Ok(graph)
}

struct Builder<'b> {
    graph: &'b mut Graph,
    depth: usize,
    warnings: &'b mut Vec<String>,
}

impl Builder<'_> {
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
            tails = match self.graph.nodes[node].kind {
                Kind::Decision => {
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
        let mut config = step.get("config").and_then(Value::as_object).cloned();
        let config = config.get_or_insert_default();
        for (key, value) in step {
            if !matches!(
                key.as_str(),
                "name" | "type" | "config" | "retry" | "onError"
            ) {
                config.insert(key.clone(), value.clone());
            }
        }
        if let Some(output) = config.remove("output") {
            config.insert("outputVariable".to_owned(), output);
        }
        let mut bodies = Vec::new();
        let mut branches = Vec::new();
        match kind {
            Kind::Decision => {
                let when = step.get("when").or_else(|| step.get("condition"));
                let condition = when.and_then(Condition::of);
                let condition = condition.ok_or_else(|| format!("`{id}` has no `when`"))?;
                if let Some(fault) = condition.fault() {
                    self.warnings
                        .push(format!("the condition of `{id}` is wrong: {fault}"));
                }
                branches.push((THEN.to_owned(), condition));
            }
            Kind::Loop => {
                let body = step.get("do").or_else(|| step.get("steps"));
                bodies.push(self.inside(body.map(list).unwrap_or_default())?);
                if let Some(items) = config.remove("items") {
                    config.insert("collection".to_owned(), items);
                }
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
        let timeout_ms = step.get("timeoutMs").and_then(Value::as_u64);
        self.graph.nodes.push(Node {
            kind,
            node_type: node_type.to_owned(),
            label: text("label").map(str::to_owned),
            config: std::mem::take(config),
            timeout_ms: timeout_ms.filter(|ms| *ms > 0),
            retry: step.get("retry").and_then(backoff),
            goes_on: text("onError") == Some("continue"),
            branches,
            bodies,
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
        graph(steps, self.depth + 1, self.warnings)
    }
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(list) => list,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}
