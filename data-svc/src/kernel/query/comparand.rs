//! From what a filter compares with to typed predicates on one column.
//!
//! Invariant: a comparand that the column's type cannot hold exactly is refused or folded into the
//! answer it must give; it is never rounded.

use mesh::{Error, Result};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value as Json;
use time::OffsetDateTime;

use crate::kernel::query::{
    filter::{Operand, Operator},
    refuse,
    tokens::{self, Moment},
};
use crate::kernel::{
    access::Grant,
    model::{
        cell::Cell,
        coerce,
        predicate::{ColumnRef, Comparison, Predicate, TextMatch},
        schema::Storage,
    },
};

/// Longest `$like` pattern in characters, and most `%` in it: matching costs a power of their
/// number on both databases.
const PATTERN_MAX: usize = 1_000;
const WILDCARDS_MAX: usize = 10;

/// What a query knows besides its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) now: OffsetDateTime,
    pub(super) user_id: Option<&'a str>,
    pub(super) organization_id: Option<&'a str>,
}

/// One test of one column.
#[derive(Clone, Copy)]
pub(super) struct Test<'a> {
    pub(super) grant: &'a Grant,
    pub(super) column: &'a ColumnRef,
    pub(super) operator: Operator,
    pub(super) scope: Scope<'a>,
}

/// A typed comparand.
enum Comparand {
    Null,
    /// Held exactly by the column's type.
    Exact(Cell),
    /// Lies between this value and the next one that the column's type holds.
    After(Cell),
    /// A bare day compared with moments; the cell is its midnight.
    Day(OffsetDateTime),
}

impl Test<'_> {
    /// The predicate of a scalar column.
    pub(super) fn scalar(&self, operand: &Operand) -> Result<Predicate> {
        let column = || self.column.clone();
        Ok(match (self.operator, operand) {
            (Operator::Null, operand) => self.null(truth(operand)),
            (Operator::Exists, operand) => self.null(!truth(operand)),
            (Operator::Eq, operand) => self.compare(Comparison::Eq, operand)?,
            (Operator::Ne, operand) => !self.compare(Comparison::Eq, operand)?,
            (Operator::Gt, operand) => self.compare(Comparison::Gt, operand)?,
            (Operator::Gte, operand) => self.compare(Comparison::Gte, operand)?,
            (Operator::Lt, operand) => self.compare(Comparison::Lt, operand)?,
            (Operator::Lte, operand) => self.compare(Comparison::Lte, operand)?,
            (Operator::Between, Operand::List(bounds)) => {
                let [min, max] = bounds.as_slice() else {
                    return Err(self.mismatch());
                };
                let min = self.compare(Comparison::Gte, min)?;
                min.and(self.compare(Comparison::Lte, max)?)
            }
            (Operator::In, Operand::List(items)) => self.within(items)?,
            (Operator::Nin, Operand::List(items)) => !self.within(items)?,
            (Operator::Contains, operand) => {
                Predicate::Text(column(), TextMatch::Contains, self.text(operand)?)
            }
            (Operator::NotContains, operand) => {
                !Predicate::Text(column(), TextMatch::Contains, self.text(operand)?)
            }
            (Operator::StartsWith, operand) => {
                Predicate::Text(column(), TextMatch::StartsWith, self.text(operand)?)
            }
            (Operator::EndsWith, operand) => {
                Predicate::Text(column(), TextMatch::EndsWith, self.text(operand)?)
            }
            (Operator::Like, operand) => {
                Predicate::Text(column(), TextMatch::Like, self.pattern(operand)?)
            }
            (Operator::Ilike, operand) => {
                Predicate::Text(column(), TextMatch::Ilike, self.pattern(operand)?)
            }
            (Operator::Between | Operator::In | Operator::Nin, _) => return Err(self.mismatch()),
        })
    }

    /// The predicate of a multi-value column: every test is about members.
    pub(super) fn members(&self, operand: &Operand) -> Result<Predicate> {
        let column = || self.column.clone();
        let member =
            |operand: &Operand| Ok::<_, Error>(Predicate::Member(column(), self.text(operand)?));
        let empty = || Predicate::MemberSet(column(), Vec::new());
        let any = |items: &[Operand]| {
            items.iter().try_fold(Predicate::False, |any, item| {
                Ok::<_, Error>(any.or(if is_null(item) {
                    empty()
                } else {
                    member(item)?
                }))
            })
        };
        let equal = |operand: &Operand| match operand {
            operand @ (Operand::Value(_)
            | Operand::List(_)
            | Operand::Field(_)
            | Operand::Cel(_))
                if is_null(operand) =>
            {
                Ok(empty())
            }
            Operand::Value(Json::Array(items)) => {
                let items = items
                    .iter()
                    .map(|item| self.text(&Operand::Value(item.clone())));
                let mut set = items.collect::<Result<Vec<_>>>()?;
                set.sort_unstable();
                set.dedup();
                Ok(Predicate::MemberSet(column(), set))
            }
            operand @ (Operand::Value(_)
            | Operand::List(_)
            | Operand::Field(_)
            | Operand::Cel(_)) => member(operand),
        };
        Ok(match (self.operator, operand) {
            (Operator::Null, operand) => negated_unless(truth(operand), empty()),
            (Operator::Exists, operand) => negated_unless(!truth(operand), empty()),
            (Operator::Eq, operand) => equal(operand)?,
            (Operator::Ne, operand) => !equal(operand)?,
            (Operator::In, Operand::List(items)) => any(items)?,
            (Operator::Nin, Operand::List(items)) => !any(items)?,
            (Operator::Contains, operand) => member(operand)?,
            (Operator::NotContains, operand) => !member(operand)?,
            _ => return Err(self.inapplicable()),
        })
    }

    /// The predicate of a scalar inside a JSON column.
    pub(super) fn inside(&self, path: &[String], operand: &Operand) -> Result<Predicate> {
        let at = |cell: Cell| Predicate::JsonPath(self.column.clone(), path.to_vec(), cell);
        let equal = |operand: &Operand| {
            Ok::<_, Error>(at(match operand {
                Operand::Value(Json::Null) => Cell::Null,
                Operand::Value(Json::Bool(value)) => Cell::Boolean(*value),
                Operand::Value(Json::String(text)) => Cell::Text(self.checked(text)?.to_owned()),
                Operand::Value(value @ Json::Number(_)) => match coerce::integer(value) {
                    Some(integer) => Cell::Integer(integer),
                    None => Cell::Double(coerce::double(value).ok_or_else(|| self.mismatch())?),
                },
                Operand::Value(_) | Operand::List(_) | Operand::Field(_) | Operand::Cel(_) => {
                    return Err(self.mismatch());
                }
            }))
        };
        let any = |items: &[Operand]| {
            items.iter().try_fold(Predicate::False, |any, item| {
                Ok::<_, Error>(any.or(equal(item)?))
            })
        };
        Ok(match (self.operator, operand) {
            (Operator::Null, operand) => negated_unless(truth(operand), at(Cell::Null)),
            (Operator::Exists, operand) => negated_unless(!truth(operand), at(Cell::Null)),
            (Operator::Eq, operand) => equal(operand)?,
            (Operator::Ne, operand) => !equal(operand)?,
            (Operator::In, Operand::List(items)) => any(items)?,
            (Operator::Nin, Operand::List(items)) => !any(items)?,
            _ => return Err(self.inapplicable()),
        })
    }

    fn null(&self, is_null: bool) -> Predicate {
        negated_unless(is_null, Predicate::IsNull(self.column.clone()))
    }

    fn within(&self, items: &[Operand]) -> Result<Predicate> {
        let mut listed = Vec::with_capacity(items.len());
        let mut null = Predicate::False;
        for item in items {
            match self.comparand(item)? {
                Comparand::Null => null = self.null(true),
                Comparand::Exact(cell) => {
                    if !listed.contains(&cell) {
                        listed.push(cell);
                    }
                }
                Comparand::Day(midnight) => listed.push(Cell::DateTime(midnight)),
                Comparand::After(_) => {}
            }
        }
        let within = if listed.is_empty() {
            Predicate::False
        } else {
            Predicate::In(self.column.clone(), listed)
        };
        Ok(within.or(null))
    }

    fn compare(&self, comparison: Comparison, operand: &Operand) -> Result<Predicate> {
        let column = self.column.clone();
        let compare = |comparison, cell| Predicate::Compare(column.clone(), comparison, cell);
        Ok(match (self.comparand(operand)?, comparison) {
            (Comparand::Null, Comparison::Eq) => Predicate::IsNull(column),
            (Comparand::Null, _) | (Comparand::After(_), Comparison::Eq) => Predicate::False,
            (Comparand::Exact(cell), comparison) => compare(comparison, cell),
            (Comparand::After(cell), Comparison::Lt | Comparison::Lte) => {
                compare(Comparison::Lte, cell)
            }
            (Comparand::After(cell), Comparison::Gt | Comparison::Gte) => {
                compare(Comparison::Gt, cell)
            }
            // As an upper bound a bare day means all of it.
            (Comparand::Day(midnight), Comparison::Lte) => match coerce::next_day(midnight) {
                Some(next) => compare(Comparison::Lt, Cell::DateTime(next)),
                None => !Predicate::IsNull(column),
            },
            (Comparand::Day(midnight), comparison) => compare(comparison, Cell::DateTime(midnight)),
        })
    }

    /// The operand as a value of the column's type.
    fn comparand(&self, operand: &Operand) -> Result<Comparand> {
        let value = match operand {
            Operand::Value(Json::Null) => return Ok(Comparand::Null),
            Operand::Value(value) => value,
            Operand::Cel(text) => return self.expression(text),
            // Fields are dealt with before; lists belong to `$in` and `$between` alone.
            Operand::Field(_) | Operand::List(_) => return Err(self.mismatch()),
        };
        if let Json::String(text) = value
            && let Some(name) = tokens::name(text)
            && let Some(comparand) = self.token(name)?
        {
            return Ok(comparand);
        }
        let is_reference = self.column.field.is_reference();
        let exact = match self.column.storage {
            Storage::Text if is_reference => coerce::reference(value)
                .map(|id| self.checked(id).map(|id| Cell::Text(id.to_owned())))
                .transpose()?,
            Storage::Text => match value {
                Json::String(text) => Some(Cell::Text(self.checked(text)?.to_owned())),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                    None
                }
            },
            Storage::Boolean => coerce::boolean(value).map(Cell::Boolean),
            Storage::Date => coerce::date(value).map(Cell::Date),
            Storage::Time => coerce::time(value).map(Cell::Time),
            Storage::Double => coerce::double(value).map(Cell::Double),
            Storage::DateTime => match value {
                Json::String(text) if coerce::is_bare_day(text) => {
                    return coerce::datetime(value)
                        .map(Comparand::Day)
                        .ok_or_else(|| self.mismatch());
                }
                Json::Null
                | Json::Bool(_)
                | Json::Number(_)
                | Json::String(_)
                | Json::Array(_)
                | Json::Object(_) => coerce::datetime(value).map(Cell::DateTime),
            },
            Storage::Integer => {
                return self.number(value, 0, |decimal| {
                    coerce::scaled(&decimal, 0).map(Cell::Integer)
                });
            }
            Storage::Decimal(scale) => {
                return self.number(value, scale, |decimal| {
                    coerce::decimal_fits(&decimal, scale).then_some(Cell::Decimal(decimal))
                });
            }
            Storage::Json => None,
        };
        exact.map(Comparand::Exact).ok_or_else(|| self.mismatch())
    }

    /// A number of a type with `scale` digits after the point.
    fn number(
        &self,
        value: &Json,
        scale: u32,
        cell: impl Fn(Decimal) -> Option<Cell>,
    ) -> Result<Comparand> {
        let exact = coerce::decimal_exact(value).ok_or_else(|| self.mismatch())?;
        let floor = exact.round_dp_with_strategy(scale, RoundingStrategy::ToNegativeInfinity);
        let is_exact = floor == exact;
        let Some(cell) = cell(floor.normalize()) else {
            return Err(self.mismatch().with("hint", "the number is out of range"));
        };
        Ok(if is_exact {
            Comparand::Exact(cell)
        } else {
            Comparand::After(cell)
        })
    }

    /// `{name}`: `None` where text in braces is just text.
    fn token(&self, name: &str) -> Result<Option<Comparand>> {
        let person = match name {
            "current_user_id" => Some(self.scope.user_id),
            "current_org_id" => Some(self.scope.organization_id),
            _ => None,
        };
        let is_temporal = matches!(self.column.storage, Storage::Date | Storage::DateTime);
        let is_id = self.column.field.is_reference() || self.column.field.name == "id";
        match (person, is_temporal, is_id) {
            (Some(Some(id)), _, true) => Ok(Some(Comparand::Exact(Cell::Text(id.to_owned())))),
            (Some(None), _, true) => {
                Err(self.refused(&format!("`{{{name}}}` stands for nobody here")))
            }
            (_, true, _) => match tokens::moment(name, self.scope.now) {
                Some(moment) => Ok(Some(self.moment(moment))),
                None => Err(self.unknown_token(name)),
            },
            (None, _, true) if self.column.field.is_reference() => Err(self.unknown_token(name)),
            _ => Ok(None),
        }
    }

    fn moment(&self, moment: Moment) -> Comparand {
        match (moment, self.column.storage) {
            (Moment::At(at), Storage::Date) => Comparand::Exact(Cell::Date(at.date())),
            (Moment::At(at), _) => Comparand::Exact(Cell::DateTime(at)),
            (Moment::Day(day), Storage::Date) => Comparand::Exact(Cell::Date(day)),
            (Moment::Day(day), _) => Comparand::Day(coerce::midnight(day)),
        }
    }

    /// `{"$cel":"…"}`: only what needs no evaluator.
    fn expression(&self, text: &str) -> Result<Comparand> {
        let moment = match text.trim() {
            "now()" => tokens::moment("now", self.scope.now),
            "today()" => tokens::moment("today", self.scope.now),
            _ => {
                return Err(self
                    .refused(&format!("`$cel` cannot evaluate `{}`", refuse::echo(text)))
                    .with("hint", "not available yet: only now() and today() are"));
            }
        };
        match (moment, self.column.storage) {
            (Some(moment), Storage::Date | Storage::DateTime) => Ok(self.moment(moment)),
            _ => Err(self.mismatch()),
        }
    }

    fn text(&self, operand: &Operand) -> Result<String> {
        match operand {
            Operand::Value(Json::String(text)) => Ok(self.checked(text)?.to_owned()),
            // A member that is a reference may come as the object it names.
            Operand::Value(value @ Json::Object(_)) if self.column.field.is_reference() => {
                let id = coerce::reference(value).ok_or_else(|| self.mismatch())?;
                Ok(self.checked(id)?.to_owned())
            }
            Operand::Value(_) | Operand::List(_) | Operand::Field(_) | Operand::Cel(_) => {
                Err(self.mismatch())
            }
        }
    }

    fn pattern(&self, operand: &Operand) -> Result<String> {
        let pattern = self.text(operand)?;
        let is_dangling = pattern
            .chars()
            .rev()
            .take_while(|char| *char == '\\')
            .count()
            % 2
            == 1;
        if is_dangling {
            return Err(self.refused("the pattern ends with its escape character"));
        }
        if pattern.chars().count() > PATTERN_MAX || pattern.matches('%').count() > WILDCARDS_MAX {
            return Err(self.refused(&format!(
                "a pattern has at most {PATTERN_MAX} characters and {WILDCARDS_MAX} `%`"
            )));
        }
        Ok(pattern)
    }

    /// Text that both databases can hold.
    fn checked<'t>(&self, text: &'t str) -> Result<&'t str> {
        if text.contains('\0') {
            return Err(self.refused("text does not hold the character U+0000"));
        }
        Ok(text)
    }

    /// The operator does not go with the type of the field.
    pub(super) fn inapplicable(&self) -> Error {
        let kind = self.column.field.field_type.as_str();
        self.refused(&format!("it does not apply to type {kind}"))
    }

    fn mismatch(&self) -> Error {
        let kind = self.column.field.field_type.as_str();
        self.refused(&format!("the value does not fit type {kind}"))
    }

    fn unknown_token(&self, name: &str) -> Error {
        self.refused(&format!("unknown token `{{{}}}`", refuse::echo(name)))
            .with(
                "hint",
                "for example {today}, {30_days_ago}, {current_month_start}, {current_user_id}",
            )
    }

    fn refused(&self, why: &str) -> Error {
        let object = self.grant.schema.name();
        let field = &self.column.field.name;
        let operator = self.operator.name();
        refuse::filter(format!(
            "operator `{operator}` on field `{field}` of object `{object}`: {why}"
        ))
        .with("object", object)
        .with("field", field.as_str())
        .with("operator", operator)
    }
}

fn truth(operand: &Operand) -> bool {
    matches!(operand, Operand::Value(Json::Bool(true)))
}

fn is_null(operand: &Operand) -> bool {
    matches!(operand, Operand::Value(Json::Null))
}

fn negated_unless(condition: bool, predicate: Predicate) -> Predicate {
    if condition { predicate } else { !predicate }
}
