//! Whether a row in memory fits a predicate: the same answer that the database gives.
//!
//! Invariant: two-valued, like [`Predicate`] itself. What rows of other tables decide
//! ([`Predicate::Related`]) is asked of the database first, by whoever has one; without that answer
//! nothing fits, also not under [`Predicate::Not`].

use std::cmp::Ordering;

use serde_json::Value as Json;

use crate::kernel::model::{
    cell::Cell,
    predicate::{Comparison, Pattern, Predicate, TextMatch},
    schema::{Column, Schema},
};

/// A row in memory.
pub struct Image<'a> {
    schema: &'a Schema,
    cells: &'a [Cell],
    /// What the database said of the parts that other tables decide.
    answers: &'a [(&'a Predicate, bool)],
}

impl<'a> Image<'a> {
    /// A row whose cells stand in the order of [`Schema::columns`]. A column that the schema does
    /// not have counts as NULL.
    #[must_use]
    pub fn new(schema: &'a Schema, cells: &'a [Cell]) -> Self {
        Self {
            schema,
            cells,
            answers: &[],
        }
    }

    /// The same row with what the database said of [`Predicate::related`] parts; each is known by
    /// its place in the predicate that will be asked.
    #[must_use]
    pub fn knowing(self, answers: &'a [(&'a Predicate, bool)]) -> Self {
        Self { answers, ..self }
    }

    /// Whether the row fits.
    #[must_use]
    pub fn fits(&self, predicate: &Predicate) -> bool {
        self.value(predicate) == Some(true)
    }

    /// None where an answer about other tables is missing that decides.
    fn value(&self, predicate: &Predicate) -> Option<bool> {
        Some(match predicate {
            Predicate::True => true,
            Predicate::False => false,
            Predicate::And(all) => return self.fold(all, false),
            Predicate::Or(any) => return self.fold(any, true),
            Predicate::Not(inner) => !self.value(inner)?,
            Predicate::Compare(column, comparison, value) => {
                holds(*comparison, self.cell(column), value)
            }
            Predicate::CompareColumns(one, comparison, two) => {
                holds(*comparison, self.cell(one), self.cell(two))
            }
            Predicate::In(column, values) => {
                let cell = self.cell(column);
                values
                    .iter()
                    .any(|value| holds(Comparison::Eq, cell, value))
            }
            Predicate::IsNull(column) => self.cell(column).is_null(),
            Predicate::Text(column, how, text) => self
                .cell(column)
                .as_text()
                .is_some_and(|value| text_matches(value, *how, text)),
            Predicate::Member(column, member) => {
                members(self.cell(column)).iter().any(|one| one == member)
            }
            Predicate::MemberSet(column, set) => {
                let members = members(self.cell(column));
                members.iter().all(|one| set.contains(one))
                    && set.iter().all(|one| members.contains(one))
            }
            Predicate::JsonPath(column, path, value) => {
                json_matches(self.cell(column), path, value)
            }
            Predicate::Related { .. } => {
                let mut answers = self.answers.iter();
                return answers
                    .find(|(asked, _)| std::ptr::eq(*asked, predicate))
                    .map(|(_, answer)| *answer);
            }
        })
    }

    /// One part that is `decisive` decides; otherwise all parts have to be known.
    fn fold(&self, parts: &[Predicate], decisive: bool) -> Option<bool> {
        let mut is_known = true;
        for part in parts {
            match self.value(part) {
                Some(value) if value == decisive => return Some(decisive),
                Some(_) => {}
                None => is_known = false,
            }
        }
        is_known.then_some(!decisive)
    }

    fn cell(&self, column: &Column) -> &Cell {
        self.schema
            .position(&column.field.name)
            .and_then(|position| self.cells.get(position))
            .unwrap_or(&Cell::Null)
    }
}

/// The ids that a reference column of the row holds, for asking about a [`Predicate::Related`] part.
#[must_use]
pub fn references(schema: &Schema, cells: &[Cell], column: &Column) -> Vec<String> {
    let position = schema.position(&column.field.name);
    let cell = position.and_then(|position| cells.get(position));
    match cell.and_then(Cell::as_text) {
        Some(id) => vec![id.to_owned()],
        None => cell.map(members).unwrap_or_default(),
    }
}

fn holds(comparison: Comparison, one: &Cell, two: &Cell) -> bool {
    compare(one, two).is_some_and(|ordering| match comparison {
        Comparison::Eq => ordering.is_eq(),
        Comparison::Lt => ordering.is_lt(),
        Comparison::Lte => ordering.is_le(),
        Comparison::Gt => ordering.is_gt(),
        Comparison::Gte => ordering.is_ge(),
    })
}

/// How two values of one type compare; `None` when one is NULL, or the types have no order.
fn compare(one: &Cell, two: &Cell) -> Option<Ordering> {
    match (one, two) {
        (Cell::Text(one), Cell::Text(two)) => Some(one.cmp(two)),
        (Cell::Integer(one), Cell::Integer(two)) => Some(one.cmp(two)),
        (Cell::Double(one), Cell::Double(two)) => one.partial_cmp(two),
        (Cell::Integer(one), Cell::Double(two)) => mixed(*one, *two),
        (Cell::Double(one), Cell::Integer(two)) => mixed(*two, *one).map(Ordering::reverse),
        (Cell::Decimal(one), Cell::Decimal(two)) => Some(one.cmp(two)),
        (Cell::Boolean(one), Cell::Boolean(two)) => Some(one.cmp(two)),
        (Cell::Date(one), Cell::Date(two)) => Some(one.cmp(two)),
        (Cell::Time(one), Cell::Time(two)) => Some(one.cmp(two)),
        (Cell::DateTime(one), Cell::DateTime(two)) => Some(one.cmp(two)),
        _ => None,
    }
}

fn mixed(integer: i64, double: f64) -> Option<Ordering> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "PostgreSQL compares bigint with double so, too"
    )]
    (integer as f64).partial_cmp(&double)
}

fn text_matches(value: &str, how: TextMatch, text: &str) -> bool {
    match how {
        TextMatch::Contains => value
            .to_ascii_lowercase()
            .contains(&text.to_ascii_lowercase()),
        TextMatch::StartsWith => value.starts_with(text),
        TextMatch::EndsWith => value.ends_with(text),
        TextMatch::Like => like(value, text),
        TextMatch::Ilike => like(&value.to_ascii_lowercase(), &text.to_ascii_lowercase()),
    }
}

/// Matches the whole value, in time proportional to value times pattern.
fn like(value: &str, pattern: &str) -> bool {
    let value: Vec<char> = value.chars().collect();
    // Which beginnings of the value the pattern so far can match, by their length.
    let mut reach = vec![false; value.len() + 1];
    reach[0] = true;
    for part in Pattern::parts(pattern) {
        let mut next = vec![false; value.len() + 1];
        match part {
            Pattern::Many => {
                let mut any = false;
                for (slot, reached) in next.iter_mut().zip(&reach) {
                    any |= reached;
                    *slot = any;
                }
            }
            Pattern::One => next[1..].copy_from_slice(&reach[..value.len()]),
            Pattern::Literal(char) => {
                for index in 0..value.len() {
                    next[index + 1] = reach[index] && value[index] == char;
                }
            }
        }
        reach = next;
    }
    reach[value.len()]
}

/// The texts in a JSON array; a NULL column is an empty list, as it reads back.
fn members(cell: &Cell) -> Vec<String> {
    let Some(Json::Array(items)) = json(cell) else {
        return Vec::new();
    };
    let texts = items.iter().filter_map(Json::as_str);
    texts.map(str::to_owned).collect()
}

fn json_matches(cell: &Cell, path: &[String], value: &Cell) -> bool {
    let document = json(cell);
    let found = document.as_ref().and_then(|document| {
        path.iter()
            .try_fold(document, |value, key| value.as_object()?.get(key))
    });
    match (found, value) {
        (None | Some(Json::Null), value) => value.is_null(),
        (Some(Json::String(found)), Cell::Text(text)) => found == text,
        (Some(Json::Bool(found)), Cell::Boolean(value)) => found == value,
        (Some(Json::Number(found)), Cell::Integer(value)) => found.as_i64().map_or_else(
            || {
                found
                    .as_f64()
                    .and_then(|found| mixed(*value, found))
                    .is_some_and(Ordering::is_eq)
            },
            |found| found == *value,
        ),
        (Some(Json::Number(found)), Cell::Double(value)) => found.as_f64() == Some(*value),
        _ => false,
    }
}

fn json(cell: &Cell) -> Option<Json> {
    let Cell::Json(text) = cell else {
        return None;
    };
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use crate::kernel::access::image::like;

    #[test]
    fn a28_patterns_match_whole_values_in_bounded_time() {
        for (value, pattern, expected) in [
            ("abc", "abc", true),
            ("abc", "a%", true),
            ("abc", "_b_", true),
            ("abc", "ab", false),
            ("abc", "", false),
            ("", "%", true),
            ("a%c", r"a\%c", true),
            ("abc", r"a\%c", false),
            (r"a\c", r"a\\c", true),
            ("äöü", "_ö_", true),
        ] {
            assert_eq!(like(value, pattern), expected, "{value} LIKE {pattern}");
        }
        assert!(!like(
            &"a".repeat(5_000),
            &"%a"
                .repeat(10)
                .repeat(5)
                .replace("%a%a", "%a_")
                .repeat(2)
                .replace('_', "b")
        ));
    }
}
