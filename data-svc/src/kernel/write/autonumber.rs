//! Autonumbers (docs/reference/metadata.md §9): which counters a new row takes, and how their numbers look.

use mesh::db::{DbError, Tx};
use metadata::FieldType;
use time::OffsetDateTime;

use crate::kernel::{
    model::{
        cell::{Cell, format_date},
        schema::Schema,
    },
    store::{self, autonumber::Counter},
};

/// A counter to take for a new row.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct Autonumber {
    /// Position of the field in the row.
    pub(in crate::kernel) position: usize,
    counter: Counter,
    suffix: String,
    width: usize,
}

impl Autonumber {
    /// The counter.
    pub(super) fn counter(&self) -> &Counter {
        &self.counter
    }
}

/// The counters that a new row takes (docs/reference/metadata.md §9). Values given by a caller were dropped
/// before; those that the system brings along stay.
pub(super) fn autonumbers(schema: &Schema, cells: &[Cell], now: OffsetDateTime) -> Vec<Autonumber> {
    let mut counters = Vec::new();
    for (position, column) in schema.columns.iter().enumerate() {
        if column.field.field_type != FieldType::Autonumber || !cells[position].is_null() {
            continue;
        }
        let format = column
            .field
            .autonumber_format
            .as_deref()
            .unwrap_or("{0000}");
        let (mut prefix, mut suffix, mut width) = (String::new(), String::new(), None);
        let mut rest = format;
        while let Some(start) = rest.find('{') {
            let target = if width.is_none() {
                &mut prefix
            } else {
                &mut suffix
            };
            target.push_str(&rest[..start]);
            let Some(end) = rest[start..].find('}') else {
                break;
            };
            let token = &rest[start + 1..start + end];
            rest = &rest[start + end + 1..];
            if !token.is_empty() && token.bytes().all(|byte| byte == b'0') {
                width.get_or_insert(token.len());
                continue;
            }
            target.push_str(&token_value(token, schema, cells, now));
        }
        let target = if width.is_none() {
            &mut prefix
        } else {
            &mut suffix
        };
        target.push_str(rest);
        counters.push(Autonumber {
            position,
            counter: Counter {
                field: column.field.name.clone(),
                prefix,
                start_at: column.field.start_at,
            },
            suffix,
            width: width.unwrap_or(4),
        });
    }
    counters
}

fn token_value(token: &str, schema: &Schema, cells: &[Cell], now: OffsetDateTime) -> String {
    let day = format_date(now.date());
    match token {
        "YYYY" => day[..4].to_owned(),
        "MM" => day[5..7].to_owned(),
        "DD" => day[8..10].to_owned(),
        "YYYYMMDD" => day.replace('-', ""),
        field => match schema
            .position(field)
            .map(|position| cells[position].to_json())
        {
            Some(serde_json::Value::String(text)) => text,
            Some(serde_json::Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        },
    }
}

/// Takes the next number of a counter and renders it. The counter stays locked until the commit, and a
/// rolled-back insert gives its number back.
///
/// # Errors
/// Those of the database.
pub(super) async fn next(
    tx: &mut Tx,
    object: &str,
    autonumber: &Autonumber,
) -> Result<Cell, DbError> {
    let number = store::autonumber::take(tx, object, &autonumber.counter, 1).await?;
    Ok(render(autonumber, number))
}

/// How a number looks.
pub(super) fn render(autonumber: &Autonumber, number: i64) -> Cell {
    Cell::Text(format!(
        "{}{number:0width$}{}",
        autonumber.counter.prefix,
        autonumber.suffix,
        width = autonumber.width
    ))
}
