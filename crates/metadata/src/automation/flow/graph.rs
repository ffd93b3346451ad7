//! Nodes and the ways between them.

use super::node::Node;
use crate::expression::Expression;

/// Nodes and the ways between them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// The steps.
    pub nodes: Vec<Node>,
    /// The ways between them, by the numbers of the nodes.
    pub edges: Vec<Edge>,
    /// Where it begins.
    pub starts: Vec<usize>,
}

impl Graph {
    /// Edges that leave a node, in their order, each with its number.
    pub fn leaving(&self, node: usize) -> impl Iterator<Item = (usize, &Edge)> {
        let edges = self.edges.iter().enumerate();
        edges.filter(move |(_, edge)| edge.source == node)
    }

    /// How many edges lead to a node.
    pub fn arriving(&self, node: usize) -> usize {
        self.edges.iter().filter(|edge| edge.target == node).count()
    }

    /// Its nodes, and those of the graphs inside them.
    pub fn all_nodes(&self) -> Vec<&Node> {
        let mut found = Vec::new();
        let mut graphs = vec![self];
        while let Some(graph) = graphs.pop() {
            for node in &graph.nodes {
                found.push(node);
                graphs.extend(node.config.bodies());
            }
        }
        found
    }

    /// Its edges, and those of the graphs inside its nodes.
    pub fn all_edges(&self) -> Vec<&Edge> {
        let inside = self.all_nodes().into_iter();
        let inside = inside.flat_map(|node| node.config.bodies());
        self.edges
            .iter()
            .chain(inside.flat_map(|graph| &graph.edges))
            .collect()
    }
}

/// A way from one node to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The node it leaves.
    pub source: usize,
    /// The node it leads to.
    pub target: usize,
    /// When it is looked at.
    pub kind: EdgeKind,
    /// What a decision picks it by.
    pub label: Option<String>,
    /// It is taken when this holds.
    pub condition: Option<Expression>,
    /// It is taken only if no sibling's condition held.
    pub is_default: bool,
}

/// When an edge is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeKind {
    /// When the step succeeded.
    Normal,
    /// When it failed.
    Fault,
    /// As a normal one; it may lead back.
    Back,
}
