//! Who may do what with which rows and fields: (principal, object, operation) → verdict, readable
//! fields, writable fields, rows (docs/reference/security.md). Every door asks [`grant`], and no other code
//! makes a [`Grant`].
//!
//! A decision is made of: the bits and fields that the permission sets give ([`rights`], remembered
//! for the revision), and the rows ([`visible`]). Rows are a
//! [`Predicate`](super::model::predicate::Predicate), which has two evaluators: the store's SQL, and
//! [`image`] for a row in memory. A test holds that they agree; there is no third.
//!
//! Invariant: nothing is granted that no permission set grants; what cannot be compiled denies.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod assignment;
pub mod image;
mod principal;
mod rights;
mod row_policy;
mod visible;

use std::sync::Arc;

use mesh::{Error, Result};
use time::OffsetDateTime;

pub use self::principal::{Principal, System, SystemReason};
pub(in crate::kernel) use self::row_policy::compared;
use super::model::{
    field_set::FieldSet, predicate::Predicate, registry::Registry, rights::Operation,
    schema::Schema,
};

/// What somebody who resolves names may know of the caller; implemented by
/// [`Work`](super::Work), and over one object where metadata itself asks.
pub trait Access {
    /// What the caller may read of an object.
    ///
    /// # Errors
    /// `NOT_FOUND`: no such object; `PERMISSION_DENIED`: no right to read it.
    fn read_grant(&self, object: &str) -> Result<Arc<Grant>>;

    /// The moment of the request; the same for the whole plan.
    fn now(&self) -> OffsetDateTime;

    /// The caller's user; `None` for the platform itself.
    fn user_id(&self) -> Option<&str>;

    /// The organisation that the caller acts in.
    fn organization_id(&self) -> Option<&str>;
}

/// What a decision depends on: one snapshot, one principal, one moment.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct AccessRequest<'a> {
    pub(in crate::kernel) registry: &'a Registry,
    pub(in crate::kernel) principal: &'a Principal,
    pub(in crate::kernel) now: OffsetDateTime,
}

/// What a principal may do with an object, for one operation.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The object.
    pub schema: Arc<Schema>,
    /// Which rows: those that fit.
    pub rows: Predicate,
    /// What a row must fit after the write.
    pub check: Predicate,
    /// Which fields may be read.
    pub readable: FieldSet,
    /// Which fields may be written.
    pub editable: FieldSet,
    /// Whether owner and organisation may be changed.
    pub transfer: bool,
    /// Grants are made here and nowhere else.
    _made_here: MadeHere,
}

impl Grant {
    /// Whether the caller may read the field. Internal fields and passwords never are readable. A
    /// formula tells what it was made of: who may not read one of its inputs may not read it.
    #[must_use]
    pub fn can_read(&self, field: &str) -> bool {
        self.readable.contains(field)
            && self.schema.formulas.get(field).is_none_or(|formula| {
                let mut inputs = formula.inputs.iter();
                inputs.all(|input| self.readable.contains(input))
            })
    }

    /// Whether the caller may write the field.
    #[must_use]
    pub fn can_edit(&self, field: &str) -> bool {
        self.editable.contains(field)
    }
}

#[derive(Debug, Clone)]
struct MadeHere;

/// Decides.
///
/// # Errors
/// PERMISSION_DENIED when no permission set grants the operation.
pub(in crate::kernel) fn grant(
    asking: AccessRequest<'_>,
    schema: &Arc<Schema>,
    operation: Operation,
) -> Result<Grant> {
    decide(asking, schema, operation, 0).map(without_deleted)
}

/// All of an object: what the platform itself works with.
pub(in crate::kernel) fn everything(schema: &Arc<Schema>) -> Grant {
    Grant {
        schema: Arc::clone(schema),
        rows: Predicate::True,
        check: Predicate::True,
        readable: FieldSet::All,
        editable: FieldSet::All,
        transfer: true,
        _made_here: MadeHere,
    }
}

/// All records of an object that are not deleted, for questions of the kernel itself.
pub(in crate::kernel) fn live(schema: &Arc<Schema>) -> Grant {
    without_deleted(everything(schema))
}

/// A deleted record is gone for every door.
fn without_deleted(mut grant: Grant) -> Grant {
    if grant.schema.object.soft_delete
        && let Some(deleted_at) = grant.schema.column("deleted_at")
    {
        let is_live = Predicate::IsNull(Arc::clone(deleted_at));
        grant.rows = std::mem::replace(&mut grant.rows, Predicate::True).and(is_live);
    }
    grant
}

fn decide(
    asking: AccessRequest<'_>,
    schema: &Arc<Schema>,
    operation: Operation,
    depth: usize,
) -> Result<Grant> {
    let identity = match asking.principal {
        Principal::System(_) => return Ok(everything(schema)),
        Principal::User(identity) => identity,
    };
    let rights = rights::of(asking.registry, identity, schema);
    if !rights.allows(operation) || !visible::platform_allows(identity, schema, operation) {
        return Err(Error::denied(format!(
            "Not allowed to {} {}",
            operation.as_str(),
            schema.name()
        ))
        .with("operation", operation.as_str())
        .with("object", schema.name()));
    }
    let visible = visible::visible(asking, identity, &rights, schema, operation, depth);
    Ok(Grant {
        schema: Arc::clone(schema),
        rows: visible.rows,
        check: visible.check,
        readable: rights.readable.clone(),
        editable: rights.editable.clone(),
        transfer: rights.transfer,
        _made_here: MadeHere,
    })
}
