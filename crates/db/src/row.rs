//! One row while it is being read: the same getters over both drivers' rows.
//!
//! Columns are named by index, from 0, in the order of the `SELECT` list. Each getter answers
//! `None` for null and [`DbError::Decode`] for a column that is missing or holds something else.

use std::borrow::Cow;

use rusqlite::types::ValueRef as SqliteValue;
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use sqlx::{
    Postgres, Row as _, TypeInfo as _, ValueRef as _,
    postgres::{PgRow, PgValueFormat, PgValueRef},
};
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

use super::{DbError, text};

/// One row of a result, borrowed from the database for as long as the mapper runs.
pub struct Row<'r>(Inner<'r>);

enum Inner<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r PgRow),
}

/// A column's value before it is read as something.
enum Raw<'r> {
    Sqlite(SqliteValue<'r>),
    Postgres(PgValueRef<'r>),
}

impl<'r> Row<'r> {
    pub(super) fn sqlite(row: &'r rusqlite::Row<'r>) -> Self {
        Self(Inner::Sqlite(row))
    }

    pub(super) fn postgres(row: &'r PgRow) -> Self {
        Self(Inner::Postgres(row))
    }

    /// Text.
    pub fn text(&self, column: usize) -> Result<Option<&'r str>, DbError> {
        self.get(column, "text", |raw| match raw {
            Raw::Sqlite(SqliteValue::Text(bytes)) => std::str::from_utf8(bytes).ok(),
            Raw::Sqlite(_) => None,
            Raw::Postgres(value) => postgres::<&str>(value),
        })
    }

    /// An integer. Whole decimals count, because PostgreSQL sums integers to `NUMERIC`.
    pub fn int(&self, column: usize) -> Result<Option<i64>, DbError> {
        self.get(column, "an integer", |raw| match raw {
            Raw::Sqlite(SqliteValue::Integer(value)) => Some(value),
            Raw::Sqlite(SqliteValue::Real(value)) => whole(value),
            Raw::Sqlite(SqliteValue::Text(bytes)) => {
                let value = text::parse_decimal(std::str::from_utf8(bytes).ok()?)?;
                value.is_integer().then(|| value.to_i64()).flatten()
            }
            Raw::Sqlite(_) => None,
            Raw::Postgres(value) => match kind(&value) {
                Kind::Int8 => postgres::<i64>(value),
                Kind::Int4 => postgres::<i32>(value).map(i64::from),
                Kind::Int2 => postgres::<i16>(value).map(i64::from),
                Kind::Numeric => {
                    let value = postgres::<Decimal>(value)?;
                    value.is_integer().then(|| value.to_i64()).flatten()
                }
                Kind::Float8 => whole(postgres(value)?),
                _ => None,
            },
        })
    }

    /// A number as a float; integers and decimals are converted.
    pub fn double(&self, column: usize) -> Result<Option<f64>, DbError> {
        self.get(column, "a number", |raw| match raw {
            Raw::Sqlite(SqliteValue::Real(value)) => Some(value),
            Raw::Sqlite(SqliteValue::Integer(value)) => Some(value as f64),
            Raw::Sqlite(SqliteValue::Text(bytes)) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            Raw::Sqlite(_) => None,
            Raw::Postgres(value) => match kind(&value) {
                Kind::Float8 => postgres::<f64>(value),
                Kind::Float4 => postgres::<f32>(value).map(f64::from),
                Kind::Int8 => postgres::<i64>(value).map(|value| value as f64),
                Kind::Int4 => postgres::<i32>(value).map(f64::from),
                Kind::Int2 => postgres::<i16>(value).map(f64::from),
                Kind::Numeric => postgres::<Decimal>(value)?.to_f64(),
                _ => None,
            },
        })
    }

    /// True or false.
    pub fn bool(&self, column: usize) -> Result<Option<bool>, DbError> {
        self.get(column, "a boolean", |raw| match raw {
            Raw::Sqlite(SqliteValue::Integer(value)) => Some(value != 0),
            Raw::Sqlite(_) => None,
            Raw::Postgres(value) => postgres(value),
        })
    }

    /// An exact decimal without trailing zeros; integers are converted.
    pub fn decimal(&self, column: usize) -> Result<Option<Decimal>, DbError> {
        let value = self.get(column, "a decimal", |raw| match raw {
            Raw::Sqlite(SqliteValue::Text(bytes)) => {
                text::parse_decimal(std::str::from_utf8(bytes).ok()?)
            }
            Raw::Sqlite(SqliteValue::Integer(value)) => Some(value.into()),
            Raw::Sqlite(SqliteValue::Real(value)) => Decimal::try_from(value).ok(),
            Raw::Sqlite(_) => None,
            Raw::Postgres(value) => match kind(&value) {
                Kind::Numeric => postgres(value),
                Kind::Int8 => postgres::<i64>(value).map(Decimal::from),
                Kind::Int4 => postgres::<i32>(value).map(Decimal::from),
                Kind::Float8 => Decimal::try_from(postgres::<f64>(value)?).ok(),
                _ => None,
            },
        })?;
        Ok(value.map(|value| value.normalize()))
    }

    /// A date.
    pub fn date(&self, column: usize) -> Result<Option<Date>, DbError> {
        self.get(column, "a date", |raw| match raw {
            Raw::Sqlite(SqliteValue::Text(bytes)) => {
                text::parse_date(std::str::from_utf8(bytes).ok()?)
            }
            Raw::Sqlite(_) => None,
            Raw::Postgres(value) => postgres(value),
        })
    }

    /// A time of day, in milliseconds.
    pub fn time(&self, column: usize) -> Result<Option<Time>, DbError> {
        self.get(column, "a time", |raw| match raw {
            Raw::Sqlite(SqliteValue::Text(bytes)) => {
                text::parse_time(std::str::from_utf8(bytes).ok()?)
            }
            Raw::Sqlite(_) => None,
            Raw::Postgres(value) => postgres(value).map(text::cut_time),
        })
    }

    /// A moment in UTC, in milliseconds.
    pub fn datetime(&self, column: usize) -> Result<Option<OffsetDateTime>, DbError> {
        self.get(column, "a moment", |raw| match raw {
            Raw::Sqlite(SqliteValue::Text(bytes)) => {
                text::parse_date_time(std::str::from_utf8(bytes).ok()?)
            }
            Raw::Sqlite(_) => None,
            Raw::Postgres(value) => match kind(&value) {
                Kind::Timestamp => {
                    postgres::<PrimitiveDateTime>(value).map(PrimitiveDateTime::assume_utc)
                }
                _ => postgres(value),
            },
        })
        .map(|value| value.map(text::cut))
    }

    /// JSON text, as the database writes it: PostgreSQL sorts the keys of `JSONB` and puts spaces.
    pub fn json(&self, column: usize) -> Result<Option<Cow<'r, str>>, DbError> {
        self.get(column, "JSON", |raw| match raw {
            Raw::Sqlite(SqliteValue::Text(bytes) | SqliteValue::Blob(bytes)) => {
                std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
            }
            // A column declared JSONB makes numbers of JSON texts that look like one.
            Raw::Sqlite(SqliteValue::Integer(value)) => Some(value.to_string().into()),
            Raw::Sqlite(SqliteValue::Real(value)) if value.is_finite() => {
                Some(format!("{value:?}").into())
            }
            Raw::Sqlite(_) => None,
            Raw::Postgres(value) => match kind(&value) {
                Kind::Jsonb if value.format() == PgValueFormat::Binary => {
                    let (version, json) = value.as_bytes().ok()?.split_first()?;
                    let json = std::str::from_utf8(json).ok()?;
                    (*version == 1).then_some(Cow::Borrowed(json))
                }
                Kind::Jsonb | Kind::Json => value.as_str().ok().map(Cow::Borrowed),
                _ => None,
            },
        })
    }

    /// Bytes.
    pub fn bytes(&self, column: usize) -> Result<Option<&'r [u8]>, DbError> {
        self.get(column, "bytes", |raw| match raw {
            Raw::Sqlite(SqliteValue::Blob(bytes)) => Some(bytes),
            Raw::Sqlite(_) => None,
            Raw::Postgres(value) => postgres(value),
        })
    }

    /// Whether the column is null.
    pub fn is_null(&self, column: usize) -> Result<bool, DbError> {
        Ok(self.raw(column, "a column")?.is_none())
    }

    /// How many columns the row has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Inner::Sqlite(row) => row.as_ref().column_count(),
            Inner::Postgres(row) => row.len(),
        }
    }

    /// Whether the row has no columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn raw(&self, column: usize, expected: &'static str) -> Result<Option<Raw<'r>>, DbError> {
        let wrong = DbError::Decode { column, expected };
        match self.0 {
            Inner::Sqlite(row) => match row.get_ref(column) {
                Ok(SqliteValue::Null) => Ok(None),
                Ok(value) => Ok(Some(Raw::Sqlite(value))),
                Err(_) => Err(wrong),
            },
            Inner::Postgres(row) => match row.try_get_raw(column) {
                Ok(value) if value.is_null() => Ok(None),
                Ok(value) => Ok(Some(Raw::Postgres(value))),
                Err(_) => Err(wrong),
            },
        }
    }

    fn get<T>(
        &self,
        column: usize,
        expected: &'static str,
        read: impl FnOnce(Raw<'r>) -> Option<T>,
    ) -> Result<Option<T>, DbError> {
        let Some(raw) = self.raw(column, expected)? else {
            return Ok(None);
        };
        match read(raw) {
            Some(value) => Ok(Some(value)),
            None => Err(DbError::Decode { column, expected }),
        }
    }
}

impl<'r> Row<'r> {
    /// Text that must be there; null is a [`DbError::Decode`].
    pub fn req_text(&self, column: usize) -> Result<&'r str, DbError> {
        required(self.text(column)?, column, "text")
    }

    /// An integer that must be there; null is a [`DbError::Decode`].
    pub fn req_int(&self, column: usize) -> Result<i64, DbError> {
        required(self.int(column)?, column, "an integer")
    }

    /// A boolean that must be there; null is a [`DbError::Decode`].
    pub fn req_bool(&self, column: usize) -> Result<bool, DbError> {
        required(self.bool(column)?, column, "a boolean")
    }

    /// A moment that must be there; null is a [`DbError::Decode`].
    pub fn req_datetime(&self, column: usize) -> Result<OffsetDateTime, DbError> {
        required(self.datetime(column)?, column, "a moment")
    }

    /// JSON text that must be there; null is a [`DbError::Decode`].
    pub fn req_json(&self, column: usize) -> Result<Cow<'r, str>, DbError> {
        required(self.json(column)?, column, "JSON")
    }
}

fn required<T>(value: Option<T>, column: usize, expected: &'static str) -> Result<T, DbError> {
    value.ok_or(DbError::Decode { column, expected })
}

/// PostgreSQL's types that some getter converts from.
#[derive(Clone, Copy)]
enum Kind {
    Int8,
    Int4,
    Int2,
    Float8,
    Float4,
    Numeric,
    Timestamp,
    Json,
    Jsonb,
    Other,
}

fn kind(value: &PgValueRef<'_>) -> Kind {
    match value.type_info().name() {
        "INT8" => Kind::Int8,
        "INT4" => Kind::Int4,
        "INT2" => Kind::Int2,
        "FLOAT8" => Kind::Float8,
        "FLOAT4" => Kind::Float4,
        "NUMERIC" => Kind::Numeric,
        "TIMESTAMP" => Kind::Timestamp,
        "JSON" => Kind::Json,
        "JSONB" => Kind::Jsonb,
        _ => Kind::Other,
    }
}

/// Reads a value if its type in the database is the one that `T` stands for.
fn postgres<'r, T>(value: PgValueRef<'r>) -> Option<T>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    if !T::compatible(&value.type_info()) {
        return None;
    }
    T::decode(value).ok()
}

/// The integer that a float is, if it is one that floats hold exactly.
fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}
