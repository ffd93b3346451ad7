//! Whether a row in memory fits a predicate: the same answer that the database gives.
//!
//! Invariant: two-valued, like [`Predicate`] itself.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::{
    cell::Cell,
    predicate::{Comparison, Pattern, Predicate, TextMatch},
    schema::{Column, Schema},
};

impl Predicate {
    /// Whether the row fits; `cells` stand in the order of [`Schema::columns`].
    ///
    /// [`Predicate::Related`] asks for rows that are not here and never fits, also not under
    /// [`Predicate::Not`]: a caller that may meet one asks the database. A column that
    /// the schema does not have counts as NULL.
    #[must_use]
    pub fn matches(&self, schema: &Schema, cells: &[Cell]) -> bool {
        let cell = |column: &Column| {
            let position = schema.position(&column.field.name);
            position
                .and_then(|position| cells.get(position))
                .unwrap_or(&Cell::Null)
        };
        match self {
            Self::True => true,
            Self::False | Self::Related { .. } => false,
            Self::And(all) => all.iter().all(|one| one.matches(schema, cells)),
            Self::Or(any) => any.iter().any(|one| one.matches(schema, cells)),
            Self::Not(inner) => !inner.asks_elsewhere() && !inner.matches(schema, cells),
            Self::Compare(column, comparison, value) => holds(*comparison, cell(column), value),
            Self::CompareColumns(one, comparison, two) => holds(*comparison, cell(one), cell(two)),
            Self::In(column, values) => {
                let cell = cell(column);
                values
                    .iter()
                    .any(|value| holds(Comparison::Eq, cell, value))
            }
            Self::IsNull(column) => cell(column).is_null(),
            Self::Text(column, how, text) => cell(column)
                .as_text()
                .is_some_and(|value| text_matches(value, *how, text)),
            Self::Member(column, member) => members(cell(column)).iter().any(|one| one == member),
            Self::MemberSet(column, set) => {
                let members = members(cell(column));
                members.iter().all(|one| set.contains(one))
                    && set.iter().all(|one| members.contains(one))
            }
            Self::JsonPath(column, path, value) => json_matches(cell(column), path, value),
        }
    }

    /// Whether rows of other tables decide.
    #[must_use]
    pub fn asks_elsewhere(&self) -> bool {
        match self {
            Self::Related { .. } => true,
            Self::Not(inner) => inner.asks_elsewhere(),
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::asks_elsewhere),
            _ => false,
        }
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
    match json(cell) {
        Some(Json::Array(items)) => items
            .into_iter()
            .filter_map(|item| match item {
                Json::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
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
    match cell {
        Cell::Json(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::like;

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
