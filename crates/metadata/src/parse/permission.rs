//! Permission sets. Anything unreadable closes rather than opens.

use indexmap::IndexMap;
use serde_json::Value;

use crate::object::title_case;
use crate::permission::{
    FieldPermission, ObjectPermission, PermissionSet, PolicyOperation, RowLevelPolicy,
};
use crate::reader::{Entry, Reader, Sink};

pub(crate) fn permission_set(
    name: &str,
    value: &Value,
    path: String,
    sink: &Sink,
) -> Option<PermissionSet> {
    let reader = Reader::new(value, path, sink)?;
    let mut set = PermissionSet {
        name: name.to_owned(),
        label: reader
            .string(&["label"])
            .unwrap_or_else(|| title_case(name)),
        description: reader.string(&["description"]),
        is_profile: reader.flag(&["isProfile"]).unwrap_or(false),
        is_default: reader.flag(&["isDefault"]).unwrap_or(false),
        system_permissions: reader.strings(&["systemPermissions"]).unwrap_or_default(),
        ..PermissionSet::default()
    };
    for entry in reader.entries(&["objects", "objectPermissions"]) {
        let Some(object) = entry.name else {
            continue;
        };
        let bits = Reader::new(entry.value, entry.path, sink);
        // An unreadable entry still keeps the object from falling under `*`.
        let rights = bits.map_or_else(ObjectPermission::default, |bits| object_permission(&bits));
        set.objects.insert(object, rights);
    }
    for entry in reader.entries(&["fields", "fieldPermissions"]) {
        field_entry(&mut set, &reader, entry);
    }
    for entry in reader.entries(&["rowLevelSecurity"]) {
        let Some(policy) = Reader::new(entry.value, entry.path, sink) else {
            continue;
        };
        set.row_level_security.push(row_policy(entry.name, &policy));
    }
    for entry in reader.entries(&["tabPermissions"]) {
        if let (Some(tab), Some(word)) = (entry.name, entry.value.as_str()) {
            set.tab_permissions.insert(tab, word.to_owned());
        }
    }
    Some(set)
}

fn object_permission(bits: &Reader<'_>) -> ObjectPermission {
    let bit = |keys: &[&str]| bits.flag(keys).unwrap_or(false);
    ObjectPermission {
        allow_create: bit(&["allowCreate", "create"]),
        allow_read: bit(&["allowRead", "read"]),
        allow_edit: bit(&["allowEdit", "edit", "update"]),
        allow_delete: bit(&["allowDelete", "delete"]),
        allow_transfer: bit(&["allowTransfer"]),
        allow_restore: bit(&["allowRestore"]),
        allow_purge: bit(&["allowPurge"]),
        allow_export: bits.raw(&["allowExport"]).map(|_| bit(&["allowExport"])),
        view_all_records: bit(&["viewAllRecords", "viewAll"]),
        modify_all_records: bit(&["modifyAllRecords", "modifyAll"]),
    }
}

/// `"ticket.cost": {…}`, or nested `ticket: {cost: {…}}`.
fn field_entry(set: &mut PermissionSet, reader: &Reader<'_>, entry: Entry<'_>) {
    let Some(name) = entry.name else {
        return;
    };
    if let Some((object, field)) = name.split_once('.') {
        let rights = field_permission(reader, entry.value, entry.path);
        let fields = set.fields.entry(object.to_owned()).or_default();
        fields.insert(field.to_owned(), rights);
        return;
    }
    let Value::Object(nested) = entry.value else {
        reader.error(
            "INVALID_FIELD_PERMISSION",
            entry.path,
            format!("\"{name}\" names no field"),
            "write the key as \"object.field\"",
        );
        return;
    };
    let mut fields = IndexMap::new();
    for (field, value) in nested {
        let path = format!("{}.{field}", entry.path);
        fields.insert(field.clone(), field_permission(reader, value, path));
    }
    set.fields.insert(name, fields);
}

fn field_permission(reader: &Reader<'_>, value: &Value, path: String) -> FieldPermission {
    let Some(rights) = Reader::new(value, path, reader.sink) else {
        return FieldPermission {
            readable: false,
            editable: false,
        };
    };
    // Absent means readable, unreadable nonsense does not.
    let readable = match rights.raw(&["readable"]) {
        None => true,
        Some(_) => rights.flag(&["readable"]).unwrap_or(false),
    };
    FieldPermission {
        readable,
        editable: rights.flag(&["editable"]).unwrap_or(false),
    }
}

/// A policy with faults is kept, but matches nothing: policies add up, so leaving it out would
/// open the rows it was to close, and guessing might open others.
fn row_policy(name: Option<String>, reader: &Reader<'_>) -> RowLevelPolicy {
    let operation = operation(reader);
    let object = reader.string(&["object", "objectName"]);
    if object.is_none() {
        reader.error(
            "POLICY_WITHOUT_OBJECT",
            reader.path.clone(),
            "the policy names no object; it matches no row of any".to_owned(),
            "add `object`, or `object: \"*\"` if all are meant",
        );
    }
    let positions = positions(reader);
    let usable = operation.is_some() && object.is_some() && positions.is_some();
    let mut using = reader.cel(&["using"]);
    let mut check = reader.cel(&["check"]);
    if usable && using.is_none() && check.is_none() {
        reader.error(
            "POLICY_EMPTY",
            reader.path.clone(),
            "the policy has neither `using` nor `check`, so it matches no row".to_owned(),
            "add `using`, for example `owner_id == current_user.id`, or remove the policy",
        );
    }
    if !usable {
        using = None;
        check = None;
    }
    let object = object.unwrap_or_else(|| "*".to_owned());
    let operation = operation.unwrap_or(PolicyOperation::All);
    let usual = || format!("{}_{}", object.replace('*', "all"), operation.as_str());
    RowLevelPolicy {
        name: name.unwrap_or_else(usual),
        label: reader.string(&["label"]),
        object,
        operation,
        using,
        check,
        positions: positions.unwrap_or_default(),
        enabled: reader.flag(&["enabled"]).unwrap_or(true),
        priority: reader.integer(&["priority"]).unwrap_or(0),
    }
}

/// `None` when it cannot be read.
fn operation(reader: &Reader<'_>) -> Option<PolicyOperation> {
    let Some(value) = reader.raw(&["operation"]) else {
        return Some(PolicyOperation::All);
    };
    let read = value.as_str().and_then(PolicyOperation::parse);
    if read.is_none() {
        reader.error(
            "UNKNOWN_OPERATION",
            reader.at("operation"),
            format!("operation {value} is unknown; the policy matches no row"),
            "use select, insert, update, delete or all",
        );
    }
    read
}

/// `None` when some cannot be read: an empty list would mean everybody.
fn positions(reader: &Reader<'_>) -> Option<Vec<String>> {
    let keys = ["positions", "roles"];
    let Some(value) = reader.raw(&keys) else {
        return Some(Vec::new());
    };
    let written = value.as_array().map_or(1, Vec::len);
    let read = reader.strings(&keys).filter(|list| list.len() == written);
    if read.is_none() {
        reader.error(
            "POLICY_POSITIONS",
            reader.path.clone(),
            "the positions of the policy cannot be read; it matches no row".to_owned(),
            "write `positions` as a list of position names",
        );
    }
    read
}
