//! Between typed cells and what the databases bind and answer.
//!
//! Invariant: a cell written and read back is the same cell, on both databases; NULLs are typed.

use mesh::db::{DbError, Dialect, Row, Statement, Value};
use rust_decimal::Decimal;
use sea_query::{Expr, ExprTrait as _, Value as SeaValue, Values};
use serde_json::Value as Json;

use crate::kernel::model::{
    cell::{self, Cell},
    coerce,
    schema::Storage,
};

/// The bind value of a cell. A cell of another type than the column's becomes its NULL, which
/// the write path rules out before.
///
/// Decimals on SQLite are whole numbers scaled by the column's digits; one that does not fit is
/// held at the end of the range, where `coerce::fit` keeps it from getting.
#[must_use]
pub(in crate::kernel) fn cell_to_value(cell: &Cell, storage: Storage, dialect: Dialect) -> Value {
    match storage {
        Storage::Text => Value::Text(match cell {
            Cell::Text(text) => Some(text.clone()),
            _ => None,
        }),
        Storage::Integer => Value::Int(match cell {
            Cell::Integer(number) => Some(*number),
            _ => None,
        }),
        Storage::Double => Value::Double(match cell {
            Cell::Double(number) => Some(*number),
            #[expect(clippy::cast_precision_loss, reason = "the column holds doubles")]
            Cell::Integer(number) => Some(*number as f64),
            _ => None,
        }),
        Storage::Decimal(scale) => {
            let decimal = match cell {
                Cell::Decimal(decimal) => Some(*decimal),
                Cell::Integer(number) => Some(Decimal::from(*number)),
                _ => None,
            };
            match dialect {
                Dialect::Sqlite => Value::Int(decimal.map(|decimal| scaled(decimal, scale))),
                Dialect::Postgres => Value::Decimal(decimal),
            }
        }
        Storage::Boolean => Value::Bool(match cell {
            Cell::Boolean(value) => Some(*value),
            _ => None,
        }),
        Storage::Date => Value::Date(match cell {
            Cell::Date(date) => Some(*date),
            _ => None,
        }),
        Storage::Time => Value::Time(match cell {
            Cell::Time(time) => Some(*time),
            _ => None,
        }),
        Storage::DateTime => Value::DateTime(match cell {
            Cell::DateTime(moment) => Some(*moment),
            _ => None,
        }),
        Storage::Json => Value::Json(match cell {
            Cell::Json(text) => Some(text.clone()),
            _ => None,
        }),
    }
}

fn scaled(decimal: Decimal, scale: u32) -> i64 {
    let end = if decimal.is_sign_negative() {
        i64::MIN
    } else {
        i64::MAX
    };
    coerce::scaled(&coerce::round(decimal, scale), scale).unwrap_or(end)
}

/// The cell as an expression for sea-query; [`statement`] turns what it binds into ours.
#[must_use]
pub(in crate::kernel) fn cell_expr(cell: &Cell, storage: Storage, dialect: Dialect) -> Expr {
    let value = match cell_to_value(cell, storage, dialect) {
        Value::Text(text) => SeaValue::String(text),
        Value::Int(number) => SeaValue::BigInt(number),
        Value::Double(number) => SeaValue::Double(number),
        Value::Bool(value) => SeaValue::Bool(value),
        Value::Decimal(decimal) => SeaValue::Decimal(decimal),
        Value::Date(date) => SeaValue::TimeDate(date),
        Value::Time(time) => SeaValue::TimeTime(time),
        Value::DateTime(moment) => SeaValue::TimeDateTimeWithTimeZone(moment),
        Value::Json(text) => return json_expr(text, dialect),
        // No column is of these types.
        Value::Bytes(bytes) => SeaValue::Bytes(bytes),
        Value::TextArray(list) => return text_array(list),
    };
    Expr::val(value)
}

/// JSON text as an expression; bound as text, so that its digits stay as they are.
#[must_use]
pub(in crate::kernel) fn json_expr(text: Option<String>, dialect: Dialect) -> Expr {
    let text = Expr::val(SeaValue::String(text));
    match dialect {
        Dialect::Sqlite => text,
        Dialect::Postgres => text.cast_as("jsonb"),
    }
}

/// A list of texts as one placeholder: `= ANY($1)` on PostgreSQL, `json_each(?)` on SQLite.
#[must_use]
pub(in crate::kernel) fn text_array(list: impl IntoIterator<Item = String>) -> Expr {
    let list = list.into_iter().map(Json::String).collect();
    Expr::val(SeaValue::Json(Some(Box::new(Json::Array(list)))))
}

/// A statement of what sea-query built. sea-query has no list of texts, so that its JSON values
/// stand for one here; JSON itself is bound as text ([`json_expr`]).
#[must_use]
pub(in crate::kernel) fn statement((sql, Values(values)): (String, Values)) -> Statement {
    Statement::with(sql, values.into_iter().map(bound).collect())
}

fn bound(value: SeaValue) -> Value {
    match value {
        SeaValue::Bool(value) => Value::Bool(value),
        SeaValue::TinyInt(number) => Value::Int(number.map(i64::from)),
        SeaValue::SmallInt(number) => Value::Int(number.map(i64::from)),
        SeaValue::Int(number) => Value::Int(number.map(i64::from)),
        SeaValue::BigInt(number) => Value::Int(number),
        SeaValue::TinyUnsigned(number) => Value::Int(number.map(i64::from)),
        SeaValue::SmallUnsigned(number) => Value::Int(number.map(i64::from)),
        SeaValue::Unsigned(number) => Value::Int(number.map(i64::from)),
        // Only LIMIT and OFFSET are of this type, and both are bounded.
        SeaValue::BigUnsigned(number) => {
            Value::Int(number.map(|number| i64::try_from(number).unwrap_or(i64::MAX)))
        }
        SeaValue::Float(number) => Value::Double(number.map(f64::from)),
        SeaValue::Double(number) => Value::Double(number),
        SeaValue::String(text) => Value::Text(text),
        SeaValue::Char(char) => Value::Text(char.map(String::from)),
        SeaValue::Bytes(bytes) => Value::Bytes(bytes),
        SeaValue::Decimal(decimal) => Value::Decimal(decimal),
        SeaValue::TimeDate(date) => Value::Date(date),
        SeaValue::TimeTime(time) => Value::Time(time),
        SeaValue::TimeDateTimeWithTimeZone(moment) => Value::DateTime(moment),
        SeaValue::TimeDateTime(moment) => {
            Value::DateTime(moment.map(time::PrimitiveDateTime::assume_utc))
        }
        SeaValue::Json(list) => Value::TextArray(match list.map(|list| *list) {
            Some(Json::Array(items)) => items
                .into_iter()
                .filter_map(|item| match item {
                    Json::String(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }),
        SeaValue::Enum(_) => Value::Text(None),
    }
}

/// Reads one column of a row.
///
/// # Errors
/// [`DbError::Decode`] when the column holds something else.
pub(in crate::kernel) fn read_cell(
    row: &Row<'_>,
    index: usize,
    storage: Storage,
    dialect: Dialect,
) -> Result<Cell, DbError> {
    let cell = match storage {
        Storage::Text => row.text(index)?.map(|text| Cell::Text(text.to_owned())),
        Storage::Integer => row.int(index)?.map(Cell::Integer),
        Storage::Double => row.double(index)?.map(Cell::Double),
        Storage::Decimal(scale) => decimal(row, index, scale, dialect)?.map(Cell::Decimal),
        Storage::Boolean => row.bool(index)?.map(Cell::Boolean),
        Storage::Date => row.date(index)?.map(Cell::Date),
        Storage::Time => row.time(index)?.map(Cell::Time),
        Storage::DateTime => row.datetime(index)?.map(Cell::DateTime),
        Storage::Json => match (row.json(index)?, dialect) {
            (None, _) => None,
            (Some(text), Dialect::Sqlite) => Some(Cell::Json(text.into_owned())),
            (Some(text), Dialect::Postgres) => {
                let mut compact = Vec::with_capacity(text.len());
                write_compact(&mut compact, &text);
                // Only ASCII was taken out of it.
                String::from_utf8(compact).ok().map(Cell::Json)
            }
        },
    };
    Ok(cell.unwrap_or(Cell::Null))
}

/// Appends one column of a row as canonical JSON, the same as [`Cell::write_json`] of
/// [`read_cell`], without a cell between.
///
/// # Errors
/// [`DbError::Decode`] when the column holds something else.
pub(in crate::kernel) fn write_json(
    row: &Row<'_>,
    index: usize,
    storage: Storage,
    dialect: Dialect,
    out: &mut Vec<u8>,
) -> Result<(), DbError> {
    let written = match storage {
        Storage::Text => row.text(index)?.map(|text| cell::write_text(out, text)),
        Storage::Integer => row
            .int(index)?
            .map(|number| cell::write_display(out, &number)),
        Storage::Double => row
            .double(index)?
            .map(|number| cell::write_double(out, number)),
        Storage::Json => row.json(index)?.map(|text| match dialect {
            Dialect::Sqlite => out.extend_from_slice(text.as_bytes()),
            Dialect::Postgres => write_compact(out, &text),
        }),
        // SQLite holds moments as they are printed: parsing them only to print them again took a
        // tenth of a list's time.
        Storage::DateTime if dialect == Dialect::Sqlite => match row.text(index)? {
            Some(text) if is_printed_moment(text.as_bytes()) => {
                cell::write_quoted(out, text);
                Some(())
            }
            _ => {
                read_cell(row, index, storage, dialect)?.write_json(out);
                Some(())
            }
        },
        // The rest is small and owns no memory.
        Storage::Decimal(_)
        | Storage::Boolean
        | Storage::Date
        | Storage::Time
        | Storage::DateTime => {
            read_cell(row, index, storage, dialect)?.write_json(out);
            Some(())
        }
    };
    if written.is_none() {
        out.extend_from_slice(b"null");
    }
    Ok(())
}

/// Whether the text has the one form in which moments are printed; operators may have written others.
fn is_printed_moment(text: &[u8]) -> bool {
    const FORM: &[u8; 24] = b"0000-00-00T00:00:00.000Z";
    text.len() == FORM.len()
        && text.iter().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        })
}

/// Appends valid JSON without the spaces that PostgreSQL puts into it.
fn write_compact(out: &mut Vec<u8>, json: &str) {
    let (mut in_text, mut is_escaped) = (false, false);
    for byte in json.bytes() {
        if in_text {
            in_text = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_text = byte == b'"';
        }
        out.push(byte);
    }
}

fn decimal(
    row: &Row<'_>,
    index: usize,
    scale: u32,
    dialect: Dialect,
) -> Result<Option<Decimal>, DbError> {
    Ok(match dialect {
        Dialect::Sqlite => row
            .int(index)?
            .map(|number| Decimal::from_i128_with_scale(i128::from(number), scale).normalize()),
        Dialect::Postgres => row.decimal(index)?,
    })
}

#[cfg(test)]
mod tests {
    use crate::kernel::store::bind::write_compact;

    #[test]
    fn json_loses_spaces_outside_of_texts_only() {
        let mut out = Vec::new();
        write_compact(&mut out, r#"{"a b": [1, "x \" y, \\", "z"], "ä": { }}"#);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            r#"{"a b":[1,"x \" y, \\","z"],"ä":{}}"#
        );
    }
}
