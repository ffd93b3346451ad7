//! Walks a program over a scope, within a budget.

use std::rc::Rc;

use serde_json::Value;
use time::{Date, OffsetDateTime};

use crate::{
    error::{EvalError, EvalErrorKind},
    moment::{format_date, format_moment, parse_date, parse_moment},
    node::{Comparison, Kind, Loop, LoopKind, Node, Operator},
    program::Program,
    scope::{Scope, VIEWS},
    value::{self, Val, mismatch},
};

/// Most steps of an evaluation: nodes visited and items looped over, some 10 ms in all.
const STEPS_MAX: usize = 200_000;
/// Most bytes of text that an evaluation may build.
const BYTES_MAX: usize = 1 << 20;

/// The type a result must have; see [`Program::evaluate_as`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultType {
    /// A number.
    Number,
    /// A text; numbers, booleans, dates and moments are written out.
    Text,
    /// `true` or `false`.
    Boolean,
    /// `YYYY-MM-DD`; a moment is cut to its day in UTC.
    Date,
    /// RFC 3339 in UTC with milliseconds; a date is its midnight.
    Moment,
}

impl Program {
    /// The value over a scope, as JSON: dates as `YYYY-MM-DD`, moments in RFC 3339 with
    /// milliseconds, durations in seconds.
    ///
    /// # Errors
    ///
    /// When the expression has no value for this data, or is beyond its budget.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        self.run(scope).map(Val::into_json)
    }

    /// The value over a scope, brought to a type: what a formula with `returnType`, a default or
    /// a seed needs. Null stays null.
    ///
    /// # Errors
    ///
    /// As [`Program::evaluate`], and when the result has no form of that type.
    pub fn evaluate_as(&self, scope: &Scope<'_>, wanted: ResultType) -> Result<Value, EvalError> {
        let result = self.run(scope)?;
        let got = result.type_name();
        let fault = |wanted| self.fault(self.root().at, EvalErrorKind::Result { wanted, got });
        Ok(match (wanted, result) {
            (_, Val::Null) => Value::Null,
            (ResultType::Boolean, value @ Val::Bool(_))
            | (ResultType::Number, value @ (Val::Int(_) | Val::Number(_) | Val::Double(_)))
            | (ResultType::Text, value @ Val::Text(_)) => value.into_json(),
            (ResultType::Number, value @ Val::Duration(_)) => value.into_json(),
            (ResultType::Text, value) => match value::to_text(&value) {
                Some(text) => Value::String(text),
                None => return Err(fault("a text")),
            },
            (ResultType::Date, value) => match as_date(&value) {
                Some(date) => Value::String(format_date(date)),
                None => return Err(fault("a date")),
            },
            (ResultType::Moment, value) => match as_moment(&value) {
                Some(moment) => Value::String(format_moment(moment)),
                None => return Err(fault("a moment")),
            },
            (ResultType::Boolean, _) => return Err(fault("a boolean")),
            (ResultType::Number, _) => return Err(fault("a number")),
        })
    }

    /// Whether a condition holds. Null counts as false.
    ///
    /// # Errors
    ///
    /// As [`Program::evaluate`], and when the result is neither a boolean nor null. What that means
    /// is the caller's to say: a rule that could not be checked must not mean "allowed".
    pub fn holds(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        let value = self.evaluate_as(scope, ResultType::Boolean)?;
        Ok(value == Value::Bool(true))
    }

    fn run<'r>(&'r self, scope: &'r Scope<'_>) -> Result<Val<'r>, EvalError> {
        evaluate_node(self.root(), scope).map_err(|(at, kind)| self.fault(at, kind))
    }

    fn fault(&self, at: u32, kind: EvalErrorKind) -> EvalError {
        EvalError {
            position: self.position(at),
            kind,
        }
    }
}

fn as_date(value: &Val<'_>) -> Option<Date> {
    match value {
        Val::Date(date) => Some(*date),
        Val::Moment(moment) => Some(moment.to_offset(time::UtcOffset::UTC).date()),
        Val::Text(text) => {
            parse_date(text).or_else(|| parse_moment(text).map(OffsetDateTime::date))
        }
        _ => None,
    }
}

fn as_moment(value: &Val<'_>) -> Option<OffsetDateTime> {
    value.as_moment()
}

type Fault = (u32, EvalErrorKind);

/// The value of an expression or a part of one, with a budget of its own.
pub(crate) fn evaluate_node<'r>(node: &'r Node, scope: &'r Scope<'_>) -> Result<Val<'r>, Fault> {
    let mut run = Run {
        scope,
        steps: STEPS_MAX,
        bytes: BYTES_MAX,
        variables: Vec::new(),
    };
    let value = run.node(node)?;
    run.charge(&value).map_err(|kind| (node.at, kind))?;
    Ok(value)
}

/// One evaluation.
pub(crate) struct Run<'r> {
    pub(crate) scope: &'r Scope<'r>,
    steps: usize,
    bytes: usize,
    /// Variables of the loops around, innermost last.
    variables: Vec<(&'r str, Val<'r>)>,
}

impl<'r> Run<'r> {
    /// Takes steps out of the budget.
    pub(crate) fn step(&mut self, steps: usize) -> Result<(), EvalErrorKind> {
        self.steps = self
            .steps
            .checked_sub(steps)
            .ok_or(EvalErrorKind::Budget("200,000 steps"))?;
        Ok(())
    }

    /// Takes the memory of a text out of the budget.
    pub(crate) fn text(&mut self, text: String) -> Result<Val<'r>, EvalErrorKind> {
        self.memory(text.len())?;
        Ok(Val::text(text))
    }

    /// Takes memory out of the budget, best before it is used.
    pub(crate) fn memory(&mut self, bytes: usize) -> Result<(), EvalErrorKind> {
        self.bytes = self
            .bytes
            .checked_sub(bytes)
            .ok_or(EvalErrorKind::Budget("1 MiB of text"))?;
        Ok(())
    }

    fn node(&mut self, node: &'r Node) -> Result<Val<'r>, Fault> {
        let at = |kind| (node.at, kind);
        self.step(1).map_err(at)?;
        match &node.kind {
            Kind::Literal(literal) => Ok(Val::from_literal(literal)),
            Kind::Name(name) => self.name(name).map_err(at),
            Kind::Select(operand, field) => {
                let operand = self.node(operand)?;
                self.select(&operand, field).map_err(at)
            }
            Kind::Has(operand, field) => {
                let operand = self.node(operand)?;
                let found = self.select(&operand, field).map_err(at)?;
                Ok(Val::Bool(!matches!(found, Val::Null)))
            }
            Kind::Index(operand, index) => {
                let (operand, index) = (self.node(operand)?, self.node(index)?);
                self.index(&operand, &index).map_err(at)
            }
            Kind::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.node(item)).collect();
                Ok(Val::list(items?))
            }
            Kind::Map(entries) => {
                let mut map: Vec<(String, Val<'r>)> = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let key = self.node(key)?;
                    let Some(key) = value::to_text(&key) else {
                        return Err(at(mismatch("a key", &[&key])));
                    };
                    let value = self.node(value)?;
                    map.push((key, value));
                }
                Ok(Val::Map(Rc::new(map)))
            }
            Kind::Not(operand) => Ok(Val::Bool(!self.truth(operand, "!")?)),
            Kind::Negate(operand) => {
                let operand = self.node(operand)?;
                if matches!(operand, Val::Null) {
                    return Err(at(mismatch("-", &[&operand])));
                }
                let zero = Val::Int(0);
                value::arithmetic(Operator::Subtract, &zero, &operand).map_err(at)
            }
            Kind::And(left, right) => self.both(left, right, "&&", false),
            Kind::Or(left, right) => self.both(left, right, "||", true),
            Kind::Choose(parts) => {
                let [condition, yes, no] = parts.as_ref();
                if self.truth(condition, "? :")? {
                    self.node(yes)
                } else {
                    self.node(no)
                }
            }
            Kind::Arithmetic(operator, left, right) => {
                let (left, right) = (self.node(left)?, self.node(right)?);
                self.arithmetic(*operator, left, right).map_err(at)
            }
            Kind::Compare(comparison, left, right) => {
                let (left, right) = (self.node(left)?, self.node(right)?);
                self.compare(*comparison, &left, &right).map_err(at)
            }
            Kind::In(item, list) => {
                let (item, list) = (self.node(item)?, self.node(list)?);
                self.contains(&item, &list).map_err(at)
            }
            Kind::Call(function, arguments) => {
                let arguments: Result<Vec<_>, _> = arguments
                    .iter()
                    .map(|argument| self.node(argument))
                    .collect();
                function.call(self, arguments?).map_err(at)
            }
            Kind::Matches(text, pattern) => {
                let text = self.node(text)?;
                let Val::Text(text) = text else {
                    return Err(at(mismatch("matches", &[&text])));
                };
                self.step(text.len() / 16).map_err(at)?;
                Ok(Val::Bool(pattern.is_match(&text)))
            }
            Kind::Loop(inner) => self.repeat(inner, node.at),
        }
    }

    /// A value as a condition: null is false.
    fn truth(&mut self, node: &'r Node, operator: &str) -> Result<bool, Fault> {
        match self.node(node)? {
            Val::Bool(value) => Ok(value),
            Val::Null => Ok(false),
            other => Err((node.at, mismatch(operator, &[&other]))),
        }
    }

    /// `&&` and `||`: the side that decides alone does so whichever it is, and whatever the other.
    fn both(
        &mut self,
        left: &'r Node,
        right: &'r Node,
        operator: &str,
        decisive: bool,
    ) -> Result<Val<'r>, Fault> {
        let left = self.truth(left, operator);
        if left == Ok(decisive) || matches!(left, Err((_, EvalErrorKind::Budget(_)))) {
            return left.map(Val::Bool);
        }
        let right = self.truth(right, operator)?;
        if right == decisive {
            return Ok(Val::Bool(right));
        }
        left.map(Val::Bool)
    }

    fn name(&self, name: &str) -> Result<Val<'r>, EvalErrorKind> {
        let variable = self
            .variables
            .iter()
            .rev()
            .find(|(known, _)| *known == name);
        if let Some((_, value)) = variable {
            return Ok(value.clone());
        }
        if VIEWS.contains(&name) && self.scope.root(name).is_none() {
            return Ok(Val::Roots);
        }
        match self.scope.name(name) {
            Some(found) => Ok(found.map_or(Val::Null, Val::from_json)),
            None => Err(EvalErrorKind::UnknownName(name.to_owned())),
        }
    }

    /// A field of a map; null where there is none, also of null.
    fn select(&self, operand: &Val<'r>, field: &str) -> Result<Val<'r>, EvalErrorKind> {
        Ok(match operand {
            Val::Null => Val::Null,
            Val::Map(_) | Val::Json(Value::Object(_)) => operand.get(field).unwrap_or(Val::Null),
            Val::Roots => self
                .scope
                .root(field)
                .flatten()
                .map_or(Val::Null, Val::from_json),
            other => return Err(mismatch(&format!(".{field}"), &[other])),
        })
    }

    fn index(&mut self, operand: &Val<'r>, index: &Val<'r>) -> Result<Val<'r>, EvalErrorKind> {
        if let Val::Text(field) = index {
            return self.select(operand, field);
        }
        let Some(position) = index.as_i64() else {
            return Err(mismatch("[]", &[operand, index]));
        };
        let item = usize::try_from(position).ok();
        let found = match operand {
            Val::Null => return Ok(Val::Null),
            Val::List(items) => item.and_then(|item| items.get(item).cloned()),
            Val::Json(Value::Array(items)) => {
                item.and_then(|item| items.get(item)).map(Val::from_json)
            }
            _ => return Err(mismatch("[]", &[operand, index])),
        };
        found.ok_or(EvalErrorKind::NoItem(position.to_string()))
    }

    fn arithmetic(
        &mut self,
        operator: Operator,
        left: Val<'r>,
        right: Val<'r>,
    ) -> Result<Val<'r>, EvalErrorKind> {
        if operator == Operator::Add {
            match (&left, &right) {
                (Val::Text(left), Val::Text(right)) => {
                    self.memory(left.len() + right.len())?;
                    return Ok(Val::text([&**left, &**right].concat()));
                }
                (Val::List(_) | Val::Json(Value::Array(_)), _) => {
                    let items = left.items().zip(right.items());
                    let Some((mut items, more)) = items else {
                        return Err(mismatch("+", &[&left, &right]));
                    };
                    self.step(items.len() + more.len())?;
                    items.extend(more);
                    return Ok(Val::list(items));
                }
                _ => {}
            }
        }
        value::arithmetic(operator, &left, &right)
    }

    /// Charges for comparing what is large.
    fn compare(
        &mut self,
        comparison: Comparison,
        left: &Val<'r>,
        right: &Val<'r>,
    ) -> Result<Val<'r>, EvalErrorKind> {
        self.charge(left)?;
        self.charge(right)?;
        value::compare(comparison, left, right).map(Val::Bool)
    }

    /// Takes the cost of comparing or copying a value out of the budget.
    pub(crate) fn charge(&mut self, value: &Val<'r>) -> Result<(), EvalErrorKind> {
        self.step(value::weight(value, STEPS_MAX) - 1)
    }

    fn contains(&mut self, item: &Val<'r>, list: &Val<'r>) -> Result<Val<'r>, EvalErrorKind> {
        if matches!(list, Val::Null) {
            return Ok(Val::Bool(false));
        }
        self.charge(list)?;
        self.charge(item)?;
        match list.items() {
            Some(items) => Ok(Val::Bool(
                items.iter().any(|found| value::equal(found, item)),
            )),
            None => Err(mismatch("in", &[item, list])),
        }
    }

    fn repeat(&mut self, inner: &'r Loop, at: u32) -> Result<Val<'r>, Fault> {
        let range = self.node(&inner.range)?;
        let items = match &range {
            Val::Null => Vec::new(),
            other => {
                self.step(other.size().unwrap_or(0))
                    .map_err(|kind| (at, kind))?;
                other
                    .items()
                    .ok_or_else(|| (at, mismatch("a loop", &[other])))?
            }
        };
        let mut collected = Vec::new();
        let mut held = 0_usize;
        let mut failed = None;
        for item in items {
            self.variables.push((&inner.variable, item));
            let outcome = self.iteration(inner);
            self.variables.pop();
            match (inner.kind, outcome) {
                (LoopKind::Collect, outcome) => collected.extend(outcome?),
                (LoopKind::All, Ok(Some(Val::Bool(false)))) => return Ok(Val::Bool(false)),
                (LoopKind::Any, Ok(Some(Val::Bool(true)))) => return Ok(Val::Bool(true)),
                (LoopKind::ExactlyOne, outcome) => {
                    held += usize::from(matches!(outcome?, Some(Val::Bool(true))));
                }
                (_, Ok(_)) => {}
                // A later item may still decide, as with `&&` and `||`.
                (_, Err(fault)) if matches!(fault.1, EvalErrorKind::Budget(_)) => {
                    return Err(fault);
                }
                (_, Err(fault)) => failed = Some(fault),
            }
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        Ok(match inner.kind {
            LoopKind::Collect => Val::list(collected),
            LoopKind::All => Val::Bool(true),
            LoopKind::Any => Val::Bool(false),
            LoopKind::ExactlyOne => Val::Bool(held == 1),
        })
    }

    fn iteration(&mut self, inner: &'r Loop) -> Result<Option<Val<'r>>, Fault> {
        if let Some(condition) = &inner.condition
            && !self.truth(condition, "a loop")?
        {
            return Ok(None);
        }
        match inner.kind {
            LoopKind::Collect => self.node(&inner.body).map(Some),
            _ => Ok(Some(Val::Bool(self.truth(&inner.body, "a loop")?))),
        }
    }
}
