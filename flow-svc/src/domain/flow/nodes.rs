//! Dialect (a): a graph of nodes and edges, as compiled artifacts hold it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Condition, Edge, EdgeKind, Graph, Kind, Node, read::backoff};

/// Graphs in graphs at most.
const DEPTH_MAX: usize = 16;

/// Reads `nodes` and `edges`; what is left out goes to `warnings`.
///
/// # Errors
/// When it is no graph.
pub(super) fn graph(
    value: &Map<String, Value>,
    depth: usize,
    warnings: &mut Vec<String>,
) -> Result<Graph, String> {
    if depth > DEPTH_MAX {
        return Err(format!("bodies lie more than {DEPTH_MAX} deep in bodies"));
    }
    let list = |key: &str| value.get(key).and_then(Value::as_array);
    let mut graph = Graph::default();
    let mut by_id = HashMap::new();
    for node in list("nodes").into_iter().flatten() {
        let node = read_node(node, depth, warnings)?;
        if by_id.insert(node.id.clone(), graph.nodes.len()).is_some() {
            return Err(format!("two nodes have the id `{}`", node.id));
        }
        graph.nodes.push(node);
    }
    for edge in list("edges").into_iter().flatten() {
        let end = |key: &str| {
            let id = edge.get(key).and_then(Value::as_str).unwrap_or_default();
            let found = by_id.get(id).copied();
            found.ok_or_else(|| format!("an edge names the node `{id}`, which is not there"))
        };
        let (source, target) = (end("source")?, end("target")?);
        graph.edges.push(read_edge(edge, source, target));
    }
    for edge in &graph.edges {
        if let Some(fault) = edge.condition.as_ref().and_then(Condition::fault) {
            warnings.push(format!("the condition of an edge is wrong: {fault}"));
        }
    }
    graph.starts = starts(&graph);
    if graph.starts.is_empty() && !graph.nodes.is_empty() {
        return Err("no node can be the first".to_owned());
    }
    without_body(&mut graph);
    Ok(graph)
}

/// The start node; without one, the nodes that no edge leads to.
fn starts(graph: &Graph) -> Vec<usize> {
    let all = || 0..graph.nodes.len();
    let declared: Vec<usize> = all()
        .filter(|node| graph.nodes[*node].kind == Kind::Start)
        .collect();
    if !declared.is_empty() {
        return declared;
    }
    all().filter(|node| graph.arriving(*node) == 0).collect()
}

fn read_node(value: &Value, depth: usize, warnings: &mut Vec<String>) -> Result<Node, String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let id = text("id").or_else(|| text("name")).unwrap_or_default();
    if id.is_empty() {
        return Err("a node has no id".to_owned());
    }
    let node_type = text("type").unwrap_or_default();
    let kind = Kind::of(node_type);
    let config = value.get("config").and_then(Value::as_object);
    let config = config.cloned().unwrap_or_default();
    let mut bodies = Vec::new();
    match kind {
        Kind::Loop => {
            if let Some(Value::Object(body)) = config.get("body") {
                bodies.push(graph(body, depth + 1, warnings)?);
            }
        }
        Kind::Parallel => {
            let branches = config.get("branches").and_then(Value::as_array);
            for branch in branches.into_iter().flatten().filter_map(Value::as_object) {
                bodies.push(graph(branch, depth + 1, warnings)?);
            }
        }
        _ => {}
    }
    let timeout_ms = value.get("timeoutMs").or_else(|| config.get("timeoutMs"));
    Ok(Node {
        id: id.to_owned(),
        kind,
        node_type: node_type.to_owned(),
        label: text("label").map(str::to_owned),
        timeout_ms: timeout_ms.and_then(Value::as_u64).filter(|ms| *ms > 0),
        retry: value
            .get("retry")
            .or_else(|| config.get("retry"))
            .and_then(backoff),
        goes_on: false,
        branches: branches(kind, &config, warnings),
        config,
        bodies,
    })
}

/// The conditions of a decision.
fn branches(
    kind: Kind,
    config: &Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Vec<(String, Condition)> {
    let listed = config.get("conditions").and_then(Value::as_array);
    let mut branches = Vec::new();
    for one in listed
        .into_iter()
        .flatten()
        .filter(|_| kind == Kind::Decision)
    {
        let expression = one.get("expression").or_else(|| one.get("condition"));
        let label = one.get("label").or_else(|| one.get("name"));
        let label = label.and_then(Value::as_str).unwrap_or_default();
        let Some(condition) = expression.and_then(Condition::of) else {
            continue;
        };
        if let Some(fault) = condition.fault() {
            warnings.push(format!("the condition `{label}` is wrong: {fault}"));
        }
        branches.push((label.to_owned(), condition));
    }
    branches
}

fn read_edge(value: &Value, source: usize, target: usize) -> Edge {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let label = text("label").or_else(|| text("branchLabel"));
    Edge {
        source,
        target,
        kind: match text("type") {
            Some("fault") => EdgeKind::Fault,
            Some("back") => EdgeKind::Back,
            _ => EdgeKind::Normal,
        },
        label: label.map(str::to_owned),
        condition: value.get("condition").and_then(Condition::of),
        is_default: value.get("isDefault") == Some(&Value::Bool(true)),
    }
}

/// A loop without a body of its own runs what follows it, up to the end of the flow.
fn without_body(graph: &mut Graph) {
    let is_open = |node: &Node| node.kind == Kind::Loop && node.bodies.is_empty();
    while let Some(node) = graph.nodes.iter().position(is_open) {
        let mut body = take_body(graph, node);
        without_body(&mut body);
        graph.nodes[node].bodies.push(body);
    }
}

/// Moves what is reachable from the loop, end nodes excepted, into its body.
fn take_body(graph: &mut Graph, of: usize) -> Graph {
    let is_end = |graph: &Graph, node: usize| graph.nodes[node].kind == Kind::End;
    let mut inside: Vec<usize> = Vec::new();
    let mut way: Vec<usize> = graph.leaving(of).map(|(_, edge)| edge.target).collect();
    while let Some(node) = way.pop() {
        if node != of && !is_end(graph, node) && !inside.contains(&node) {
            inside.push(node);
            way.extend(graph.leaving(node).map(|(_, edge)| edge.target));
        }
    }
    inside.sort_unstable();
    let mut body = Graph::default();
    let place = |node: usize| inside.iter().position(|one| *one == node);
    let firsts: Vec<usize> = graph
        .leaving(of)
        .filter_map(|(_, edge)| place(edge.target))
        .collect();
    let (mut kept, mut ends) = (Vec::new(), Vec::new());
    for mut edge in std::mem::take(&mut graph.edges) {
        match (place(edge.source), place(edge.target)) {
            (Some(source), Some(target)) => {
                (edge.source, edge.target) = (source, target);
                body.edges.push(edge);
            }
            // The end comes once, after the last item.
            (Some(_), None) => ends.push(edge.target),
            (None, Some(_)) if edge.source == of => {}
            _ => kept.push(edge),
        }
    }
    ends.retain(|end| *end != of);
    ends.sort_unstable();
    ends.dedup();
    kept.extend(ends.into_iter().map(|target| Edge {
        source: of,
        target,
        kind: EdgeKind::Normal,
        label: None,
        condition: None,
        is_default: false,
    }));
    graph.edges = kept;
    for node in inside {
        let empty = Node {
            id: String::new(),
            kind: Kind::Unknown,
            node_type: String::new(),
            label: None,
            config: Map::new(),
            timeout_ms: None,
            retry: None,
            goes_on: false,
            branches: Vec::new(),
            bodies: Vec::new(),
        };
        // Its place stays, so that the numbers of the others do too.
        let node = std::mem::replace(&mut graph.nodes[node], empty);
        body.nodes.push(node);
    }
    body.starts = firsts;
    body
}
