//! A condition on rows, resolved and typed: what filters, cursors and row policies compile to, and
//! what the store turns into SQL.
//!
//! Invariant: two-valued. NULL never makes a condition unknown, so that `Not` is the exact
//! complement (docs/reference/objectql.md §3).

use std::sync::Arc;

use crate::kernel::model::{cell::Cell, schema::Column};

/// A condition on the rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// Every row (`{}`, `$and:[]`).
    True,
    /// No row (`$or:[]`, `$in:[]`).
    False,
    /// All of them hold.
    And(Vec<Predicate>),
    /// One of them holds.
    Or(Vec<Predicate>),
    /// It does not hold.
    Not(Box<Predicate>),
    /// A column compared with a value; a NULL column compares false with everything.
    Compare(ColumnRef, Comparison, Cell),
    /// Two columns of the same row compared; false when one is NULL.
    CompareColumns(ColumnRef, Comparison, ColumnRef),
    /// The column holds one of these (none of them null).
    In(ColumnRef, Vec<Cell>),
    /// The column has no value.
    IsNull(ColumnRef),
    /// Text match; false for NULL.
    Text(ColumnRef, TextMatch, String),
    /// The multi-value (JSON array) column has this member.
    Member(ColumnRef, String),
    /// The multi-value column has exactly these members, in any order; NULL is the empty list.
    MemberSet(ColumnRef, Vec<String>),
    /// The JSON column has, at that path of keys, this scalar; for [`Cell::Null`], nothing or null.
    JsonPath(ColumnRef, Vec<String>, Cell),
    /// A row of another table, whose `id` this column holds (a multi-value column: one of those
    /// whose ids it holds), fits.
    Related {
        /// The reference column.
        column: ColumnRef,
        /// The other table.
        table: String,
        /// What must hold there.
        predicate: Box<Predicate>,
    },
}

/// A column of the table that the predicate is about.
pub type ColumnRef = Arc<Column>;

/// How two values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
}

/// How text is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextMatch {
    /// Occurs in it; ASCII case ignored.
    Contains,
    /// Begins it; case counts.
    StartsWith,
    /// Ends it; case counts.
    EndsWith,
    /// Whole-value pattern with `%`, `_` and `\` as escape; case counts.
    Like,
    /// The same, ASCII case ignored.
    Ilike,
}

/// One part of a [`TextMatch::Like`] pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// `%`: any text, also none.
    Many,
    /// `_`: one character.
    One,
    /// The character itself.
    Literal(char),
}

impl Pattern {
    /// The parts of a pattern; a `\\` makes the character behind it literal, at the end itself.
    pub fn parts(pattern: &str) -> impl Iterator<Item = Self> {
        let mut chars = pattern.chars();
        std::iter::from_fn(move || {
            Some(match chars.next()? {
                '%' => Self::Many,
                '_' => Self::One,
                '\\' => Self::Literal(chars.next().unwrap_or('\\')),
                char => Self::Literal(char),
            })
        })
    }
}

impl Predicate {
    /// Both hold; constants are folded.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::True, one) | (one, Self::True) => one,
            (Self::And(mut all), Self::And(more)) => {
                all.extend(more);
                Self::And(all)
            }
            (Self::And(mut all), one) => {
                all.push(one);
                Self::And(all)
            }
            (one, two) => Self::And(vec![one, two]),
        }
    }

    /// Whether it holds of a row where every column that it names is NULL.
    #[must_use]
    pub fn holds_of_null(&self) -> bool {
        match self {
            Self::True | Self::IsNull(_) | Self::JsonPath(_, _, Cell::Null) => true,
            Self::MemberSet(_, members) => members.is_empty(),
            Self::Not(inner) => !inner.holds_of_null(),
            Self::And(all) => all.iter().all(Self::holds_of_null),
            Self::Or(any) => any.iter().any(Self::holds_of_null),
            Self::False
            | Self::Compare(..)
            | Self::CompareColumns(..)
            | Self::In(..)
            | Self::Text(..)
            | Self::Member(..)
            | Self::JsonPath(..)
            | Self::Related { .. } => false,
        }
    }

    /// The parts of it that rows of other tables decide, in no particular order.
    #[must_use]
    pub fn related(&self) -> Vec<&Self> {
        let mut found = Vec::new();
        let mut open = vec![self];
        while let Some(predicate) = open.pop() {
            match predicate {
                Self::Related { .. } => found.push(predicate),
                Self::Not(inner) => open.push(inner),
                Self::And(parts) | Self::Or(parts) => open.extend(parts),
                Self::True
                | Self::False
                | Self::Compare(..)
                | Self::CompareColumns(..)
                | Self::In(..)
                | Self::IsNull(_)
                | Self::Text(..)
                | Self::Member(..)
                | Self::MemberSet(..)
                | Self::JsonPath(..) => {}
            }
        }
        found
    }

    /// One of the two holds; constants are folded.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, _) | (_, Self::True) => Self::True,
            (Self::False, one) | (one, Self::False) => one,
            (Self::Or(mut any), one) => {
                any.push(one);
                Self::Or(any)
            }
            (one, two) => Self::Or(vec![one, two]),
        }
    }
}

impl std::ops::Not for Predicate {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }
}
