//! What is bound to a statement, and the statement itself.

use std::borrow::Cow;

use rust_decimal::Decimal;
use time::{Date, OffsetDateTime, Time};

use super::DbError;

/// Which SQL a database speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// SQLite 3, bundled.
    Sqlite,
    /// PostgreSQL, or a database that speaks its protocol.
    Postgres,
}

impl Dialect {
    /// The query of the database's clock, in milliseconds since 1970.
    pub(super) fn clock_ms(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Self::Postgres => "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }
}

/// The type of a column, one for each variant of [`Value`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnType {
    /// Text, compared by bytes.
    Text,
    /// A signed 64-bit integer.
    Int,
    /// A 64-bit float.
    Double,
    /// True or false.
    Bool,
    /// An exact decimal of up to 28 digits.
    Decimal,
    /// A calendar date.
    Date,
    /// A time of day, in milliseconds.
    Time,
    /// A moment in UTC, in milliseconds.
    DateTime,
    /// JSON text.
    Json,
    /// Bytes.
    Bytes,
}

impl Dialect {
    /// The type to write in DDL.
    ///
    /// On SQLite a name decides what is kept: `NUMERIC` and `JSONB` would turn `"1.10"` and the
    /// JSON text `1.0` into numbers, so these columns have names that mean text.
    #[must_use]
    pub const fn type_name(self, column: ColumnType) -> &'static str {
        match (self, column) {
            (Self::Postgres, ColumnType::Text) => "TEXT COLLATE \"C\"",
            (Self::Sqlite, ColumnType::Text) => "TEXT",
            (_, ColumnType::Int) => "BIGINT",
            (_, ColumnType::Double) => "DOUBLE PRECISION",
            (_, ColumnType::Bool) => "BOOLEAN",
            (Self::Postgres, ColumnType::Decimal) => "NUMERIC",
            (Self::Sqlite, ColumnType::Decimal) => SQLITE_DECIMAL,
            (_, ColumnType::Date) => "DATE",
            (_, ColumnType::Time) => "TIME",
            (_, ColumnType::DateTime) => "TIMESTAMPTZ",
            (Self::Postgres, ColumnType::Json) => "JSONB",
            (Self::Sqlite, ColumnType::Json) => SQLITE_JSON,
            (Self::Postgres, ColumnType::Bytes) => "BYTEA",
            (Self::Sqlite, ColumnType::Bytes) => "BLOB",
        }
    }
}

/// Has TEXT affinity because the name holds `TEXT`.
pub(super) const SQLITE_DECIMAL: &str = "DECIMAL_TEXT";
/// Has TEXT affinity because the name holds `TEXT`.
pub(super) const SQLITE_JSON: &str = "JSON_TEXT";

/// A typed bind value. Nulls carry their type, because PostgreSQL wants to know it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text without NUL characters (PostgreSQL has none).
    Text(Option<String>),
    /// A signed 64-bit integer.
    Int(Option<i64>),
    /// A finite 64-bit float (SQLite has no NaN).
    Double(Option<f64>),
    /// True or false; 1 or 0 on SQLite.
    Bool(Option<bool>),
    /// An exact decimal; on SQLite its shortest text, on PostgreSQL `NUMERIC`.
    Decimal(Option<Decimal>),
    /// A date of the years 0 to 9999.
    Date(Option<Date>),
    /// A time of day, cut to milliseconds.
    Time(Option<Time>),
    /// A moment of the years 0 to 9999, stored in UTC and cut to milliseconds.
    DateTime(Option<OffsetDateTime>),
    /// Valid JSON text; PostgreSQL refuses other text, SQLite does not look.
    Json(Option<String>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
    /// A list of texts for one placeholder: `= ANY($1)` on PostgreSQL, where it is a `text[]`;
    /// `IN (SELECT value FROM json_each($1))` on SQLite, where it is a JSON array.
    TextArray(Vec<String>),
}

impl Value {
    /// Refuses what the two databases would not store alike.
    pub(super) fn check(&self) -> Result<(), DbError> {
        let text = |text: &str| match text.as_bytes().contains(&0) {
            true => Err(DbError::Value("text holds a NUL character")),
            false => Ok(()),
        };
        let year = |year: i32| match (0..=9999).contains(&year) {
            true => Ok(()),
            false => Err(DbError::Value("the year is not between 0 and 9999")),
        };
        match self {
            Self::Text(Some(value)) | Self::Json(Some(value)) => text(value),
            Self::TextArray(values) => values.iter().try_for_each(|value| text(value)),
            Self::Double(Some(value)) if !value.is_finite() => {
                Err(DbError::Value("the number is not finite"))
            }
            Self::Date(Some(value)) => year(value.year()),
            Self::DateTime(Some(value)) => match value.checked_to_offset(time::UtcOffset::UTC) {
                Some(utc) => year(utc.year()),
                None => year(-1),
            },
            _ => Ok(()),
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident $(by $convert:path)?),* $(,)?) => {$(
        impl From<$source> for Value {
            fn from(value: $source) -> Self {
                Self::$variant(Some($($convert)?(value)))
            }
        }
        impl From<Option<$source>> for Value {
            fn from(value: Option<$source>) -> Self {
                Self::$variant(value$(.map($convert))?)
            }
        }
    )*};
}

from! {
    String => Text,
    &str => Text by str::to_owned,
    &String => Text by String::clone,
    i64 => Int,
    i32 => Int by i64::from,
    u32 => Int by i64::from,
    f64 => Double,
    bool => Bool,
    Decimal => Decimal,
    Date => Date,
    Time => Time,
    OffsetDateTime => DateTime,
    Vec<u8> => Bytes,
}

impl From<Vec<String>> for Value {
    fn from(values: Vec<String>) -> Self {
        Self::TextArray(values)
    }
}

impl Value {
    /// JSON text, or null.
    pub fn json(text: impl Into<Option<String>>) -> Self {
        Self::Json(text.into())
    }
}

/// SQL with the values of its placeholders.
///
/// Placeholders are `$1`, `$2`… in both dialects (`$1::jsonb` too), in any order, each as often
/// as wanted; on SQLite also `?`, in order.
#[derive(Clone, Debug)]
pub struct Statement {
    /// One statement of SQL. Never made of user input: that belongs into `args`.
    pub sql: Cow<'static, str>,
    /// The values, in the order of the placeholders' numbers.
    pub args: Vec<Value>,
    pub(super) once: bool,
}

impl Statement {
    /// A statement without values.
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self::with(sql, Vec::new())
    }

    /// A statement with all its values.
    pub fn with(sql: impl Into<Cow<'static, str>>, args: Vec<Value>) -> Self {
        Self {
            sql: sql.into(),
            args,
            once: false,
        }
    }

    /// Adds the value of the next placeholder.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Keeps the statement out of the connection's cache of prepared statements: for DDL and for
    /// SQL whose text will not come again.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }
}

impl From<&'static str> for Statement {
    fn from(sql: &'static str) -> Self {
        Self::new(sql)
    }
}

impl From<String> for Statement {
    fn from(sql: String) -> Self {
        Self::new(sql)
    }
}
