//! Values while an expression is evaluated: borrowed from the data where possible.

use std::{cmp::Ordering, ops::Deref, rc::Rc};

use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde_json::Value;
use time::{Date, Duration, OffsetDateTime};

use crate::{
    error::EvalErrorKind,
    moment::{format_date, format_moment, midnight, parse_date, parse_moment},
    node::{Comparison, Literal, Operator},
};

/// A text of the data, or one that was built: never copied when a value is.
#[derive(Debug, Clone)]
pub(crate) enum Text<'a> {
    Borrowed(&'a str),
    Shared(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

/// A value during an evaluation.
#[derive(Debug, Clone)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    /// An integer of the expression itself.
    Int(i64),
    /// A number of the data, and what becomes of it.
    Number(Decimal),
    /// A number that no decimal holds.
    Double(f64),
    Text(Text<'a>),
    Date(Date),
    Moment(OffsetDateTime),
    Duration(Duration),
    List(Rc<Vec<Val<'a>>>),
    Map(Rc<Vec<(String, Val<'a>)>>),
    /// A list or map of the data.
    Json(&'a Value),
    /// `os` and `ctx`: every root of the scope under its name.
    Roots,
}

/// The decimal that is written like the double, if there is one.
pub(crate) fn decimal(number: f64) -> Option<Decimal> {
    let decimal = Decimal::try_from(number).ok();
    let exact = |decimal: &Decimal| decimal.to_string().parse::<f64>() == Ok(number);
    decimal.filter(exact).or_else(|| {
        let text = format!("{number}");
        text.parse::<Decimal>().ok().filter(exact)
    })
}

impl<'a> Val<'a> {
    pub(crate) fn from_json(value: &'a Value) -> Val<'a> {
        match value {
            Value::Null => Val::Null,
            Value::Bool(value) => Val::Bool(*value),
            Value::Number(number) => {
                if let Some(number) = number.as_i64() {
                    Val::Number(number.into())
                } else if let Some(number) = number.as_u64() {
                    Val::Number(number.into())
                } else {
                    let number = number.as_f64().unwrap_or(f64::NAN);
                    decimal(number).map_or(Val::Double(number), Val::Number)
                }
            }
            Value::String(text) => Val::Text(Text::Borrowed(text)),
            Value::Array(_) | Value::Object(_) => Val::Json(value),
        }
    }

    pub(crate) fn from_literal(literal: &'a Literal) -> Val<'a> {
        match literal {
            Literal::Null => Val::Null,
            Literal::Bool(value) => Val::Bool(*value),
            Literal::Int(value) => Val::Int(*value),
            Literal::Number(value) => Val::Number(*value),
            Literal::Double(value) => Val::Double(*value),
            Literal::Text(value) => Val::Text(Text::Borrowed(value)),
        }
    }

    pub(crate) fn text(text: impl Into<String>) -> Val<'a> {
        Val::Text(Text::Shared(text.into().into()))
    }

    pub(crate) fn list(items: Vec<Val<'a>>) -> Val<'a> {
        Val::List(Rc::new(items))
    }

    /// The type, as messages name it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Val::Null => "null",
            Val::Bool(_) => "a boolean",
            Val::Int(_) | Val::Number(_) | Val::Double(_) => "a number",
            Val::Text(_) => "a text",
            Val::Date(_) => "a date",
            Val::Moment(_) => "a moment",
            Val::Duration(_) => "a duration",
            Val::List(_) | Val::Json(Value::Array(_)) => "a list",
            Val::Map(_) | Val::Json(_) | Val::Roots => "a map",
        }
    }

    /// The value as JSON. Numbers without a fraction are written as integers; dates and moments as
    /// text; durations as seconds.
    pub(crate) fn into_json(self) -> Value {
        match self {
            Val::Null | Val::Roots => Value::Null,
            Val::Bool(value) => Value::Bool(value),
            Val::Int(value) => value.into(),
            Val::Number(value) => number_json(value),
            Val::Double(value) => serde_json::Number::from_f64(value).into(),
            Val::Text(text) => Value::String(text.to_string()),
            Val::Date(date) => Value::String(format_date(date)),
            Val::Moment(moment) => Value::String(format_moment(moment)),
            Val::Duration(duration) => {
                serde_json::Number::from_f64(duration.as_seconds_f64()).into()
            }
            Val::List(items) => Value::Array(items.iter().cloned().map(Val::into_json).collect()),
            Val::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone().into_json()))
                    .collect(),
            ),
            Val::Json(value) => value.clone(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Val::Null => true,
            Val::Text(text) => text.is_empty(),
            Val::List(items) => items.is_empty(),
            Val::Map(entries) => entries.is_empty(),
            Val::Json(Value::Array(items)) => items.is_empty(),
            Val::Json(Value::Object(entries)) => entries.is_empty(),
            _ => false,
        }
    }

    /// The items of a list, or the keys of a map.
    pub(crate) fn items(&self) -> Option<Vec<Val<'a>>> {
        Some(match self {
            Val::List(items) => items.as_ref().clone(),
            Val::Map(entries) => entries
                .iter()
                .map(|(key, _)| Val::text(key.clone()))
                .collect(),
            Val::Json(Value::Array(items)) => items.iter().map(Val::from_json).collect(),
            Val::Json(Value::Object(entries)) => entries
                .keys()
                .map(|key| Val::Text(Text::Borrowed(key.as_str())))
                .collect(),
            _ => return None,
        })
    }

    /// The keys of a map.
    pub(crate) fn keys(&self) -> Option<Vec<&str>> {
        match self {
            Val::Map(entries) => Some(entries.iter().map(|(key, _)| key.as_str()).collect()),
            Val::Json(Value::Object(entries)) => Some(entries.keys().map(String::as_str).collect()),
            _ => None,
        }
    }

    /// An entry of a map.
    pub(crate) fn get(&self, key: &str) -> Option<Val<'a>> {
        match self {
            Val::Map(entries) => entries
                .iter()
                .find(|(known, _)| known == key)
                .map(|(_, value)| value.clone()),
            Val::Json(Value::Object(entries)) => entries.get(key).map(Val::from_json),
            _ => None,
        }
    }

    /// How many items, keys or characters.
    pub(crate) fn size(&self) -> Option<usize> {
        Some(match self {
            Val::Text(text) => text.chars().count(),
            Val::List(items) => items.len(),
            Val::Map(entries) => entries.len(),
            Val::Json(Value::Array(items)) => items.len(),
            Val::Json(Value::Object(entries)) => entries.len(),
            _ => return None,
        })
    }

    /// The double nearest to a number.
    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "the nearest double is meant")]
            Val::Int(value) => Some(*value as f64),
            Val::Number(value) => value.to_f64(),
            Val::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// A number that has no fraction.
    pub(crate) fn as_i64(&self) -> Option<i64> {
        match self {
            Val::Int(value) => Some(*value),
            Val::Number(value) if value.is_integer() => value.to_i64(),
            _ => None,
        }
    }

    pub(crate) fn as_decimal(&self) -> Option<Decimal> {
        match self {
            Val::Int(value) => Some((*value).into()),
            Val::Number(value) => Some(*value),
            _ => None,
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Val::Int(_) | Val::Number(_) | Val::Double(_))
    }

    fn is_time(&self) -> bool {
        matches!(self, Val::Date(_) | Val::Moment(_))
    }

    /// A moment, a date (its midnight), or a text that reads as one of them.
    pub(crate) fn as_moment(&self) -> Option<OffsetDateTime> {
        match self {
            Val::Date(date) => Some(midnight(*date)),
            Val::Moment(moment) => Some(*moment),
            Val::Text(text) => parse_date(text)
                .map(midnight)
                .or_else(|| parse_moment(text)),
            _ => None,
        }
    }
}

/// A decimal as JSON: an integer where it is one, else the double written alike.
fn number_json(number: Decimal) -> Value {
    let number = number.normalize();
    if let Some(integer) = number.to_i64().filter(|_| number.is_integer()) {
        return integer.into();
    }
    let double = number.to_string().parse().ok();
    double.and_then(serde_json::Number::from_f64).into()
}

/// Whether two values are equal; values of different types are not.
pub(crate) fn equal(left: &Val<'_>, right: &Val<'_>) -> bool {
    match (left, right) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(left), Val::Bool(right)) => left == right,
        (Val::Text(left), Val::Text(right)) => **left == **right,
        (Val::Duration(left), Val::Duration(right)) => left == right,
        _ if left.is_number() && right.is_number() => numbers(left, right) == Some(Ordering::Equal),
        _ if left.is_time() || right.is_time() => {
            left.as_moment().is_some() && left.as_moment() == right.as_moment()
        }
        _ => match (left.keys(), right.keys()) {
            (Some(keys), Some(others)) => {
                keys.len() == others.len()
                    && keys
                        .iter()
                        .all(|key| match (left.get(key), right.get(key)) {
                            (Some(left), Some(right)) => equal(&left, &right),
                            _ => false,
                        })
            }
            (None, None) => match (left.items(), right.items()) {
                (Some(left), Some(right)) => {
                    left.len() == right.len()
                        && left
                            .iter()
                            .zip(&right)
                            .all(|(left, right)| equal(left, right))
                }
                _ => false,
            },
            _ => false,
        },
    }
}

fn numbers(left: &Val<'_>, right: &Val<'_>) -> Option<Ordering> {
    match (left.as_decimal(), right.as_decimal()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// The order of two values: numbers, texts by bytes, booleans, moments (a text beside a date or a
/// moment is read as one), durations. `None` for anything else, null included.
fn order(left: &Val<'_>, right: &Val<'_>) -> Option<Ordering> {
    match (left, right) {
        (Val::Bool(left), Val::Bool(right)) => Some(left.cmp(right)),
        (Val::Text(left), Val::Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        (Val::Duration(left), Val::Duration(right)) => Some(left.cmp(right)),
        _ if left.is_number() && right.is_number() => numbers(left, right),
        _ if left.is_time() || right.is_time() => Some(left.as_moment()?.cmp(&right.as_moment()?)),
        _ => None,
    }
}

/// A comparison, or a type error where the values have no order.
pub(crate) fn compare(
    comparison: Comparison,
    left: &Val<'_>,
    right: &Val<'_>,
) -> Result<bool, EvalErrorKind> {
    let decided = match comparison {
        Comparison::Equal => return Ok(equal(left, right)),
        Comparison::NotEqual => return Ok(!equal(left, right)),
        Comparison::Less => order(left, right).map(Ordering::is_lt),
        Comparison::LessOrEqual => order(left, right).map(Ordering::is_le),
        Comparison::Greater => order(left, right).map(Ordering::is_gt),
        Comparison::GreaterOrEqual => order(left, right).map(Ordering::is_ge),
    };
    decided.ok_or_else(|| mismatch(comparison.symbol(), &[left, right]))
}

pub(crate) fn mismatch(what: &str, values: &[&Val<'_>]) -> EvalErrorKind {
    let names: Vec<_> = values.iter().map(|value| value.type_name()).collect();
    EvalErrorKind::Type {
        what: what.to_owned(),
        got: if names.is_empty() {
            "that".to_owned()
        } else {
            names.join(" and ")
        },
    }
}

/// A date some days later.
fn shift<'a>(date: Date, days: i64) -> Option<Val<'a>> {
    let days = i32::try_from(days).ok()?;
    date.checked_add(Duration::days(days.into())).map(Val::Date)
}

/// `+ - * / %` on numbers, and on moments with durations. (Texts and lists are the evaluator's:
/// they use its budget.)
pub(crate) fn arithmetic<'a>(
    operator: Operator,
    left: &Val<'a>,
    right: &Val<'a>,
) -> Result<Val<'a>, EvalErrorKind> {
    use Operator::{Add, Divide, Multiply, Remainder, Subtract};
    if let (Val::Int(left), Val::Int(right)) = (left, right) {
        let result = match operator {
            Add => left.checked_add(*right),
            Subtract => left.checked_sub(*right),
            Multiply => left.checked_mul(*right),
            Divide | Remainder if *right == 0 => return Err(EvalErrorKind::DivisionByZero),
            Divide => left.checked_div(*right),
            Remainder => left.checked_rem(*right),
        };
        return result.map(Val::Int).ok_or(EvalErrorKind::Overflow);
    }
    if left.is_number() && right.is_number() {
        if let (Some(left), Some(right)) = (left.as_decimal(), right.as_decimal()) {
            let result = match operator {
                Add => left.checked_add(right),
                Subtract => left.checked_sub(right),
                Multiply => left.checked_mul(right),
                Divide | Remainder if right.is_zero() => {
                    return Err(EvalErrorKind::DivisionByZero);
                }
                Divide => left.checked_div(right),
                Remainder => left.checked_rem(right),
            };
            if let Some(result) = result {
                return Ok(Val::Number(result));
            }
        }
        let (Some(a), Some(b)) = (left.as_f64(), right.as_f64()) else {
            return Err(EvalErrorKind::Overflow);
        };
        let result = match operator {
            Add => a + b,
            Subtract => a - b,
            Multiply => a * b,
            Divide | Remainder if b == 0.0 => return Err(EvalErrorKind::DivisionByZero),
            Divide => a / b,
            Remainder => a % b,
        };
        return if result.is_finite() {
            Ok(decimal(result).map_or(Val::Double(result), Val::Number))
        } else {
            Err(EvalErrorKind::Overflow)
        };
    }
    let result = match (operator, left, right) {
        (Add, Val::Duration(left), Val::Duration(right)) => {
            left.checked_add(*right).map(Val::Duration)
        }
        (Subtract, Val::Duration(left), Val::Duration(right)) => {
            left.checked_sub(*right).map(Val::Duration)
        }
        // `TODAY() + 7` counts days.
        (Add, Val::Date(date), days) | (Add, days, Val::Date(date)) if days.as_i64().is_some() => {
            days.as_i64().and_then(|days| shift(*date, days))
        }
        (Subtract, Val::Date(date), days) if days.as_i64().is_some() => days
            .as_i64()
            .and_then(i64::checked_neg)
            .and_then(|days| shift(*date, days)),
        (Add, moment, Val::Duration(duration)) | (Add, Val::Duration(duration), moment)
            if moment.as_moment().is_some() =>
        {
            let moment = moment.as_moment().and_then(|at| at.checked_add(*duration));
            moment.map(Val::Moment)
        }
        (Subtract, moment, Val::Duration(duration)) if moment.as_moment().is_some() => {
            let moment = moment.as_moment().and_then(|at| at.checked_sub(*duration));
            moment.map(Val::Moment)
        }
        (Subtract, left, right) if left.is_time() || right.is_time() => {
            match (left.as_moment(), right.as_moment()) {
                (Some(left), Some(right)) => Some(Val::Duration(left - right)),
                _ => return Err(mismatch(operator.symbol(), &[left, right])),
            }
        }
        _ => return Err(mismatch(operator.symbol(), &[left, right])),
    };
    result.ok_or(EvalErrorKind::Overflow)
}

/// A scalar as text; null is empty. Nothing for lists and maps.
pub(crate) fn to_text(value: &Val<'_>) -> Option<String> {
    Some(match value {
        Val::Null => String::new(),
        Val::Bool(value) => value.to_string(),
        Val::Int(value) => value.to_string(),
        Val::Number(value) => value.normalize().to_string(),
        Val::Double(value) => value.to_string(),
        Val::Text(text) => text.to_string(),
        Val::Date(date) => format_date(*date),
        Val::Moment(moment) => format_moment(*moment),
        Val::Duration(duration) => format!("{}s", duration.as_seconds_f64()),
        Val::List(_) | Val::Map(_) | Val::Json(_) | Val::Roots => return None,
    })
}

/// The size of a value: one for each value in it, and one for every 64 bytes of text; counted up to
/// a limit, since what is shared within a value is counted each time.
pub(crate) fn weight(value: &Val<'_>, most: usize) -> usize {
    fn sum<T>(
        items: impl Iterator<Item = T>,
        most: usize,
        of: impl Fn(T, usize) -> usize,
    ) -> usize {
        let mut total = 1_usize;
        for item in items {
            if total >= most {
                break;
            }
            total = total.saturating_add(of(item, most - total));
        }
        total
    }
    fn json(value: &Value, most: usize) -> usize {
        match value {
            Value::String(text) => 1 + text.len() / 64,
            Value::Array(items) => sum(items.iter(), most, json),
            Value::Object(entries) => sum(entries.iter(), most, |(key, value), most| {
                (key.len() / 64).saturating_add(json(value, most))
            }),
            _ => 1,
        }
    }
    match value {
        Val::Text(text) => 1 + text.len() / 64,
        Val::Json(value) => json(value, most),
        Val::List(items) => sum(items.iter(), most, weight),
        Val::Map(entries) => sum(entries.iter(), most, |(_, value), most| weight(value, most)),
        _ => 1,
    }
}
