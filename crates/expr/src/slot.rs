//! What stands between the braces of a template: a path, or an expression.

use crate::{
    error::EvalErrorKind,
    eval::evaluate_node,
    node::{Kind, Node},
    program::Program,
    scope::Scope,
    value::Val,
};

/// A path or an expression.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    root: Root,
    /// The path as written, or the expression.
    pub(crate) source: String,
}

#[derive(Debug, Clone)]
enum Root {
    Path(Node),
    Expression(Program),
}

/// Names of a path: `a.b.0`, `$User.Id`.
pub(crate) fn names(text: &str) -> Option<Vec<&str>> {
    let fits = |name: &&str| {
        let name = name.strip_prefix('$').unwrap_or(name);
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let names: Vec<_> = text.split('.').collect();
    let starts = text.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '$');
    (starts && names.iter().all(fits)).then_some(names)
}

impl Slot {
    /// A slot for a path or for CEL; nothing when the text is neither.
    pub(crate) fn parse(text: &str) -> Option<Slot> {
        let root = match names(text) {
            Some(names) if !matches!(text, "true" | "false" | "null") => Root::Path(chain(&names)),
            _ => Root::Expression(Program::compile(text).ok()?),
        };
        Some(Slot {
            root,
            source: text.to_owned(),
        })
    }

    /// The value; null where the path leads nowhere or the expression has none.
    pub(crate) fn value<'s>(&'s self, scope: &'s Scope<'_>) -> Result<Val<'s>, EvalErrorKind> {
        let node = match &self.root {
            Root::Path(node) => node,
            Root::Expression(program) => program.root(),
        };
        match evaluate_node(node, scope) {
            Ok(value) => Ok(value),
            Err((_, budget @ EvalErrorKind::Budget(_))) => Err(budget),
            Err(_) => Ok(Val::Null),
        }
    }
}

fn chain(names: &[&str]) -> Node {
    let mut chained: Option<Node> = None;
    for &name in names {
        let kind = match chained.take() {
            None => Kind::Name(name.to_owned()),
            Some(inner) => match name.parse::<i64>() {
                Ok(position) => Kind::Index(
                    Box::new(inner),
                    Box::new(Node {
                        at: 0,
                        kind: Kind::Literal(crate::node::Literal::Int(position)),
                    }),
                ),
                Err(_) => Kind::Select(Box::new(inner), name.to_owned()),
            },
        };
        chained = Some(Node { at: 0, kind });
    }
    chained.unwrap_or(Node {
        at: 0,
        kind: Kind::Literal(crate::node::Literal::Null),
    })
}
