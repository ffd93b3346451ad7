//! Which rows: organisation ∧ (organisation-wide default, owner, master record) ∧ row policies
//! (docs/reference/security.md §6–7). Whatever widens or narrows what somebody sees joins in here: a room brings
//! a predicate, and both evaluators know it from then on.

use std::sync::Arc;

use mesh::identity::Identity;
use metadata::{OwdModel, PolicyOperation};

use super::{AccessRequest, decide, row_policy};
use crate::kernel::{
    eval::EvalContext,
    model::{
        cell::Cell,
        predicate::{Comparison, Predicate},
        rights::{Operation, Rights},
        schema::Schema,
    },
};

/// Masters of masters that `controlled_by_parent` follows.
const PARENTS_MAX: usize = 5;

/// The rows of an operation.
pub(super) struct Visible {
    /// Those that it reaches.
    pub(super) rows: Predicate,
    /// What a row must fit after a write.
    pub(super) check: Predicate,
}

/// Which rows an operation of a person reaches.
pub(super) fn visible(
    asking: AccessRequest<'_>,
    identity: &Arc<Identity>,
    rights: &Rights,
    schema: &Schema,
    operation: Operation,
    depth: usize,
) -> Visible {
    let tenant = tenant(identity, schema);
    let sharing = sharing(asking, identity, rights, schema, operation, depth);
    let policies = policies(asking, identity, rights, schema, operation);
    let rows = tenant.clone().and(sharing.clone()).and(policies.using);
    let controlled = schema.object.owd() == OwdModel::ControlledByParent;
    let kept = match operation {
        // A detail is a part of its master, so adding one is changing that.
        Operation::Create if controlled && !rights.modify_all => {
            controlled_by_parent(asking, schema, operation, depth)
        }
        Operation::Create => Predicate::True,
        // Who may hand a record over may move it out of their own reach.
        Operation::Read | Operation::Edit | Operation::Delete if rights.transfer => Predicate::True,
        Operation::Read | Operation::Edit | Operation::Delete => sharing,
    };
    Visible {
        rows,
        check: tenant.and(kept).and(policies.check),
    }
}

/// Rules of the platform's own objects that no permission set lifts.
pub(super) fn platform_allows(identity: &Identity, schema: &Schema, operation: Operation) -> bool {
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

/// The organisation-wide default, the owner, the master record (docs/reference/security.md §7).
fn sharing(
    asking: AccessRequest<'_>,
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
        (OwdModel::ControlledByParent, _) => controlled_by_parent(asking, schema, operation, depth),
    }
}

/// Readable when the master is readable, writable when the master is writable.
fn controlled_by_parent(
    asking: AccessRequest<'_>,
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
        target.and_then(|target| asking.registry.schema(target)),
        depth < PARENTS_MAX,
    ) else {
        return Predicate::False;
    };
    let operation = match operation {
        Operation::Read => Operation::Read,
        Operation::Create | Operation::Edit | Operation::Delete => Operation::Edit,
    };
    match decide(asking, parent, operation, depth + 1) {
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
/// not compile grants nothing (docs/reference/security.md §6).
fn policies(
    asking: AccessRequest<'_>,
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
    let eval_context = EvalContext::of(identity, asking.now);
    let compile =
        |source: &str| row_policy::compile(source, schema, asking.registry, &eval_context);
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
