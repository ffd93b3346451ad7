//! What can go wrong with an expression, and where.

use std::fmt;

/// Line and column of a place in an expression, both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl Position {
    /// The place of the character at an offset.
    pub(crate) fn of(source: &str, offset: u32) -> Position {
        let mut position = Position { line: 1, column: 1 };
        for character in source.chars().take(offset as usize) {
            if character == '\n' {
                position = Position {
                    line: position.line + 1,
                    column: 1,
                };
            } else {
                position.column += 1;
            }
        }
        position
    }
}

/// An expression that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct CompileError {
    /// Where the fault is.
    pub position: Position,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// An expression that has no value for the data it met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {kind}")]
pub struct EvalError {
    /// The part of the expression that failed.
    pub position: Position,
    /// Why.
    pub kind: EvalErrorKind,
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalErrorKind {
    /// An operator or function does not take values of these types, null included.
    #[error("`{what}` does not take {got}")]
    Type {
        /// The operator or function.
        what: String,
        /// The types it was given.
        got: String,
    },
    /// A name that the scope does not hold.
    #[error("there is no `{0}` here")]
    UnknownName(String),
    /// A division or remainder by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A number or a date beyond what can be held.
    #[error("the result is out of range")]
    Overflow,
    /// A position outside of a list, or a key that is no text.
    #[error("there is no item {0}")]
    NoItem(String),
    /// A text that does not have the form a function needs.
    #[error("`{what}`: {problem}")]
    Format {
        /// The function.
        what: String,
        /// What is wrong with the text.
        problem: String,
    },
    /// The result is of another type than was asked for.
    #[error("the result is {got}, not {wanted}")]
    Result {
        /// The type asked for.
        wanted: &'static str,
        /// The type found.
        got: &'static str,
    },
    /// More steps or memory than an evaluation may use.
    #[error("the expression needs more than {0}")]
    Budget(&'static str),
}
