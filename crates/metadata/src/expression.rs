//! Expressions as metadata stores them: source text and the language it is written in.
//! Compiling and evaluating them is the `expr` crate's work.

use serde_json::Value;

/// The language of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Common Expression Language.
    Cel,
    /// `{{path | formatter}}` text.
    Template,
    /// Five-field cron schedule.
    Cron,
}

impl Dialect {
    /// The word used in the envelope.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Cel => "cel",
            Dialect::Template => "template",
            Dialect::Cron => "cron",
        }
    }

    /// Reads the word used in the envelope.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "cel" => Some(Dialect::Cel),
            "template" => Some(Dialect::Template),
            "cron" => Some(Dialect::Cron),
            _ => None,
        }
    }
}

/// An expression: `{dialect, source}`, or a bare string that takes the dialect of its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// The language.
    pub dialect: Dialect,
    /// The text.
    pub source: String,
}

impl Expression {
    /// Reads an envelope or a bare string; `None` for anything else, also for an unknown dialect.
    pub fn from_value(value: &Value, slot: Dialect) -> Option<Self> {
        if let Value::String(source) = value {
            return Some(Self {
                dialect: slot,
                source: source.clone(),
            });
        }
        Self::from_envelope(value, slot)
    }

    /// Reads what stands where an expression belongs: also `true` and `false`, as YAML reads them.
    /// The text comes without blanks around it.
    pub fn written(value: &Value, slot: Dialect) -> Option<Self> {
        let mut read = match value {
            Value::Bool(constant) => Self {
                dialect: slot,
                source: constant.to_string(),
            },
            other => Self::from_value(other, slot)?,
        };
        read.source = read.source.trim().to_owned();
        Some(read)
    }

    /// Reads an envelope only. In data (defaults, seed records) a bare string is a string.
    pub fn from_envelope(value: &Value, slot: Dialect) -> Option<Self> {
        let map = value.as_object()?;
        let source = map.get("source")?.as_str()?.to_owned();
        let dialect = match map.get("dialect") {
            None => slot,
            Some(word) => Dialect::parse(word.as_str()?)?,
        };
        Some(Self { dialect, source })
    }
}

/// What must hold for something to happen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing: it always happens.
    #[default]
    Always,
    /// The expression.
    When(Expression),
    /// What was written is no expression, so it never happens.
    Unreadable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bare_string_takes_the_dialect_of_its_slot() {
        let read = Expression::from_value(&json!("0 8 * * *"), Dialect::Cron).unwrap();
        assert_eq!(read.dialect, Dialect::Cron);
    }

    #[test]
    fn envelope_states_its_dialect() {
        let value = json!({"dialect": "cel", "source": "today()"});
        let read = Expression::from_envelope(&value, Dialect::Template).unwrap();
        assert_eq!(
            (read.dialect, read.source.as_str()),
            (Dialect::Cel, "today()")
        );
        assert_eq!(Expression::from_envelope(&json!("x"), Dialect::Cel), None);
        let odd = json!({"dialect": "perl", "source": "x"});
        assert_eq!(Expression::from_envelope(&odd, Dialect::Cel), None);
    }
}
