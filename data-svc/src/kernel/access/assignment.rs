//! Who may hand rights to others (docs/reference/security.md §3).

use mesh::{Error, Result, identity::Identity};
use metadata::PermissionSet;

use super::{
    principal::Principal,
    rights::{self, merge},
};
use crate::kernel::model::{cell::Cell, registry::Registry, schema::Schema};

/// Objects that say who may do what: changing them needs `manage_users`.
const ASSIGNMENTS: [&str; 3] = [
    "sys_user_permission_set",
    "sys_user_position",
    "sys_position_permission_set",
];

/// The object whose records give permission sets to users.
pub const USER_PERMISSION_SET: &str = "sys_user_permission_set";

/// Nobody assigns rights that they lack; says so for a record as it is to be.
///
/// # Errors
/// PERMISSION_DENIED.
pub fn check(
    registry: &Registry,
    principal: &Principal,
    schema: &Schema,
    cells: &[Cell],
) -> Result<()> {
    let Principal::User(identity) = principal else {
        return Ok(());
    };
    if !ASSIGNMENTS.contains(&schema.name()) || identity.is_admin() {
        return Ok(());
    }
    let Some(name) = schema
        .position("permission_set")
        .and_then(|position| cells[position].as_text())
    else {
        // A position may carry any set tomorrow: only administrators give positions.
        return Err(Error::denied("Only an administrator may assign positions")
            .with("object", schema.name()));
    };
    let covered = registry
        .permission_set(name)
        .is_some_and(|set| covers(identity, registry, set));
    if covered {
        return Ok(());
    }
    let message = format!("Not allowed to assign `{name}`: it grants more than you hold");
    Err(Error::denied(message)
        .with("object", schema.name())
        .with("subject", name))
}

/// Whether an identity holds everything that a permission set grants.
fn covers(identity: &Identity, registry: &Registry, set: &PermissionSet) -> bool {
    let keys = set
        .system_permissions
        .iter()
        .all(|key| identity.has_permission(key));
    let bits = registry.schemas().all(|schema| {
        let given = merge(&[set], schema, &[]);
        let held = rights::of(registry, identity, schema);
        (!given.create || held.create)
            && (!given.read || held.read)
            && (!given.edit || held.edit)
            && (!given.delete || held.delete)
            && (!given.transfer || held.transfer)
            && (!given.view_all || held.view_all)
            && (!given.modify_all || held.modify_all)
    });
    keys && bits
}
