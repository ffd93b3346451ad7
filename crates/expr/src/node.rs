//! The checked form of an expression that the evaluator walks.

use regex::Regex;
use rust_decimal::Decimal;

/// Where a node stands in the source, in characters from its beginning.
pub(crate) type Offset = u32;

/// An expression and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Offset,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Literal(Literal),
    /// A name: a variable of a loop, a root of the scope, a variable, a field of the record.
    Name(String),
    Select(Box<Node>, String),
    /// `has(a.b)`.
    Has(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Choose(Box<[Node; 3]>),
    Arithmetic(Operator, Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    In(Box<Node>, Box<Node>),
    /// A function with its arguments; the receiver of a method is the first.
    Call(crate::function::Function, Vec<Node>),
    /// `matches` with a pattern known at compile time.
    Matches(Box<Node>, Regex),
    Loop(Box<Loop>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Number(Decimal),
    Double(f64),
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
        }
    }
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// Equal; null equals only null.
    Equal,
    /// Not equal; null differs from everything else.
    NotEqual,
    /// Less; undefined where a side is null.
    Less,
    /// Less or equal; undefined where a side is null.
    LessOrEqual,
    /// Greater; undefined where a side is null.
    Greater,
    /// Greater or equal; undefined where a side is null.
    GreaterOrEqual,
}

impl Comparison {
    /// As it is written in CEL.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    /// The comparison that holds when the sides are exchanged: `a < b` is `b > a`.
    #[must_use]
    pub fn mirrored(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }
}

/// A macro over the items of a list or the keys of a map.
#[derive(Debug, Clone)]
pub(crate) struct Loop {
    pub(crate) kind: LoopKind,
    pub(crate) range: Node,
    pub(crate) variable: String,
    /// `filter`, and the condition of `map(x, condition, element)`.
    pub(crate) condition: Option<Node>,
    /// What is asked or collected of each item.
    pub(crate) body: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoopKind {
    All,
    Any,
    ExactlyOne,
    Collect,
}

impl Node {
    /// The nodes directly below.
    pub(crate) fn children(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::Literal(_) | Kind::Name(_) => Vec::new(),
            Kind::Select(operand, _)
            | Kind::Has(operand, _)
            | Kind::Not(operand)
            | Kind::Negate(operand)
            | Kind::Matches(operand, _) => vec![operand],
            Kind::Index(left, right)
            | Kind::And(left, right)
            | Kind::Or(left, right)
            | Kind::Arithmetic(_, left, right)
            | Kind::Compare(_, left, right)
            | Kind::In(left, right) => vec![left, right],
            Kind::Choose(parts) => parts.iter().collect(),
            Kind::List(items) | Kind::Call(_, items) => items.iter().collect(),
            Kind::Map(entries) => entries
                .iter()
                .flat_map(|(key, value)| [key, value])
                .collect(),
            Kind::Loop(inner) => [&inner.range]
                .into_iter()
                .chain(&inner.condition)
                .chain([&inner.body])
                .collect(),
        }
    }
}
