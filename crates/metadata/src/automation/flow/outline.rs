//! The nodes and edges of a flow as they were written, also where no graph can be made of them: what
//! checks speak of.

use serde_json::Value;

use crate::reader::Reader;

/// Nodes and edges as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The nodes, in order.
    pub nodes: Vec<OutlineNode>,
    /// The edges, in order.
    pub edges: Vec<OutlineEdge>,
}

/// A node as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineNode {
    /// Its id, where it has one.
    pub id: Option<String>,
    /// Whether the flow begins there.
    pub is_start: bool,
    /// The object it names.
    pub object: Option<String>,
}

/// An edge as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineEdge {
    /// Id of the node it leaves.
    pub source: Option<String>,
    /// Id of the node it leads to.
    pub target: Option<String>,
}

pub(super) fn outline(flow: &Reader<'_>) -> Outline {
    let list = |key: &str| flow.raw(&[key]).and_then(Value::as_array);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let nodes = list("nodes").into_iter().flatten().map(|node| {
        let config = |key: &str| node.get("config").and_then(|config| config.get(key));
        OutlineNode {
            id: text(node.get("id")),
            is_start: node.get("type").and_then(Value::as_str) == Some("start"),
            object: text(config("objectName").or_else(|| config("object"))),
        }
    });
    let edges = list("edges").into_iter().flatten().map(|edge| OutlineEdge {
        source: text(edge.get("source")),
        target: text(edge.get("target")),
    });
    Outline {
        nodes: nodes.collect(),
        edges: edges.collect(),
    }
}
