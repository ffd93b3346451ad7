//! Predicates as filters: the part of CEL that a database can answer.
//!
//! [`Filter::compile`] accepts what can be translated and refuses the rest: who filters by a
//! predicate that was refused must match nothing. [`Filter::bind`] puts in what the scope knows (the
//! user, the clock) and gives a [`Predicate`], a small tree over fields and values to turn into SQL.
//!
//! # Logic
//!
//! Three-valued, as SQL's and as CEL's treatment of errors agree on: a comparison by order and a test
//! of a text on a field that is null is *unknown*; `false && unknown` is false, `true || unknown` is
//! true, everything else with unknown is unknown; a row matches only where the predicate is true.
//! Three points must be kept in SQL:
//!
//! - `==` and `!=` are never unknown: on a null field `==` is false and `!=` is true
//!   (`f IS NOT NULL AND f = ?`, `f IS NULL OR f <> ?`).
//! - `in` is false on a null field.
//! - A value that does not fit the column's type has no order with it, and equals nothing: the one who
//!   knows the columns makes a comparison by order [`Predicate::Unknown`] and `==` false.
//! - [`Predicate::Unknown`] is `NULL`: an attribute of the user that is missing or empty. It makes no
//!   row visible, neither by itself nor negated.

mod sql_like;

use serde_json::Value;
use time::{Date, OffsetDateTime};

use crate::{
    error::{CompileError, Position},
    eval::evaluate_node,
    function::Function,
    node::{Comparison, Kind, Literal, Node},
    program::Program,
    references::{below_record, path},
    scope::Scope,
    value::{self, Val},
};

/// A predicate that a database can answer.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Program,
    tree: Tree,
}

/// The tree before the scope is known.
#[derive(Debug, Clone)]
enum Tree {
    /// Does not depend on the record.
    Given(Node),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
    Not(Box<Tree>),
    Compare(Vec<String>, Comparison, Node),
    In(Vec<String>, Node),
    Includes(Vec<String>, Node),
    Text(TextTest, Vec<String>, Node),
    IsNull(Vec<String>),
}

/// A test of a text against a part of it; letters differ by case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextTest {
    /// The text begins with the part.
    StartsWith,
    /// The text ends with the part.
    EndsWith,
    /// The part stands somewhere in the text.
    Contains,
}

/// A filter with its values: what to turn into SQL.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// Every row.
    True,
    /// No row.
    False,
    /// No row, and none when negated either: `NULL`.
    Unknown,
    /// All hold.
    And(Vec<Predicate>),
    /// One holds.
    Or(Vec<Predicate>),
    /// It does not hold; unknown stays unknown.
    Not(Box<Predicate>),
    /// A field compared with a value. The field is a path: one name, or a lookup and a field of what
    /// it refers to.
    Compare {
        /// The field.
        path: Vec<String>,
        /// How.
        comparison: Comparison,
        /// With what; never null.
        value: Operand,
    },
    /// A field that equals one of the values.
    In {
        /// The field.
        path: Vec<String>,
        /// The values; none is null.
        values: Vec<Operand>,
    },
    /// A field of several values, one of which is this; false where the field is null.
    Includes {
        /// The field.
        path: Vec<String>,
        /// The value; not null.
        value: Operand,
    },
    /// A test of a text; `Contains` on a field of several values is [`Predicate::Includes`].
    Text {
        /// The field.
        path: Vec<String>,
        /// Which test.
        test: TextTest,
        /// The part to look for, literally.
        part: String,
    },
    /// A field that is null.
    IsNull {
        /// The field.
        path: Vec<String>,
    },
}

/// A value that a field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    Number(serde_json::Number),
    /// A text; compared by bytes.
    Text(String),
    /// A day; beside a moment, its midnight in UTC.
    Date(Date),
    /// A moment.
    Moment(OffsetDateTime),
}

impl Operand {
    fn from_value(value: Val<'_>) -> Option<Operand> {
        Some(match value {
            Val::Bool(value) => Operand::Boolean(value),
            Val::Text(text) => Operand::Text(text.to_string()),
            Val::Date(date) => Operand::Date(date),
            Val::Moment(moment) => Operand::Moment(moment),
            Val::Int(_) | Val::Number(_) | Val::Double(_) => match value.into_json() {
                Value::Number(number) => Operand::Number(number),
                _ => return None,
            },
            _ => return None,
        })
    }

    fn with<R>(&self, use_it: impl FnOnce(&Val<'_>) -> R) -> R {
        match self {
            Operand::Boolean(value) => use_it(&Val::Bool(*value)),
            Operand::Number(number) => use_it(&Val::from_json(&Value::Number(number.clone()))),
            Operand::Text(text) => use_it(&Val::text(text.clone())),
            Operand::Date(date) => use_it(&Val::Date(*date)),
            Operand::Moment(moment) => use_it(&Val::Moment(*moment)),
        }
    }
}

impl Filter {
    /// Compiles a predicate over a record: CEL, or the SQL-like form of older apps
    /// (`owner = current_user.id AND stage IN ('a', 'b')`).
    ///
    /// One side of a comparison is a field (bare, or below `record`), the other anything that does not
    /// depend on the record; joined by `&&`, `||` and `!`. Tests of texts, `in`, null tests, `has`
    /// and boolean fields are understood.
    ///
    /// # Errors
    ///
    /// When the text is neither, or cannot be translated; then nothing may match.
    pub fn compile(source: &str) -> Result<Filter, CompileError> {
        let program =
            Program::compile(source).or_else(|error| match sql_like::rewrite(source) {
                Some(rewritten) => Program::compile(&rewritten).map_err(|_| error),
                None => Err(error),
            })?;
        let tree = translate(program.root()).map_err(|node| CompileError {
            position: Position::of(program.source(), node.at),
            message: "this cannot be translated to a filter; compare fields with values, and join \
                      by &&, || and !"
                .to_owned(),
        })?;
        Ok(Filter { program, tree })
    }

    /// The program it was compiled from, which gives the same answer on a record at hand.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Puts in what the scope knows. What the scope has for the record itself is not looked at.
    #[must_use]
    pub fn bind(&self, scope: &Scope<'_>) -> Predicate {
        bind(&self.tree, scope)
    }
}

/// Whether anything below reads the record.
fn reads_record(node: &Node) -> bool {
    reads(node, &mut Vec::new())
}

fn reads<'n>(node: &'n Node, variables: &mut Vec<&'n str>) -> bool {
    if let Some(names) = path(node) {
        let is_variable = names.first().is_some_and(|root| variables.contains(root));
        let is_previous = names.first() == Some(&"previous");
        return !is_variable && (is_previous || below_record(&names).is_some());
    }
    if let Kind::Loop(inner) = &node.kind {
        if reads(&inner.range, variables) {
            return true;
        }
        variables.push(&inner.variable);
        let mut parts = inner.condition.iter().chain([&inner.body]);
        let found = parts.any(|part| reads(part, variables));
        variables.pop();
        return found;
    }
    node.children()
        .into_iter()
        .any(|child| reads(child, variables))
}

/// The field that a node reads, if it is just that.
fn field(node: &Node) -> Option<Vec<String>> {
    let names = below_record(&path(node)?)?;
    let plain = !matches!(node.kind, Kind::Has(..)) && !names.is_empty() && names.len() <= 2;
    plain.then(|| names.into_iter().map(str::to_owned).collect())
}

fn is_null(node: &Node) -> bool {
    matches!(node.kind, Kind::Literal(Literal::Null))
}

fn translate(node: &Node) -> Result<Tree, &Node> {
    if !reads_record(node) {
        return Ok(Tree::Given(node.clone()));
    }
    if let Some(field) = field(node) {
        let yes = Node {
            at: node.at,
            kind: Kind::Literal(Literal::Bool(true)),
        };
        return Ok(Tree::Compare(field, Comparison::Equal, yes));
    }
    match &node.kind {
        Kind::And(left, right) => Ok(Tree::And(
            Box::new(translate(left)?),
            Box::new(translate(right)?),
        )),
        Kind::Or(left, right) => Ok(Tree::Or(
            Box::new(translate(left)?),
            Box::new(translate(right)?),
        )),
        Kind::Not(operand) => Ok(Tree::Not(Box::new(translate(operand)?))),
        Kind::Has(operand, name) => {
            let select = Node {
                at: node.at,
                kind: Kind::Select(operand.clone(), name.clone()),
            };
            let field = field(&select).ok_or(node)?;
            Ok(Tree::Not(Box::new(Tree::IsNull(field))))
        }
        Kind::Compare(comparison, left, right) => {
            let (name, comparison, value) = match (field(left), field(right)) {
                (Some(name), None) => (name, *comparison, right),
                (None, Some(name)) => (name, comparison.mirrored(), left),
                _ => return Err(node),
            };
            if reads_record(value) {
                return Err(value);
            }
            if !is_null(value) {
                return Ok(Tree::Compare(name, comparison, value.as_ref().clone()));
            }
            match comparison {
                Comparison::Equal => Ok(Tree::IsNull(name)),
                Comparison::NotEqual => Ok(Tree::Not(Box::new(Tree::IsNull(name)))),
                _ => Err(node),
            }
        }
        Kind::In(item, list) => {
            if let Some(field) = field(list)
                && !reads_record(item)
                && !is_null(item)
            {
                return Ok(Tree::Includes(field, item.as_ref().clone()));
            }
            let field = field(item).ok_or(node)?;
            let has_null = matches!(&list.kind, Kind::List(items) if items.iter().any(is_null));
            if reads_record(list) || has_null {
                return Err(list);
            }
            Ok(Tree::In(field, list.as_ref().clone()))
        }
        Kind::Call(function, arguments) => {
            let test = match function {
                Function::StartsWith => TextTest::StartsWith,
                Function::EndsWith => TextTest::EndsWith,
                Function::Contains => TextTest::Contains,
                _ => return Err(node),
            };
            let [text, part] = arguments.as_slice() else {
                return Err(node);
            };
            let field = field(text).ok_or(node)?;
            if reads_record(part) {
                return Err(part);
            }
            Ok(Tree::Text(test, field, part.clone()))
        }
        _ => Err(node),
    }
}

fn bind(tree: &Tree, scope: &Scope<'_>) -> Predicate {
    match tree {
        Tree::Given(node) => match evaluate_node(node, scope) {
            Ok(Val::Bool(true)) => Predicate::True,
            Ok(Val::Bool(false) | Val::Null) => Predicate::False,
            _ => Predicate::Unknown,
        },
        Tree::And(left, right) => match (bind(left, scope), bind(right, scope)) {
            (Predicate::False, _) | (_, Predicate::False) => Predicate::False,
            (Predicate::True, other) | (other, Predicate::True) => other,
            (left, right) => Predicate::And(vec![left, right]),
        },
        Tree::Or(left, right) => match (bind(left, scope), bind(right, scope)) {
            (Predicate::True, _) | (_, Predicate::True) => Predicate::True,
            (Predicate::False, other) | (other, Predicate::False) => other,
            (left, right) => Predicate::Or(vec![left, right]),
        },
        Tree::Not(inner) => match bind(inner, scope) {
            Predicate::True => Predicate::False,
            Predicate::False => Predicate::True,
            Predicate::Unknown => Predicate::Unknown,
            other => Predicate::Not(Box::new(other)),
        },
        Tree::Compare(path, comparison, node) => match operand(node, scope) {
            Some(value) => Predicate::Compare {
                path: path.clone(),
                comparison: *comparison,
                value,
            },
            None => Predicate::Unknown,
        },
        Tree::In(path, node) => {
            let items = evaluate_node(node, scope)
                .ok()
                .and_then(|list| list.items());
            let literal = matches!(node.kind, Kind::List(_));
            let values = items.map(|items| {
                let missing = |value: &Val<'_>| matches!(value, Val::Null);
                let kept = items.into_iter().filter(|value| !missing(value));
                kept.map(Operand::from_value).collect::<Option<Vec<_>>>()
            });
            match values.flatten() {
                Some(values) if !values.is_empty() => Predicate::In {
                    path: path.clone(),
                    values,
                },
                Some(_) if literal && matches!(&node.kind, Kind::List(all) if all.is_empty()) => {
                    Predicate::False
                }
                _ => Predicate::Unknown,
            }
        }
        Tree::Includes(path, node) => match operand(node, scope) {
            Some(value) => Predicate::Includes {
                path: path.clone(),
                value,
            },
            None => Predicate::Unknown,
        },
        Tree::Text(test, path, node) => match evaluate_node(node, scope) {
            Ok(Val::Text(part)) if !blank(&Val::Text(part.clone()), node) => Predicate::Text {
                path: path.clone(),
                test: *test,
                part: part.to_string(),
            },
            _ => Predicate::Unknown,
        },
        Tree::IsNull(path) => Predicate::IsNull { path: path.clone() },
    }
}

/// The value to compare with, unless it is missing or no scalar.
fn operand(node: &Node, scope: &Scope<'_>) -> Option<Operand> {
    let value = evaluate_node(node, scope).ok()?;
    if blank(&value, node) {
        return None;
    }
    Operand::from_value(value)
}

/// Whether a value is missing: null, or an empty text that nobody wrote into the predicate.
fn blank(value: &Val<'_>, node: &Node) -> bool {
    match value {
        Val::Null => true,
        Val::Text(text) => text.is_empty() && !matches!(node.kind, Kind::Literal(_)),
        _ => false,
    }
}

impl Predicate {
    /// The answer for a record at hand; none where it is unknown, which is no match.
    #[must_use]
    pub fn matches(&self, record: &Value) -> Option<bool> {
        match self {
            Predicate::True => Some(true),
            Predicate::False => Some(false),
            Predicate::Unknown => None,
            Predicate::And(parts) => decide(parts, record, false),
            Predicate::Or(parts) => decide(parts, record, true),
            Predicate::Not(inner) => inner.matches(record).map(|held| !held),
            Predicate::Compare {
                path,
                comparison,
                value,
            } => {
                let found = find(record, path);
                value.with(|value| value::compare(*comparison, &found, value).ok())
            }
            Predicate::In { path, values } => {
                let found = find(record, path);
                let equals = |value: &Operand| value.with(|value| value::equal(&found, value));
                Some(values.iter().any(equals))
            }
            Predicate::Includes { path, value } => {
                let found = find(record, path);
                let items = match found {
                    Val::Null => return Some(false),
                    found => found.items()?,
                };
                Some(
                    items
                        .iter()
                        .any(|item| value.with(|value| value::equal(item, value))),
                )
            }
            Predicate::Text { path, test, part } => match find(record, path) {
                list @ Val::Json(Value::Array(_)) if *test == TextTest::Contains => {
                    let part = Val::text(part.clone());
                    Some(list.items()?.iter().any(|item| value::equal(item, &part)))
                }
                Val::Text(text) => Some(match test {
                    TextTest::StartsWith => text.starts_with(part),
                    TextTest::EndsWith => text.ends_with(part),
                    TextTest::Contains => text.contains(part),
                }),
                _ => None,
            },
            Predicate::IsNull { path } => Some(matches!(find(record, path), Val::Null)),
        }
    }
}

fn decide(parts: &[Predicate], record: &Value, decisive: bool) -> Option<bool> {
    let mut answer = Some(!decisive);
    for part in parts {
        match part.matches(record) {
            Some(held) if held == decisive => return Some(decisive),
            Some(_) => {}
            None => answer = None,
        }
    }
    answer
}

fn find<'r>(record: &'r Value, path: &[String]) -> Val<'r> {
    let found = path
        .iter()
        .try_fold(record, |value, name| value.get(name.as_str()));
    found.map_or(Val::Null, Val::from_json)
}
