//! What a set of permission sets grants on an object: the part of a decision that does not depend
//! on who asks, and is therefore remembered (docs/reference/security.md §4–5).

use std::{collections::BTreeMap, sync::Arc};

use mesh::identity::{ADMIN_PERMISSION_SET, Identity};
use metadata::{Field, FieldType, ObjectPermission, PermissionSet};

use crate::kernel::model::{
    field_set::FieldSet, registry::Registry, rights::Rights, schema::Schema,
};

/// The object of the audit log.
const AUDIT_LOG: &str = "sys_audit_log";

/// The rights of an identity on an object.
pub(super) fn of(registry: &Registry, identity: &Identity, schema: &Schema) -> Arc<Rights> {
    let merged = |sets: &[&PermissionSet]| merge(sets, schema, &identity.positions);
    registry.rights(identity, schema.name(), merged)
}

/// Merges what the sets grant on an object. Bits are OR-ed; a named entry beats `*` within one set.
pub(super) fn merge(sets: &[&PermissionSet], schema: &Schema, positions: &[String]) -> Rights {
    let mut merged = ObjectPermission::default();
    for set in sets {
        // Its entries are whole images of records, past the rights on their fields: nobody means it by `*`.
        let by_name = schema.name() == AUDIT_LOG && set.name != ADMIN_PERMISSION_SET;
        let entry = match by_name {
            true => set.objects.get(AUDIT_LOG),
            false => set.object(schema.name()),
        };
        let Some(entry) = entry else {
            continue;
        };
        merged.allow_create |= entry.allow_create;
        merged.allow_read |= entry.allow_read;
        merged.allow_edit |= entry.allow_edit;
        merged.allow_delete |= entry.allow_delete;
        merged.allow_transfer |= entry.allow_transfer;
        merged.view_all_records |= entry.view_all_records;
        merged.modify_all_records |= entry.modify_all_records;
    }
    let modify_all = merged.modify_all_records;
    let view_all = merged.view_all_records || modify_all;
    let (readable, editable) = fields(sets, schema);
    Rights {
        create: merged.allow_create,
        read: merged.allow_read || view_all,
        edit: merged.allow_edit || modify_all,
        delete: merged.allow_delete || modify_all,
        transfer: merged.allow_transfer || modify_all,
        view_all,
        modify_all,
        readable,
        editable,
        policies: sets
            .iter()
            .flat_map(|set| &set.row_level_security)
            .filter(|policy| {
                policy.enabled && (policy.object == "*" || policy.object == schema.name())
            })
            .filter(|policy| {
                policy.positions.is_empty()
                    || policy.positions.iter().any(|name| positions.contains(name))
            })
            .cloned()
            .collect(),
    }
}

/// Fields without an entry in any set are open (or closed, when the object says so); entries of
/// several sets merge most permissively. A field that asks for system permissions is closed to who
/// lacks one of them, and one with a masking rule, which nobody applies yet, is closed to readers.
fn fields(sets: &[&PermissionSet], schema: &Schema) -> (FieldSet, FieldSet) {
    let admin = sets.iter().any(|set| set.name == ADMIN_PERMISSION_SET);
    let held = |key: &String| sets.iter().any(|set| set.system_permissions.contains(key));
    let is_hidden = |field: &Field, readable: bool| {
        let secret = matches!(field.field_type, FieldType::Password | FieldType::Secret);
        let lacking = !field.required_permissions.iter().all(held);
        (readable && (field.internal || secret))
            || (!admin && (lacking || (readable && field.masking_rule.is_some())))
    };
    let hidden = |readable: bool| -> Vec<String> {
        let fields = schema.object.fields.values();
        let hidden = fields.filter(|field| is_hidden(field, readable));
        hidden.map(|field| field.name.clone()).collect()
    };
    let mut entries: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    if !admin {
        for (field, entry) in sets
            .iter()
            .filter_map(|set| set.fields.get(schema.name()))
            .flatten()
        {
            let merged = entries.entry(field).or_default();
            merged.0 |= entry.readable;
            merged.1 |= entry.editable;
        }
    }
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names.dedup();
        names
    };
    if schema.object.field_default_deny && !admin {
        let only = |readable: bool, pick: fn(&(bool, bool)) -> bool| {
            let mut names: Vec<String> = entries
                .iter()
                .filter(|(_, rights)| pick(rights))
                .map(|(name, _)| (*name).to_owned())
                .collect();
            names.extend(
                schema
                    .object
                    .fields
                    .values()
                    .filter(|field| field.system)
                    .map(|field| field.name.clone()),
            );
            let hidden = hidden(readable);
            names.retain(|name| !hidden.contains(name));
            FieldSet::Only(sorted(names))
        };
        return (
            only(true, |rights| rights.0),
            only(false, |rights| rights.1),
        );
    }
    let all_but = |readable: bool, pick: fn(&(bool, bool)) -> bool| {
        let mut names = hidden(readable);
        names.extend(
            entries
                .iter()
                .filter(|(_, rights)| !pick(rights))
                .map(|(name, _)| (*name).to_owned()),
        );
        if names.is_empty() {
            FieldSet::All
        } else {
            FieldSet::AllBut(sorted(names))
        }
    };
    (
        all_but(true, |rights| rights.0),
        all_but(false, |rights| rights.1),
    )
}
