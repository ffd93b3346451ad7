//! From a body to a checked set of cells: what may be written is decided here, before any
//! transaction opens (docs/reference/data-api.md §3–4; order of refusals: docs/reference/errors.md §8).

use mesh::{Error, FieldViolation, Result, error::Reason};
use metadata::FieldType;
use serde_json::value::{RawValue, to_raw_value};

use crate::kernel::write::{
    body::Body,
    default::{self, Scope},
    normalize,
};
use crate::kernel::{
    Work,
    access::{Grant, Principal},
    model::{
        cell::Cell,
        schema::{Column, Schema},
    },
    query::suggest,
};

/// Who writes, as far as the rules of a body differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// A caller: server-managed fields in the payload are dropped.
    Caller,
    /// The system (seeds, projections): may set history, readonly fields and any id.
    System,
}

impl Writer {
    /// Who a piece of work writes as.
    #[must_use]
    pub(super) fn of(work: &Work) -> Self {
        match work.principal {
            Principal::User(_) => Self::Caller,
            Principal::System(_) => Self::System,
        }
    }
}

/// Checked cells, by position in `schema.columns`; `None` = not named.
#[derive(Debug, Clone)]
pub(crate) struct Cells(pub Vec<Option<Cell>>);

impl Cells {
    /// No cells of that object.
    #[must_use]
    pub(crate) fn none(schema: &Schema) -> Self {
        Self(vec![None; schema.columns.len()])
    }

    /// The cell of a field, if it was named.
    #[must_use]
    pub(crate) fn get(&self, schema: &Schema, field: &str) -> Option<&Cell> {
        self.0[schema.position(field)?].as_ref()
    }

    /// The row of these cells; what was not named is null.
    #[must_use]
    pub(crate) fn whole(&self) -> Vec<Cell> {
        let cells = self.0.iter();
        cells
            .map(|cell| cell.clone().unwrap_or(Cell::Null))
            .collect()
    }

    /// The row with the cells that were named laid over it.
    #[must_use]
    pub(crate) fn over(&self, row: &[Cell]) -> Vec<Cell> {
        row.iter()
            .zip(&self.0)
            .map(|(old, new)| new.clone().unwrap_or_else(|| old.clone()))
            .collect()
    }

    /// Sets the cell of a field, where the object stores it.
    pub(crate) fn set(&mut self, schema: &Schema, field: &str, cell: Cell) {
        if let Some(position) = schema.position(field) {
            self.0[position] = Some(cell);
        }
    }
}

/// What a body asks for, checked field by field.
#[derive(Debug)]
pub(super) struct Payload {
    /// An id that the caller chose.
    pub id: Option<String>,
    /// The version that the record must have, from the body.
    pub expected_version: Option<String>,
    /// The cells named.
    pub cells: Cells,
    /// Passwords to hash, by position.
    pub problems: Vec<FieldViolation>,
}

/// Checks a body against the object and the grant. Problems of single values are collected, for
/// they are reported together with those found later.
///
/// # Errors
/// VALIDATION_ERROR for unknown keys and a malformed id, PERMISSION_DENIED for keys that rights
/// make uneditable.
pub(super) fn payload(grant: &Grant, mut body: Body, writer: Writer) -> Result<Payload> {
    let schema = &*grant.schema;
    let expected_version = body.take("expectedVersion").map(|raw| unquote(&raw));
    let id = match body.take("id") {
        Some(raw) if raw.get() != "null" => Some(record_id(&raw)?),
        _ => None,
    };
    let mut cells = Cells::none(schema);
    let mut problems = Vec::new();
    let (mut forbidden, mut unknown) = (Vec::new(), None);
    for (name, raw) in &body.entries {
        let Some(field) = schema.field(name) else {
            unknown.get_or_insert(name);
            continue;
        };
        if writer == Writer::Caller && is_server_managed(schema, name) {
            continue;
        }
        if !grant.can_edit(name) {
            forbidden.push(name.clone());
            continue;
        }
        let (Some(position), Some(column)) = (schema.position(name), schema.column(name)) else {
            continue;
        };
        let cell = normalize::cell(column, raw, &mut problems);
        if field.is_multi_value() && cell.is_null() {
            cells.0[position] = Some(Cell::Json("[]".to_owned()));
        } else {
            cells.0[position] = Some(cell);
        }
    }
    if !forbidden.is_empty() {
        return Err(Error::denied(format!(
            "Not allowed to write {} of {}",
            forbidden.join(", "),
            schema.name()
        ))
        .with("object", schema.name())
        .with("forbiddenFields", forbidden));
    }
    if let Some(name) = unknown {
        return Err(unknown_field(grant, name));
    }
    Ok(Payload {
        id,
        expected_version,
        cells,
        problems,
    })
}

/// Fields whose values only the server decides; a client may send back what it read.
fn is_server_managed(schema: &Schema, name: &str) -> bool {
    matches!(
        name,
        "created_at" | "created_by" | "updated_at" | "updated_by" | "version" | "deleted_at"
    ) || schema
        .field(name)
        .is_some_and(|field| field.readonly || field.is_computed())
}

fn unknown_field(grant: &Grant, name: &str) -> Error {
    let schema = &grant.schema;
    let error = Error::validation(
        "INVALID_FIELD",
        format!("Object `{}` has no field `{name}`", schema.name()),
    )
    .with("object", schema.name())
    .with("field", name);
    let readable = schema
        .object
        .fields
        .keys()
        .map(String::as_str)
        .filter(|field| grant.can_read(field));
    match suggest::nearest(name, readable) {
        Some(near) => error.with("hint", format!("Did you mean `{near}`?")),
        None => error,
    }
}

/// An id that a caller may choose: 1 to 255 of `A-Za-z0-9_-`.
fn record_id(raw: &RawValue) -> Result<String> {
    let id: Option<String> = serde_json::from_str(raw.get()).ok();
    id.filter(|id| is_well_formed_id(id)).ok_or_else(|| {
        Error::fields(vec![FieldViolation::new(
            "id",
            "invalid_format",
            "id must be 1 to 255 of the characters A-Z a-z 0-9 _ -",
        )])
    })
}

/// Whether an id is 1 to 255 of `A-Za-z0-9_-`.
#[must_use]
pub(super) fn is_well_formed_id(id: &str) -> bool {
    (1..=255).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A version token may come as a number or as text.
fn unquote(raw: &RawValue) -> String {
    serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}

/// Fills in defaults for fields that were not named, and empty lists.
pub(super) fn apply_defaults(
    schema: &Schema,
    cells: &mut Cells,
    scope: &Scope,
    problems: &mut Vec<FieldViolation>,
) {
    for (position, column) in schema.columns.iter().enumerate() {
        let slot = &mut cells.0[position];
        if slot.as_ref().is_some_and(|cell| !cell.is_null()) {
            continue;
        }
        let given_null = slot.is_some();
        if !given_null
            && let Some(value) = default::value(&column.field, scope)
            && let Ok(raw) = to_raw_value(&value)
        {
            *slot = Some(normalize::cell(column, &raw, problems));
        } else if column.field.is_multi_value() {
            *slot = Some(Cell::Json("[]".to_owned()));
        } else if slot.is_none() {
            *slot = Some(Cell::Null);
        }
    }
}

/// Notes required fields without a value. On an update only fields that were named can be blank.
pub(super) fn check_required(schema: &Schema, cells: &Cells, problems: &mut Vec<FieldViolation>) {
    for (column, cell) in schema.columns.iter().zip(&cells.0) {
        let field = &column.field;
        let required = field.required || field.field_type == FieldType::MasterDetail;
        if !required || field.system || field.readonly || field.is_computed() {
            continue;
        }
        if cell.as_ref().is_some_and(|cell| is_blank(column, cell))
            && !problems.iter().any(|problem| problem.field == field.name)
        {
            normalize::Problems::new(field, problems).add("required", "is required");
        }
    }
}

/// Whether a cell holds nothing that a person would call a value.
pub(super) fn is_blank(column: &Column, cell: &Cell) -> bool {
    match cell {
        Cell::Null => true,
        Cell::Text(text) => text.trim().is_empty(),
        Cell::Json(text) => column.field.is_multi_value() && text == "[]",
        _ => false,
    }
}

/// The references that the cells hold: (field, target object, ids).
#[must_use]
pub(super) fn references<'s>(
    schema: &'s Schema,
    cells: &Cells,
) -> Vec<(&'s str, &'s str, Vec<String>)> {
    let mut found = Vec::new();
    for (column, cell) in schema.columns.iter().zip(&cells.0) {
        let field = &column.field;
        // Who made or last changed a record is the server's own word.
        if !field.is_reference() || (field.system && field.readonly) {
            continue;
        }
        let target = match (&field.reference, field.field_type) {
            (Some(target), _) => target.as_str(),
            (None, FieldType::User) => "sys_user",
            (None, FieldType::Tree) => schema.name(),
            (None, _) => continue,
        };
        let ids = match cell {
            Some(Cell::Text(id)) => vec![id.clone()],
            Some(Cell::Json(list)) => serde_json::from_str(list).unwrap_or_default(),
            _ => continue,
        };
        if !ids.is_empty() {
            found.push((field.name.as_str(), target, ids));
        }
    }
    found
}

/// The error that reports everything wrong with a payload.
#[must_use]
pub(super) fn invalid(schema: &Schema, problems: Vec<FieldViolation>) -> Error {
    Error::fields(problems).with("object", schema.name())
}

/// A reference whose target is not there, or not readable to the writer.
#[must_use]
pub(super) fn reference_not_found(
    field: &metadata::Field,
    target: &str,
    id: &str,
) -> FieldViolation {
    let mut violation = FieldViolation::new(
        &field.name,
        "reference_not_found",
        format!(
            "{} refers to {target} \"{id}\", which does not exist",
            field.name
        ),
    );
    violation.label = Some(field.label.clone());
    violation
}

/// Compares a version token with the record's (docs/reference/data-api.md §6): digits mean `version`, else
/// a moment that `updated_at` must equal.
///
/// # Errors
/// VALIDATION_ERROR when the token is neither.
pub(super) fn version_fits(token: &str, version: i64, updated_at: Option<&Cell>) -> Result<bool> {
    let token = token.trim().trim_start_matches("W/").trim_matches('"');
    if token == "*" || token.is_empty() {
        return Ok(true);
    }
    if token.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(token.parse() == Ok(version));
    }
    let moment =
        crate::kernel::model::coerce::datetime(&serde_json::Value::String(token.to_owned()));
    match (moment, updated_at) {
        (Some(moment), Some(Cell::DateTime(updated))) if token.contains('T') => {
            Ok(moment == *updated)
        }
        _ => Err(Error::new(
            Reason::ValidationError,
            "The version must be the record's `version` or `updated_at`",
        )
        .with("parameter", "If-Match")
        .with("expectedVersion", token)),
    }
}
