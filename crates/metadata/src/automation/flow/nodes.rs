//! Dialect (a): a graph of nodes and edges, as compiled artifacts hold it.

use std::collections::HashMap;

use serde_json::Value;

use super::config::{self, Kind};
use super::graph::{Edge, EdgeKind, Graph};
use super::node::{Node, NodeConfig};
use crate::automation::retry::Backoff;
use crate::expression::Dialect;
use crate::reader::Reader;

/// Graphs in graphs at most.
const DEPTH_MAX: usize = 16;

/// Reads `nodes` and `edges`; what is left out goes to `warnings`.
///
/// # Errors
/// When it is no graph.
pub(super) fn graph(
    reader: &Reader<'_>,
    depth: usize,
    warnings: &mut Vec<String>,
) -> Result<Graph, String> {
    if depth > DEPTH_MAX {
        return Err(format!("bodies lie more than {DEPTH_MAX} deep in bodies"));
    }
    let mut graph = Graph::default();
    let mut by_id = HashMap::new();
    for (at, node) in list(reader, "nodes") {
        let Value::Object(node) = node else {
            return Err("a node has no id".to_owned());
        };
        let node = read_node(&Reader::over(node, at, reader.sink), depth, warnings)?;
        if by_id.insert(node.id.clone(), graph.nodes.len()).is_some() {
            return Err(format!("two nodes have the id `{}`", node.id));
        }
        graph.nodes.push(node);
    }
    for (at, edge) in list(reader, "edges") {
        let nothing = serde_json::Map::new();
        let edge = Reader::over(edge.as_object().unwrap_or(&nothing), at, reader.sink);
        let end = |key: &str| {
            let id = edge.raw(&[key]).and_then(Value::as_str).unwrap_or_default();
            let found = by_id.get(id).copied();
            found.ok_or_else(|| format!("an edge names the node `{id}`, which is not there"))
        };
        let (source, target) = (end("source")?, end("target")?);
        graph.edges.push(read_edge(&edge, source, target));
    }
    graph.starts = starts(&graph);
    if graph.starts.is_empty() && !graph.nodes.is_empty() {
        return Err("no node can be the first".to_owned());
    }
    without_body(&mut graph);
    Ok(graph)
}

/// The entries of a list, each with the place where it stands.
fn list<'a>(reader: &Reader<'a>, key: &str) -> Vec<(String, &'a Value)> {
    let entries = reader.raw(&[key]).and_then(Value::as_array);
    let entries = entries.into_iter().flatten().enumerate();
    let placed = entries.map(|(place, entry)| {
        let id = entry.get("id").and_then(Value::as_str);
        let at = match id {
            Some(id) => format!("{}.{id}", reader.at(key)),
            None => format!("{}[{place}]", reader.at(key)),
        };
        (at, entry)
    });
    placed.collect()
}

/// The start node; without one, the nodes that no edge leads to.
fn starts(graph: &Graph) -> Vec<usize> {
    let all = || 0..graph.nodes.len();
    let declared: Vec<usize> = all()
        .filter(|node| matches!(graph.nodes[*node].config, NodeConfig::Start(_)))
        .collect();
    if !declared.is_empty() {
        return declared;
    }
    all().filter(|node| graph.arriving(*node) == 0).collect()
}

fn read_node(
    reader: &Reader<'_>,
    depth: usize,
    warnings: &mut Vec<String>,
) -> Result<Node, String> {
    let text = |key: &str| reader.raw(&[key]).and_then(Value::as_str);
    let id = text("id").or_else(|| text("name")).unwrap_or_default();
    if id.is_empty() {
        return Err("a node has no id".to_owned());
    }
    let node_type = text("type").unwrap_or_default();
    let nothing = serde_json::Map::new();
    let config = reader
        .raw(&["config"])
        .and_then(Value::as_object)
        .unwrap_or(&nothing);
    let config = Reader::over(config, reader.at("config"), reader.sink);
    let mut bodies = Vec::new();
    let kind = Kind::of(node_type);
    match kind {
        Kind::Loop => {
            if let Some(Value::Object(body)) = config.raw(&["body"]) {
                let body = Reader::over(body, config.at("body"), reader.sink);
                bodies.push(graph(&body, depth + 1, warnings)?);
            }
        }
        Kind::Parallel => {
            for (at, branch) in list(&config, "branches") {
                if let Value::Object(branch) = branch {
                    let branch = Reader::over(branch, at, reader.sink);
                    bodies.push(graph(&branch, depth + 1, warnings)?);
                }
            }
        }
        Kind::TryCatch => {
            for key in ["try", "catch"] {
                let body = match config.raw(&[key]) {
                    Some(Value::Object(body)) => body,
                    _ => &nothing,
                };
                let body = Reader::over(body, config.at(key), reader.sink);
                bodies.push(graph(&body, depth + 1, warnings)?);
            }
        }
        _ => {}
    }
    let timeout_ms = reader.natural(&["timeoutMs"]);
    let timeout_ms = timeout_ms.or_else(|| config.natural(&["timeoutMs"]));
    let retry = match reader.raw(&["retry"]) {
        Some(_) => reader.object(&["retry"]),
        // Of a try_catch it is the retry of what it tries.
        None if kind == Kind::TryCatch => None,
        None => config.object(&["retry"]),
    };
    let retry = retry.map(|retry| Backoff::read(&retry, 1));
    Ok(Node {
        id: id.to_owned(),
        node_type: node_type.to_owned(),
        label: reader.string(&["label"]),
        timeout_ms: timeout_ms.filter(|ms| *ms > 0),
        retry: retry.filter(|retry| retry.retries > 0),
        goes_on: false,
        output_variable: config::output_variable(&config),
        config: NodeConfig::read(kind, &config, bodies, warnings),
    })
}

fn read_edge(reader: &Reader<'_>, source: usize, target: usize) -> Edge {
    Edge {
        source,
        target,
        kind: match reader.string(&["type"]).as_deref() {
            Some("fault") => EdgeKind::Fault,
            Some("back") => EdgeKind::Back,
            None | Some(_) => EdgeKind::Normal,
        },
        label: reader.string(&["label", "branchLabel"]),
        condition: reader.expression(&["condition"], Dialect::Cel),
        is_default: reader.flag(&["isDefault"]) == Some(true),
    }
}

/// A loop without a body of its own runs what follows it, up to the end of the flow.
fn without_body(graph: &mut Graph) {
    let is_open = |node: &Node| matches!(&node.config, NodeConfig::Loop(of) if of.body.is_none());
    while let Some(node) = graph.nodes.iter().position(is_open) {
        let mut body = take_body(graph, node);
        without_body(&mut body);
        if let NodeConfig::Loop(of) = &mut graph.nodes[node].config {
            of.body = Some(body);
        }
    }
}

/// Moves what is reachable from the loop, end nodes excepted, into its body.
fn take_body(graph: &mut Graph, of: usize) -> Graph {
    let is_end =
        |graph: &Graph, node: usize| matches!(graph.nodes[node].config, NodeConfig::End { .. });
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
        // Its place stays, so that the numbers of the others do too.
        let node = std::mem::replace(&mut graph.nodes[node], Node::moved());
        body.nodes.push(node);
    }
    body.starts = firsts;
    body
}
