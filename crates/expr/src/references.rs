//! What an expression reads: for rights, for fetching, and for finding dangling names.

use std::collections::BTreeSet;

use crate::{
    node::{Kind, Literal, Node},
    scope::{ROOTS, VIEWS},
};

/// The names and paths an expression reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Every path as written, dotted: `amount`, `record.account.name`, `os.user.id`.
    pub paths: BTreeSet<String>,
    /// Paths below the record: what stands after `record.`, and bare names that are no root.
    /// `record.account.name` is `["account", "name"]`: `account` must be fetched one level deep.
    pub record_paths: BTreeSet<Vec<String>>,
    /// The record is also used as a whole, or with a key that is not known before the evaluation:
    /// any field may be read.
    pub whole_record: bool,
}

impl References {
    /// The fields of the record that are read; see also [`References::whole_record`].
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<_> = self
            .record_paths
            .iter()
            .filter_map(|path| path.first())
            .map(String::as_str)
            .collect();
        names.dedup();
        names.into_iter()
    }
}

pub(crate) fn collect(root: &Node) -> References {
    let mut references = References::default();
    walk(root, &mut Vec::new(), &mut references);
    references
}

/// The names of a path, root first: `a.b["c"]` is `a`, `b`, `c`.
pub(crate) fn path(node: &Node) -> Option<Vec<&str>> {
    match &node.kind {
        Kind::Name(name) => Some(vec![name]),
        Kind::Select(operand, field) | Kind::Has(operand, field) => {
            let mut names = path(operand)?;
            names.push(field);
            Some(names)
        }
        Kind::Index(operand, index) => match &index.kind {
            Kind::Literal(Literal::Text(field)) => {
                let mut names = path(operand)?;
                names.push(field);
                Some(names)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The path below the record: `record.a.b`, `ctx.record.a.b` and bare `a.b` are `a`, `b`; empty for
/// the record itself; none for other roots.
pub(crate) fn below_record<'n>(names: &[&'n str]) -> Option<Vec<&'n str>> {
    match names {
        [view, rest @ ..] if VIEWS.contains(view) => match rest {
            ["record", rest @ ..] => Some(rest.to_vec()),
            [] => Some(Vec::new()),
            _ => None,
        },
        ["record", rest @ ..] => Some(rest.to_vec()),
        [root, ..] if ROOTS.contains(root) => None,
        names => Some(names.to_vec()),
    }
}

fn walk<'n>(node: &'n Node, variables: &mut Vec<&'n str>, references: &mut References) {
    if let Some(names) = path(node) {
        if names.first().is_some_and(|root| variables.contains(root)) {
            return;
        }
        references.paths.insert(names.join("."));
        match below_record(&names).as_deref() {
            Some([]) => references.whole_record = true,
            Some(below) => {
                let owned = below.iter().map(|&name| name.to_owned()).collect();
                references.record_paths.insert(owned);
            }
            None => {}
        }
        return;
    }
    if let Kind::Loop(inner) = &node.kind {
        walk(&inner.range, variables, references);
        variables.push(&inner.variable);
        for part in inner.condition.iter().chain([&inner.body]) {
            walk(part, variables, references);
        }
        variables.pop();
        return;
    }
    for child in node.children() {
        walk(child, variables, references);
    }
}
