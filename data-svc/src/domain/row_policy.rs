//! Row-level policies as predicates: the forms of spec/security.md §6 that stand in real apps —
//! a field compared with a value or an attribute of the user, joined by `&&`/`AND`.
//!
//! Invariant: what is not understood matches no row.

use std::sync::Arc;

use mesh::identity::Identity;
use metadata::RowLevelPolicy;

use super::{
    cell::Cell,
    predicate::{Comparison, Predicate},
    schema::{Schema, Storage},
};

/// Whether the policy only keeps organisations apart, on an object that has none.
#[must_use]
pub fn is_tenant_isolation(policy: &RowLevelPolicy, schema: &Schema) -> bool {
    schema.column("organization_id").is_none()
        // A policy that could not be read has no source, and must go on matching nothing.
        && (policy.using.is_some() || policy.check.is_some())
        && [&policy.using, &policy.check]
            .into_iter()
            .flatten()
            .all(|source| source.trim_start().trim_start_matches("record.").starts_with("organization_id"))
}

/// Compiles a policy for a user.
#[must_use]
pub fn compile(source: &str, schema: &Schema, identity: &Identity) -> Predicate {
    terms(source)
        .map(|term| self::term(term, schema, identity).unwrap_or(Predicate::False))
        .fold(Predicate::True, Predicate::and)
}

/// The terms of a conjunction.
fn terms(source: &str) -> impl Iterator<Item = &str> {
    source
        .split("&&")
        .flat_map(|part| part.split(" AND "))
        .flat_map(|part| part.split(" and "))
        .map(str::trim)
}

/// Whether every term has a form that [`compile`] knows, whatever object and user it is for.
#[must_use]
pub fn is_understood(source: &str) -> bool {
    let value = |text: &str| {
        let text = text
            .trim()
            .trim_start_matches('(')
            .trim_end_matches(')')
            .trim();
        ["current_user.", "os.user.", "user."]
            .iter()
            .any(|root| text.starts_with(root))
            || literal(text).is_some()
    };
    let is_name = |text: &str| {
        let name = field_name(text);
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    terms(source).all(|term| {
        if matches!(term, "1 == 1" | "1 = 1" | "true") {
            return true;
        }
        let split = term
            .split_once(" IN ")
            .or_else(|| term.split_once(" in "))
            .or_else(|| term.split_once("=="))
            .or_else(|| term.split_once('='));
        split.is_some_and(|(field, operand)| is_name(field) && value(operand))
    })
}

fn term(text: &str, schema: &Schema, identity: &Identity) -> Option<Predicate> {
    if matches!(text, "1 == 1" | "1 = 1" | "true") {
        return Some(Predicate::True);
    }
    if let Some((field, list)) = text.split_once(" IN ").or_else(|| text.split_once(" in ")) {
        let column = schema.column(field_name(field))?;
        let list = list.trim().trim_start_matches('(').trim_end_matches(')');
        let values = attribute(list.trim(), identity)?;
        let cells = values.into_iter().map(Cell::Text).collect();
        return (column.storage == Storage::Text).then(|| Predicate::In(Arc::clone(column), cells));
    }
    let (field, value) = text.split_once("==").or_else(|| text.split_once('='))?;
    if field.ends_with(['!', '<', '>']) {
        return None;
    }
    let column = schema.column(field_name(field))?;
    let value = value.trim();
    let cell = match attribute(value, identity) {
        Some(values) => Cell::Text(values.into_iter().next()?),
        None => literal(value)?,
    };
    let fits = matches!(
        (&cell, column.storage),
        (Cell::Text(_), Storage::Text) | (Cell::Boolean(_), Storage::Boolean)
    );
    fits.then(|| Predicate::Compare(Arc::clone(column), Comparison::Eq, cell))
}

fn field_name(text: &str) -> &str {
    text.trim().trim_start_matches("record.")
}

fn literal(text: &str) -> Option<Cell> {
    match text {
        "true" => return Some(Cell::Boolean(true)),
        "false" => return Some(Cell::Boolean(false)),
        _ => {}
    }
    let quoted = |quote| {
        text.strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    };
    let inner = quoted('\'').or_else(|| quoted('"'))?;
    (!inner.contains(['\'', '"', '\\'])).then(|| Cell::Text(inner.to_owned()))
}

/// An attribute of the user; none when it is missing or empty, and then nothing matches.
fn attribute(text: &str, identity: &Identity) -> Option<Vec<String>> {
    let name = ["current_user.", "os.user.", "user."]
        .iter()
        .find_map(|root| text.strip_prefix(root))?;
    let values = match name {
        "id" => vec![identity.subject.clone()],
        "email" => vec![identity.email.clone()],
        "organization_id" | "organizationId" | "tenantId" => {
            identity.organization_id.iter().cloned().collect()
        }
        "roles" | "positions" => identity.positions.clone(),
        _ => Vec::new(),
    };
    // An attribute that is not there must not fall through to "is a literal".
    Some(
        values
            .into_iter()
            .filter(|value| !value.is_empty())
            .collect(),
    )
}
