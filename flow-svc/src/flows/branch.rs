//! Which edges a run takes from a node.

use expr::Scope;
use metadata::automation::flow::{EdgeKind, Graph, NodeConfig};

use crate::catalog::Flow;

/// What a decision picked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Picked {
    /// The edge of that label.
    Label(String),
    /// No condition held.
    Default,
}

/// The edges from a node that did its work, in their order.
///
/// # Errors
/// What is wrong with a condition.
pub(super) fn taken(
    flow: &Flow,
    graph: &Graph,
    node: usize,
    picked: Option<&Picked>,
    scope: &Scope<'_>,
) -> Result<Vec<usize>, String> {
    let is_named = |label: &str| match &graph.nodes[node].config {
        NodeConfig::Decision { branches } => branches.iter().any(|branch| branch.label == label),
        _ => false,
    };
    let labelled: Vec<usize> = graph
        .leaving(node)
        .filter(|(_, edge)| edge.kind != EdgeKind::Fault)
        .filter(|(_, edge)| {
            let label = edge.label.as_deref().unwrap_or_default();
            match picked {
                Some(Picked::Label(name)) => label == name,
                Some(Picked::Default) => edge.is_default || label.eq_ignore_ascii_case("default"),
                None => false,
            }
        })
        .map(|(number, _)| number)
        .collect();
    if !labelled.is_empty() {
        return Ok(labelled);
    }
    let (mut taken, mut defaults) = (Vec::new(), Vec::new());
    let mut held = matches!(picked, Some(Picked::Label(_)));
    for (number, edge) in graph.leaving(node) {
        let label = edge.label.as_deref().unwrap_or_default();
        if edge.kind == EdgeKind::Fault || (picked.is_some() && is_named(label)) {
            continue;
        }
        match &edge.condition {
            _ if edge.is_default => defaults.push(number),
            None => taken.push(number),
            Some(condition) => {
                if flow.holds(condition, scope)? {
                    held = true;
                    taken.push(number);
                }
            }
        }
    }
    if !held || taken.is_empty() {
        taken.extend(defaults);
    }
    Ok(taken)
}

/// The edges from a node that failed.
pub(super) fn faults(graph: &Graph, node: usize) -> Vec<usize> {
    let edges = graph.leaving(node);
    let faults = edges.filter(|(_, edge)| edge.kind == EdgeKind::Fault);
    faults.map(|(number, _)| number).collect()
}
