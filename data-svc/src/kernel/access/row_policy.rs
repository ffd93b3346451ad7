//! Row-level policies as predicates (docs/reference/security.md §6): a condition over a record and the user,
//! compiled by [`expr::Filter`] and typed here, where the columns are known.
//!
//! Invariant: what is not understood matches no row, and neither does its opposite.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use expr::{
    Comparison as Relation, Filter,
    filter::{Operand, Predicate as Condition, TextTest},
};
use mesh::cache::{Cache, Stay};
use metadata::RowLevelPolicy;
use rust_decimal::RoundingStrategy;
use serde_json::Value as Json;

use crate::kernel::model::registry::Registry;
use crate::kernel::{
    eval::EvalContext,
    model::{
        cell::Cell,
        coerce,
        predicate::{ColumnRef, Comparison, Predicate, TextMatch},
        schema::{Schema, Storage},
    },
};

/// The filter of a text; none when it cannot be translated. Compiled once.
fn filter(source: &str) -> Option<Arc<Filter>> {
    static COMPILED: LazyLock<Cache<Option<Arc<Filter>>>> =
        LazyLock::new(|| Cache::new(10_000, Stay::Long));
    let compile = || Arc::new(Filter::compile(source).ok().map(Arc::new));
    (*COMPILED.get_or_insert(source, compile)).clone()
}

/// The fields of each object that the policies of some permission set compare.
pub(in crate::kernel) fn compared(registry: &Registry) -> BTreeMap<String, BTreeSet<String>> {
    let mut compared: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let sets = registry.permission_sets.values();
    for policy in sets.flat_map(|set| &set.row_level_security) {
        let filters = [&policy.using, &policy.check].into_iter().flatten();
        for filter in filters.filter_map(|source| filter(source)) {
            for field in filter.program().references().fields() {
                let is_of =
                    |schema: &Schema| policy.object == "*" || policy.object == schema.name();
                let schemas = registry.schemas();
                for schema in
                    schemas.filter(|schema| is_of(schema) && schema.column(field).is_some())
                {
                    let fields = compared.entry(schema.name().to_owned()).or_default();
                    fields.insert(field.to_owned());
                }
            }
        }
    }
    compared
}

/// Whether the policy only keeps organisations apart, on an object that has none.
pub(super) fn is_tenant_isolation(policy: &RowLevelPolicy, schema: &Schema) -> bool {
    let mut sources = [&policy.using, &policy.check]
        .into_iter()
        .flatten()
        .peekable();
    schema.column("organization_id").is_none()
        // A policy that could not be read has no source, and must go on matching nothing.
        && sources.peek().is_some()
        && sources.all(|source| {
            filter(source).is_some_and(|filter| {
                let mut fields = filter.program().references().fields().peekable();
                fields.peek().is_some() && fields.all(|field| field == "organization_id")
            })
        })
}

/// Compiles a policy for a user. A policy that asks for a field which the object lacks is dropped:
/// policies are alternatives, so one that matches no row counts for nothing.
pub(super) fn compile(
    source: &str,
    schema: &Schema,
    registry: &Registry,
    eval_context: &EvalContext,
) -> Predicate {
    let Some(filter) = filter(source) else {
        return Predicate::False;
    };
    let condition = filter.bind(&eval_context.scope());
    let target = Target { schema, registry };
    target
        .sides(&condition)
        .map_or(Predicate::False, |sides| sides.holds)
}

/// What a three-valued condition says of a row in two-valued predicates: it holds, or its opposite
/// does, or neither.
struct Sides {
    holds: Predicate,
    fails: Predicate,
}

impl Sides {
    /// Of a condition that is never unknown.
    fn certain(holds: Predicate) -> Self {
        // A negation folds constants.
        let fails = !holds.clone();
        Self { holds, fails }
    }

    fn unknown() -> Self {
        Self {
            holds: Predicate::False,
            fails: Predicate::False,
        }
    }

    fn swapped(self) -> Self {
        Self {
            holds: self.fails,
            fails: self.holds,
        }
    }
}

/// The object that a condition is about.
struct Target<'a> {
    schema: &'a Schema,
    registry: &'a Registry,
}

impl Target<'_> {
    /// None when a field is not there, or is not stored.
    fn sides(&self, condition: &Condition) -> Option<Sides> {
        Some(match condition {
            Condition::True => Sides::certain(Predicate::True),
            Condition::False => Sides::certain(Predicate::False),
            Condition::Unknown => Sides::unknown(),
            Condition::Not(inner) => self.sides(inner)?.swapped(),
            Condition::And(all) => self.fold(all, Predicate::and, Predicate::or)?,
            Condition::Or(any) => self.fold(any, Predicate::or, Predicate::and)?,
            Condition::Compare {
                path,
                comparison,
                value,
            } => self.at(path, &|column| compare(column, *comparison, value))?,
            Condition::In { path, values } => self.at(path, &|column| within(column, values))?,
            Condition::Includes { path, value } => {
                self.at(path, &|column| includes(column, value))?
            }
            Condition::Text { path, test, part } => {
                self.at(path, &|column| text(column, *test, part))?
            }
            Condition::IsNull { path } => {
                self.at(path, &|column| Sides::certain(is_null(column)))?
            }
        })
    }

    fn fold(
        &self,
        parts: &[Condition],
        holds: fn(Predicate, Predicate) -> Predicate,
        fails: fn(Predicate, Predicate) -> Predicate,
    ) -> Option<Sides> {
        let mut parts = parts.iter().map(|part| self.sides(part));
        let first = parts.next()??;
        parts.try_fold(first, |folded, part| {
            let part = part?;
            Some(Sides {
                holds: holds(folded.holds, part.holds),
                fails: fails(folded.fails, part.fails),
            })
        })
    }

    /// A test of a column, here or in the record that a reference points to.
    fn at(&self, path: &[String], test: &dyn Fn(&ColumnRef) -> Sides) -> Option<Sides> {
        match path {
            [field] => Some(test(self.schema.column(field)?)),
            [reference, field] => {
                let column = self.schema.column(reference)?;
                // A list of references has no field of its own.
                if column.storage != Storage::Text {
                    return None;
                }
                let target = self.registry.schema(column.field.reference.as_deref()?)?;
                let sides = test(target.column(field)?);
                let related = |predicate| Predicate::Related {
                    column: Arc::clone(column),
                    table: target.name().to_owned(),
                    predicate: Box::new(predicate),
                };
                // Where there is no such record, the field is null: what is said of null is true
                // there.
                let side = |predicate: Predicate| match predicate.holds_of_null() {
                    true => !related(!predicate),
                    false => related(predicate),
                };
                Some(Sides {
                    holds: side(sides.holds),
                    fails: side(sides.fails),
                })
            }
            _ => None,
        }
    }
}

/// A value as a column can hold it.
enum Fit {
    Exact(Cell),
    /// Between this value and the next one that the column can hold.
    After(Cell),
}

/// The value as one of the column's type; none when the two have neither order nor equality.
fn fit(column: &ColumnRef, value: &Operand) -> Option<Fit> {
    let text = |text: &str| Json::String(text.to_owned());
    let exact = match (column.storage, value) {
        (Storage::Text, Operand::Text(text)) => {
            // No text of the databases holds U+0000.
            (!text.contains('\0')).then(|| Cell::Text(text.clone()))
        }
        (Storage::Boolean, Operand::Boolean(value)) => Some(Cell::Boolean(*value)),
        (Storage::Date, Operand::Date(day)) => Some(Cell::Date(*day)),
        (Storage::Date, Operand::Text(day)) if coerce::is_bare_day(day) => {
            coerce::date(&text(day)).map(Cell::Date)
        }
        // A date is its midnight.
        (Storage::Date, Operand::Moment(moment)) => {
            let day = coerce::canonical_moment(*moment)?.date();
            return Some(match coerce::midnight(day) == *moment {
                true => Fit::Exact(Cell::Date(day)),
                false => Fit::After(Cell::Date(day)),
            });
        }
        (Storage::DateTime, Operand::Date(day)) => Some(Cell::DateTime(coerce::midnight(*day))),
        (Storage::DateTime, Operand::Text(moment)) => {
            coerce::datetime(&text(moment)).map(Cell::DateTime)
        }
        (Storage::DateTime, Operand::Moment(moment)) => {
            let stored = coerce::canonical_moment(*moment)?;
            return Some(match stored == *moment {
                true => Fit::Exact(Cell::DateTime(stored)),
                false => Fit::After(Cell::DateTime(stored)),
            });
        }
        (Storage::Time, Operand::Text(time)) => coerce::time(&text(time)).map(Cell::Time),
        (Storage::Double, Operand::Number(number)) => {
            coerce::double(&Json::Number(number.clone())).map(Cell::Double)
        }
        (Storage::Integer, Operand::Number(number)) => {
            return decimal(number, 0, |value| {
                coerce::scaled(&value, 0).map(Cell::Integer)
            });
        }
        (Storage::Decimal(scale), Operand::Number(number)) => {
            return decimal(number, scale, |value| {
                coerce::decimal_fits(&value, scale).then_some(Cell::Decimal(value))
            });
        }
        _ => None,
    };
    exact.map(Fit::Exact)
}

/// A number in a type that has `scale` digits behind the point.
fn decimal(
    number: &serde_json::Number,
    scale: u32,
    cell: impl Fn(rust_decimal::Decimal) -> Option<Cell>,
) -> Option<Fit> {
    let exact = coerce::decimal_exact(&Json::Number(number.clone()))?;
    let floor = exact.round_dp_with_strategy(scale, RoundingStrategy::ToNegativeInfinity);
    let cell = cell(floor.normalize())?;
    Some(match floor == exact {
        true => Fit::Exact(cell),
        false => Fit::After(cell),
    })
}

fn compare(column: &ColumnRef, relation: Relation, value: &Operand) -> Sides {
    let fit = fit(column, value);
    let ordered = |relation: Relation| {
        let (comparison, cell) = match (relation, &fit) {
            (Relation::Less, Some(Fit::Exact(cell))) => (Comparison::Lt, cell),
            (Relation::LessOrEqual, Some(Fit::Exact(cell))) => (Comparison::Lte, cell),
            (Relation::Greater, Some(Fit::Exact(cell))) => (Comparison::Gt, cell),
            (Relation::GreaterOrEqual, Some(Fit::Exact(cell))) => (Comparison::Gte, cell),
            (Relation::Less | Relation::LessOrEqual, Some(Fit::After(cell))) => {
                (Comparison::Lte, cell)
            }
            (Relation::Greater | Relation::GreaterOrEqual, Some(Fit::After(cell))) => {
                (Comparison::Gt, cell)
            }
            _ => return Predicate::False,
        };
        Predicate::Compare(Arc::clone(column), comparison, cell.clone())
    };
    let both = |holds, fails| Sides {
        holds: ordered(holds),
        fails: ordered(fails),
    };
    let equal = || {
        Sides::certain(match &fit {
            Some(Fit::Exact(cell)) => {
                Predicate::Compare(Arc::clone(column), Comparison::Eq, cell.clone())
            }
            Some(Fit::After(_)) | None => Predicate::False,
        })
    };
    match relation {
        Relation::Equal => equal(),
        Relation::NotEqual => equal().swapped(),
        Relation::Less => both(Relation::Less, Relation::GreaterOrEqual),
        Relation::LessOrEqual => both(Relation::LessOrEqual, Relation::Greater),
        Relation::Greater => both(Relation::Greater, Relation::LessOrEqual),
        Relation::GreaterOrEqual => both(Relation::GreaterOrEqual, Relation::Less),
    }
}

fn within(column: &ColumnRef, values: &[Operand]) -> Sides {
    let cells: Vec<Cell> = values
        .iter()
        .filter_map(|value| match fit(column, value)? {
            Fit::Exact(cell) => Some(cell),
            Fit::After(_) => None,
        })
        .collect();
    Sides::certain(match cells.is_empty() {
        true => Predicate::False,
        false => Predicate::In(Arc::clone(column), cells),
    })
}

fn includes(column: &ColumnRef, value: &Operand) -> Sides {
    if let Operand::Text(member) = value
        && column.field.is_multi_value()
        && !member.contains('\0')
    {
        return Sides::certain(Predicate::Member(Arc::clone(column), member.clone()));
    }
    // Nothing that is no list has members.
    Sides::unknown()
}

fn text(column: &ColumnRef, test: TextTest, part: &str) -> Sides {
    if part.contains('\0') {
        return Sides::unknown();
    }
    let holds = match (test, column.storage) {
        (TextTest::Contains, Storage::Json) if column.field.is_multi_value() => {
            Predicate::Member(Arc::clone(column), part.to_owned())
        }
        (test, Storage::Text) => {
            let (how, part) = match test {
                TextTest::StartsWith => (TextMatch::StartsWith, part.to_owned()),
                TextTest::EndsWith => (TextMatch::EndsWith, part.to_owned()),
                // Unlike the filters' `$contains`, an expression tells letters by their case.
                TextTest::Contains => (TextMatch::Like, format!("%{}%", escaped(part))),
            };
            Predicate::Text(Arc::clone(column), how, part)
        }
        _ => return Sides::unknown(),
    };
    Sides {
        fails: (!holds.clone()).and(!Predicate::IsNull(Arc::clone(column))),
        holds,
    }
}

/// A text that a pattern matches literally.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for char in text.chars() {
        if matches!(char, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}

fn is_null(column: &ColumnRef) -> Predicate {
    match column.field.is_multi_value() {
        // A list that was never set reads back as an empty one.
        true => Predicate::MemberSet(Arc::clone(column), Vec::new()),
        false => Predicate::IsNull(Arc::clone(column)),
    }
}

#[cfg(test)]
mod tests;
