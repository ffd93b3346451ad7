//! The one place that decides: (principal, object, operation) → verdict, readable fields, writable
//! fields, row predicate (architecture.md §5). Every door asks here.
//!
//! Invariant: nothing is granted that no permission set grants; what cannot be compiled denies.

use std::sync::Arc;

use mesh::{
    Error, Result,
    identity::{Identity, Kind, Purpose},
};
use metadata::{OwdModel, PolicyOperation};

use super::{
    expression::Speaker,
    predicate::{Comparison, Predicate},
    rights::Rights,
    row_policy,
    schema::Schema,
};
use crate::{domain::cell::Cell, registry::Registry};

/// What is done to an object's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Get, list, query, expand, search, export.
    Read,
    /// Create.
    Create,
    /// Update.
    Edit,
    /// Delete.
    Delete,
}

impl Operation {
    /// The word in messages and details.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Edit => "edit",
            Self::Delete => "delete",
        }
    }
}

/// For whom the engine works. There is no default: a missing identity is a compile error.
#[derive(Debug, Clone)]
pub enum Principal {
    /// A person, within their rights.
    User(Arc<Identity>),
    /// The platform itself, for a stated reason; unrestricted, and audited under that reason.
    System(&'static str),
}

impl Principal {
    /// The principal that an identity stands for.
    ///
    /// # Errors
    /// PERMISSION_DENIED for a service that states no purpose.
    pub fn of(identity: &Arc<Identity>) -> Result<Self> {
        match (identity.kind, identity.purpose) {
            (Kind::User, _) => Ok(Self::User(Arc::clone(identity))),
            (Kind::Service, Some(purpose)) => Ok(Self::System(purpose.as_str())),
            (Kind::Service, None) => Err(Error::denied("A service must state why it acts")),
        }
    }

    /// Whether the hooks and rules of an app apply: to people, and to flows of an app that run as
    /// system. The platform's own writes (seeds, projections) are no business of an app.
    #[must_use]
    pub fn is_bound_by_apps(&self) -> bool {
        match self {
            Self::User(_) => true,
            Self::System(reason) => *reason == Purpose::RunFlow.as_str(),
        }
    }

    /// Id of the person; `None` for the platform.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::User(identity) => Some(&identity.subject),
            Self::System(_) => None,
        }
    }

    /// The organisation in which the person acts.
    #[must_use]
    pub fn organization_id(&self) -> Option<&str> {
        match self {
            Self::User(identity) => identity.organization_id.as_deref(),
            Self::System(_) => None,
        }
    }
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
}

/// A set of fields of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldSet {
    /// All of them.
    All,
    /// All but these, sorted.
    AllBut(Vec<String>),
    /// Only these, sorted.
    Only(Vec<String>),
}

impl FieldSet {
    /// Whether the field is in the set.
    #[must_use]
    pub fn contains(&self, field: &str) -> bool {
        let listed = |names: &[String]| {
            names
                .binary_search_by(|name| name.as_str().cmp(field))
                .is_ok()
        };
        match self {
            Self::All => true,
            Self::AllBut(names) => !listed(names),
            Self::Only(names) => listed(names),
        }
    }
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

/// Objects that say who may do what: changing them needs `manage_users`.
pub const ASSIGNMENTS: [&str; 3] = [
    "sys_user_permission_set",
    "sys_user_position",
    "sys_position_permission_set",
];

/// Decides.
///
/// # Errors
/// PERMISSION_DENIED when no permission set grants the operation.
pub fn grant(
    registry: &Registry,
    principal: &Principal,
    schema: &Arc<Schema>,
    operation: Operation,
) -> Result<Grant> {
    let mut grant = decide(registry, principal, schema, operation, 0)?;
    // A deleted record is gone for every door.
    if schema.object.soft_delete
        && let Some(deleted_at) = schema.column("deleted_at")
    {
        grant.rows = grant.rows.and(Predicate::IsNull(Arc::clone(deleted_at)));
    }
    Ok(grant)
}

/// Masters of masters that `controlled_by_parent` follows.
const PARENTS_MAX: usize = 5;

fn decide(
    registry: &Registry,
    principal: &Principal,
    schema: &Arc<Schema>,
    operation: Operation,
    depth: usize,
) -> Result<Grant> {
    let identity = match principal {
        Principal::System(_) => {
            return Ok(Grant {
                schema: Arc::clone(schema),
                rows: Predicate::True,
                check: Predicate::True,
                readable: FieldSet::All,
                editable: FieldSet::All,
                transfer: true,
            });
        }
        Principal::User(identity) => identity,
    };
    let rights = registry.rights(identity, schema);
    if !rights.allows(operation) || !platform_allows(identity, schema, operation) {
        return Err(Error::denied(format!(
            "Not allowed to {} {}",
            operation.as_str(),
            schema.name()
        ))
        .with("operation", operation.as_str())
        .with("object", schema.name()));
    }
    let tenant = tenant(identity, schema);
    let sharing = sharing(
        registry, principal, identity, &rights, schema, operation, depth,
    );
    let policies = policies(registry, identity, &rights, schema, operation);
    let rows = tenant.clone().and(sharing.clone()).and(policies.using);
    // Who may hand a record over may move it out of their own reach.
    let kept = if rights.transfer || operation == Operation::Create {
        Predicate::True
    } else {
        sharing
    };
    Ok(Grant {
        schema: Arc::clone(schema),
        check: tenant.and(kept).and(policies.check),
        rows,
        readable: rights.readable.clone(),
        editable: rights.editable.clone(),
        transfer: rights.transfer,
    })
}

/// Rules of the platform's own objects that no permission set lifts.
fn platform_allows(identity: &Identity, schema: &Schema, operation: Operation) -> bool {
    match schema.name() {
        // Entries are only ever added, and only by the engine.
        "sys_audit_log" => operation == Operation::Read,
        name if operation != Operation::Read && name.starts_with("sys_") => {
            identity.has_permission("manage_users")
        }
        _ => true,
    }
}

/// Rows of other organisations do not exist.
fn tenant(identity: &Identity, schema: &Schema) -> Predicate {
    if !schema.object.tenancy {
        return Predicate::True;
    }
    match (schema.column("organization_id"), &identity.organization_id) {
        (Some(column), Some(id)) => {
            Predicate::Compare(Arc::clone(column), Comparison::Eq, Cell::Text(id.clone()))
        }
        _ => Predicate::False,
    }
}

/// The organisation-wide default, the owner, the master record (spec/security.md §7).
fn sharing(
    registry: &Registry,
    principal: &Principal,
    identity: &Identity,
    rights: &Rights,
    schema: &Schema,
    operation: Operation,
    depth: usize,
) -> Predicate {
    let lifted = match operation {
        Operation::Read => rights.view_all || rights.modify_all,
        Operation::Create => true,
        Operation::Edit | Operation::Delete => rights.modify_all,
    };
    if lifted {
        return Predicate::True;
    }
    match (schema.object.owd(), operation) {
        (OwdModel::PublicReadWrite, _) | (OwdModel::PublicRead, Operation::Read) => Predicate::True,
        (OwdModel::Private | OwdModel::PublicRead, _) => match schema.column("owner_id") {
            Some(owner) => Predicate::Compare(
                Arc::clone(owner),
                Comparison::Eq,
                Cell::Text(identity.subject.clone()),
            ),
            // Without an owner there is nobody to keep the record for.
            None => Predicate::True,
        },
        (OwdModel::ControlledByParent, _) => {
            controlled_by_parent(registry, principal, schema, operation, depth)
        }
    }
}

/// Readable when the master is readable, writable when the master is writable.
fn controlled_by_parent(
    registry: &Registry,
    principal: &Principal,
    schema: &Schema,
    operation: Operation,
    depth: usize,
) -> Predicate {
    let master = schema
        .columns
        .iter()
        .find(|column| column.field.field_type == metadata::FieldType::MasterDetail);
    let target = master.and_then(|column| column.field.reference.as_deref());
    let (Some(column), Some(parent), true) = (
        master,
        target.and_then(|target| registry.schema(target)),
        depth < PARENTS_MAX,
    ) else {
        return Predicate::False;
    };
    let operation = match operation {
        Operation::Read => Operation::Read,
        Operation::Create | Operation::Edit | Operation::Delete => Operation::Edit,
    };
    match decide(registry, principal, parent, operation, depth + 1) {
        Ok(grant) => Predicate::Related {
            column: Arc::clone(column),
            table: parent.name().to_owned(),
            predicate: Box::new(grant.rows),
        },
        Err(_) => Predicate::False,
    }
}

struct Policies {
    using: Predicate,
    check: Predicate,
}

/// Row-level policies: those that apply are OR-ed; none that apply restricts nothing; what does
/// not compile grants nothing (spec/security.md §6).
fn policies(
    registry: &Registry,
    identity: &Arc<Identity>,
    rights: &Rights,
    schema: &Schema,
    operation: Operation,
) -> Policies {
    let bypass = identity.is_admin()
        || rights.modify_all
        || (operation == Operation::Read && rights.view_all);
    let open = Policies {
        using: Predicate::True,
        check: Predicate::True,
    };
    if bypass {
        return open;
    }
    let class = |policy: &metadata::RowLevelPolicy| match (policy.operation, operation) {
        (PolicyOperation::All, _)
        | (PolicyOperation::Select, Operation::Read)
        | (PolicyOperation::Insert, Operation::Create)
        | (PolicyOperation::Update, Operation::Edit)
        | (PolicyOperation::Delete, Operation::Delete) => true,
        (
            PolicyOperation::Select
            | PolicyOperation::Insert
            | PolicyOperation::Update
            | PolicyOperation::Delete,
            _,
        ) => false,
    };
    let mut applicable: Vec<_> = rights
        .policies
        .iter()
        .filter(|policy| class(policy))
        .collect();
    if applicable.is_empty() && matches!(operation, Operation::Edit | Operation::Delete) {
        applicable = rights
            .policies
            .iter()
            .filter(|policy| policy.operation == PolicyOperation::Select)
            .collect();
    }
    // organization_id on an object without tenancy is no restriction.
    applicable.retain(|policy| !row_policy::is_tenant_isolation(policy, schema));
    if applicable.is_empty() {
        return open;
    }
    let speaker = Speaker::of(identity, mesh::clock::now());
    let compile = |source: &str| row_policy::compile(source, schema, registry, &speaker);
    let (mut using, mut check) = (Predicate::False, Predicate::False);
    for policy in applicable {
        if operation != Operation::Create
            && let Some(source) = &policy.using
        {
            using = using.or(compile(source));
        }
        if let Some(source) = policy.check.as_ref().or(policy.using.as_ref()) {
            check = check.or(compile(source));
        }
    }
    if operation == Operation::Create {
        using = Predicate::True;
    }
    if operation == Operation::Read {
        check = Predicate::True;
    }
    Policies { using, check }
}
