//! What keeps a graph from running at all.

use super::graph::{EdgeKind, Graph};

/// A node on a circle of edges that are not declared to lead back, in the graph or inside a node.
pub(super) fn circle(graph: &Graph) -> Option<&str> {
    let mut seen = vec![Seen::Not; graph.nodes.len()];
    for node in 0..graph.nodes.len() {
        if let Some(found) = visit(graph, node, &mut seen) {
            return Some(&graph.nodes[found].id);
        }
    }
    let bodies = graph.nodes.iter().flat_map(|node| node.config.bodies());
    bodies.filter_map(circle).next()
}

#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Not,
    /// On the way that is being walked.
    Here,
    Done,
}

/// Depth first with a stack of its own: a graph may be longer than the thread's stack.
fn visit(graph: &Graph, from: usize, seen: &mut [Seen]) -> Option<usize> {
    let mut way = vec![(from, false)];
    while let Some((node, is_left)) = way.pop() {
        if is_left {
            seen[node] = Seen::Done;
            continue;
        }
        match seen[node] {
            Seen::Done | Seen::Here => continue,
            Seen::Not => seen[node] = Seen::Here,
        }
        way.push((node, true));
        for (_, edge) in graph.leaving(node) {
            match (edge.kind, seen[edge.target]) {
                (EdgeKind::Back, _) | (_, Seen::Done) => {}
                (_, Seen::Here) => return Some(edge.target),
                (_, Seen::Not) => way.push((edge.target, false)),
            }
        }
    }
    None
}
