//! From text to a checked program.

use std::{collections::BTreeSet, sync::Arc};

use cel::{
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators,
    },
    parser::{Expression, Parser},
};
use regex::{Regex, RegexBuilder};

use crate::{
    error::{CompileError, Position},
    function::{self, Function},
    node::{Comparison, Kind, Literal, Loop, LoopKind, Node, Operator},
    references::{self, References},
    value,
};

/// Longest expression, in bytes. (The parser's time grows faster than the text.)
pub const SOURCE_MAX: usize = 4096;
/// Deepest nesting of an expression, a chain of operators included.
pub const DEPTH_MAX: usize = 128;
/// Deepest nesting of `map`, `filter`, `all`, `exists`, `exists_one` in each other.
pub const LOOPS_MAX: usize = 2;
/// Longest regular expression, in bytes.
pub(crate) const PATTERN_MAX: usize = 1024;
/// Largest compiled regular expression, in bytes.
const PATTERN_MEMORY_MAX: usize = 1 << 19;

/// A compiled expression. Cheap to clone, and the same for every evaluation.
#[derive(Debug, Clone)]
pub struct Program {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: String,
    root: Node,
    references: References,
}

impl Program {
    /// Compiles CEL.
    ///
    /// # Errors
    ///
    /// When the text does not parse, calls a function that there is not or with another number of
    /// arguments, or is beyond [`SOURCE_MAX`], [`DEPTH_MAX`] or [`LOOPS_MAX`].
    pub fn compile(source: &str) -> Result<Program, CompileError> {
        let fault = |offset, message: String| CompileError {
            position: Position::of(source, offset),
            message,
        };
        if source.len() > SOURCE_MAX {
            return Err(fault(
                0,
                format!(
                    "the expression has {} bytes; at most {SOURCE_MAX} are allowed",
                    source.len()
                ),
            ));
        }
        if source.trim().is_empty() {
            return Err(fault(0, "the expression is empty".to_owned()));
        }
        let (expression, info) = Parser::new()
            .max_recursion_depth(96)
            .error_recovery_limit(1)
            .parse_with_source_info(source)
            .map_err(|errors| parse_error(source, &errors))?;
        let mut lowering = Lowering {
            info: &info,
            depth: 0,
            loops: Vec::new(),
        };
        let root = lowering
            .lower(&expression)
            .map_err(|(offset, message)| fault(offset, message))?;
        let references = references::collect(&root);
        Ok(Program {
            inner: Arc::new(Inner {
                source: source.to_owned(),
                root,
                references,
            }),
        })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// What the expression reads.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.inner.references
    }

    /// Every name and path that occurs, as written: `amount`, `record.owner`, `os.user.id`.
    #[must_use]
    pub fn paths(&self) -> &BTreeSet<String> {
        &self.inner.references.paths
    }

    pub(crate) fn root(&self) -> &Node {
        &self.inner.root
    }

    pub(crate) fn position(&self, offset: u32) -> Position {
        Position::of(&self.inner.source, offset)
    }
}

/// The first complaint of the parser, in one line.
fn parse_error(source: &str, errors: &cel::ParseErrors) -> CompileError {
    let first = errors
        .errors
        .iter()
        .find(|error| error.pos != (0, 0))
        .or(errors.errors.first());
    let (position, message) = match first {
        Some(error) => (error.pos, error.msg.as_str()),
        None => ((1, 1), "the expression does not parse"),
    };
    let at_least_one = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    let message = match message.split_once(" expecting ") {
        // The list of everything that could stand here helps nobody.
        Some((problem, expected)) if expected.len() > 40 => problem,
        _ => message,
    };
    CompileError {
        position: Position {
            line: at_least_one(position.0),
            column: at_least_one(position.1).min(source.chars().count() + 1),
        },
        message: message.lines().next().unwrap_or_default().to_owned(),
    }
}

/// A regular expression within its bounds.
pub(crate) fn regex(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_MAX {
        return Err(format!(
            "the pattern has {} bytes; at most {PATTERN_MAX} are allowed",
            pattern.len()
        ));
    }
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_MEMORY_MAX)
        .dfa_size_limit(PATTERN_MEMORY_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too big".to_owned(),
            other => format!(
                "not a regular expression: {}",
                other.to_string().lines().last().unwrap_or_default()
            ),
        })
}

type Fault = (u32, String);

/// Turns the parser's tree into ours, and refuses what has no meaning here.
struct Lowering<'s> {
    info: &'s SourceInfo,
    depth: usize,
    /// The accumulators' and loops' variables in scope.
    loops: Vec<String>,
}

impl Lowering<'_> {
    fn at(&self, expression: &Expression) -> u32 {
        self.info
            .offset_for(expression.id)
            .map_or(0, |(start, _)| start)
    }

    fn lower(&mut self, expression: &Expression) -> Result<Node, Fault> {
        let at = self.at(expression);
        if self.depth >= DEPTH_MAX {
            return Err((
                at,
                format!("nested more than {DEPTH_MAX} deep; split the expression"),
            ));
        }
        self.depth += 1;
        let kind = self.kind(expression, at);
        self.depth -= 1;
        Ok(Node { at, kind: kind? })
    }

    fn boxed(&mut self, expression: &Expression) -> Result<Box<Node>, Fault> {
        self.lower(expression).map(Box::new)
    }

    fn all(&mut self, expressions: &[Expression]) -> Result<Vec<Node>, Fault> {
        expressions
            .iter()
            .map(|expression| self.lower(expression))
            .collect()
    }

    fn kind(&mut self, expression: &Expression, at: u32) -> Result<Kind, Fault> {
        Ok(match &expression.expr {
            Expr::Literal(literal) => Kind::Literal(lower_literal(literal).map_err(|m| (at, m))?),
            Expr::Ident(name) => Kind::Name(name.trim_start_matches('.').to_owned()),
            Expr::Select(select) if select.test => {
                Kind::Has(self.boxed(&select.operand)?, select.field.clone())
            }
            Expr::Select(select) => {
                Kind::Select(self.boxed(&select.operand)?, select.field.clone())
            }
            Expr::List(list) => Kind::List(self.all(&list.elements)?),
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err((at, "only maps can be built".to_owned()));
                    };
                    entries.push((self.lower(&entry.key)?, self.lower(&entry.value)?));
                }
                Kind::Map(entries)
            }
            Expr::Call(call) => self.call(call, at)?,
            Expr::Comprehension(inner) => self.comprehension(inner, at)?,
            Expr::Struct(_) => return Err((at, "messages cannot be built here".to_owned())),
            Expr::Unspecified => return Err((at, "something is missing here".to_owned())),
        })
    }

    fn call(&mut self, call: &CallExpr, at: u32) -> Result<Kind, Fault> {
        let name = call.func_name.as_str();
        if call.target.is_none()
            && let Some(kind) = self.operator(name, &call.args)?
        {
            return Ok(kind);
        }
        let mut arguments = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = &call.target {
            arguments.push(self.lower(target)?);
        }
        arguments.extend(self.all(&call.args)?);
        let Some(function) = Function::named(name) else {
            return Err((at, function::unknown(name)));
        };
        function
            .check_count(name, arguments.len(), call.target.is_some())
            .map_err(|message| (at, message))?;
        if function == Function::Matches
            && let Some(Node {
                at,
                kind: Kind::Literal(Literal::Text(pattern)),
            }) = arguments.get(1)
        {
            let pattern = regex(pattern).map_err(|message| (*at, message))?;
            return Ok(Kind::Matches(Box::new(arguments.swap_remove(0)), pattern));
        }
        Ok(Kind::Call(function, arguments))
    }

    fn operator(&mut self, name: &str, arguments: &[Expression]) -> Result<Option<Kind>, Fault> {
        let comparison = match name {
            operators::EQUALS => Some(Comparison::Equal),
            operators::NOT_EQUALS => Some(Comparison::NotEqual),
            operators::LESS => Some(Comparison::Less),
            operators::LESS_EQUALS => Some(Comparison::LessOrEqual),
            operators::GREATER => Some(Comparison::Greater),
            operators::GREATER_EQUALS => Some(Comparison::GreaterOrEqual),
            _ => None,
        };
        let arithmetic = match name {
            operators::ADD => Some(Operator::Add),
            operators::SUBSTRACT => Some(Operator::Subtract),
            operators::MULTIPLY => Some(Operator::Multiply),
            operators::DIVIDE => Some(Operator::Divide),
            operators::MODULO => Some(Operator::Remainder),
            _ => None,
        };
        Ok(Some(match (name, arguments) {
            (_, [left, right]) if comparison.is_some() => Kind::Compare(
                comparison.unwrap_or(Comparison::Equal),
                self.boxed(left)?,
                self.boxed(right)?,
            ),
            (_, [left, right]) if arithmetic.is_some() => Kind::Arithmetic(
                arithmetic.unwrap_or(Operator::Add),
                self.boxed(left)?,
                self.boxed(right)?,
            ),
            (operators::LOGICAL_AND, [left, right]) => {
                Kind::And(self.boxed(left)?, self.boxed(right)?)
            }
            (operators::LOGICAL_OR, [left, right]) => {
                Kind::Or(self.boxed(left)?, self.boxed(right)?)
            }
            (operators::IN, [left, right]) => Kind::In(self.boxed(left)?, self.boxed(right)?),
            (operators::INDEX, [left, right]) => Kind::Index(self.boxed(left)?, self.boxed(right)?),
            (operators::LOGICAL_NOT, [operand]) => Kind::Not(self.boxed(operand)?),
            (operators::NEGATE, [operand]) => Kind::Negate(self.boxed(operand)?),
            (operators::CONDITIONAL, [condition, yes, no]) => Kind::Choose(Box::new([
                self.lower(condition)?,
                self.lower(yes)?,
                self.lower(no)?,
            ])),
            _ => return Ok(None),
        }))
    }

    /// The macros of the standard library, told apart by the step they expand to.
    fn comprehension(&mut self, inner: &ComprehensionExpr, at: u32) -> Result<Kind, Fault> {
        if self.loops.len() >= LOOPS_MAX {
            return Err((
                at,
                format!("loops nested more than {LOOPS_MAX} deep; split the expression"),
            ));
        }
        let range = self.lower(&inner.iter_range)?;
        let is_accumulator =
            |node: &Expression| matches!(&node.expr, Expr::Ident(name) if *name == inner.accu_var);
        let step = |name: &str, node: &Expression| match &node.expr {
            Expr::Call(call) if call.func_name == name && call.target.is_none() => {
                Some(call.args.clone())
            }
            _ => None,
        };
        let unknown = || (at, "this macro is not supported".to_owned());
        let add = |node: &Expression| -> Option<Expression> {
            match step(operators::ADD, node)?.as_slice() {
                [accumulator, added] if is_accumulator(accumulator) => Some(added.clone()),
                _ => None,
            }
        };
        let (kind, condition, body) =
            if let Some(arguments) = step(operators::LOGICAL_OR, &inner.loop_step) {
                let body = arguments.into_iter().nth(1).ok_or_else(unknown)?;
                (LoopKind::Any, None, body)
            } else if let Some(arguments) = step(operators::LOGICAL_AND, &inner.loop_step) {
                let body = arguments.into_iter().nth(1).ok_or_else(unknown)?;
                (LoopKind::All, None, body)
            } else if let Some(arguments) = step(operators::CONDITIONAL, &inner.loop_step) {
                let [condition, added, _]: [Expression; 3] =
                    arguments.try_into().map_err(|_| unknown())?;
                match add(&added).map(|added| added.expr) {
                    Some(Expr::List(list)) => {
                        let element = list.elements.into_iter().next().ok_or_else(unknown)?;
                        (LoopKind::Collect, Some(condition), element)
                    }
                    Some(_) => (LoopKind::ExactlyOne, None, condition),
                    None => return Err(unknown()),
                }
            } else {
                match add(&inner.loop_step).map(|added| added.expr) {
                    Some(Expr::List(list)) => {
                        let element = list.elements.into_iter().next().ok_or_else(unknown)?;
                        (LoopKind::Collect, None, element)
                    }
                    _ => return Err(unknown()),
                }
            };
        self.loops.push(inner.iter_var.clone());
        let condition = condition.map(|node| self.lower(&node)).transpose();
        let body = self.lower(&body);
        self.loops.pop();
        Ok(Kind::Loop(Box::new(Loop {
            kind,
            range,
            variable: inner.iter_var.clone(),
            condition: condition?,
            body: body?,
        })))
    }
}

fn lower_literal(literal: &LiteralValue) -> Result<Literal, String> {
    Ok(match literal {
        LiteralValue::Null => Literal::Null,
        LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
        LiteralValue::Int(value) => Literal::Int(*value.inner()),
        LiteralValue::UInt(value) => Literal::Int(
            i64::try_from(*value.inner()).map_err(|_| "the number is too large".to_owned())?,
        ),
        LiteralValue::Double(value) => {
            let value = *value.inner();
            value::decimal(value).map_or(Literal::Double(value), Literal::Number)
        }
        LiteralValue::String(value) => Literal::Text(value.inner().to_owned()),
        LiteralValue::Bytes(_) => return Err("bytes are not supported".to_owned()),
    })
}
