//! The fields the server adds to every object.

use crate::field::{Field, FieldType, Unique};
use crate::object::Object;

/// Longest record id: foreign ids are opaque strings.
const ID_LENGTH_MAX: u64 = 255;

pub(crate) fn inject(mut object: Object) -> Object {
    let wanted = wanted(&object);
    let mut declared = std::mem::take(&mut object.fields);
    let mut after = Vec::new();
    for mut field in wanted {
        match declared.get_mut(&field.name) {
            Some(slot) => {
                keep_presentation(&mut field, slot);
                *slot = field;
            }
            None if field.name == "id" => {
                object.fields.insert(field.name.clone(), field);
            }
            None => after.push(field),
        }
    }
    object.fields.append(&mut declared);
    for field in after {
        object.fields.insert(field.name.clone(), field);
    }
    object
}

/// The server's fields of this object, in display order.
fn wanted(object: &Object) -> Vec<Field> {
    let mut fields = vec![id()];
    let system = object.system_fields;
    let declared = |name: &str| object.fields.contains_key(name);
    if declared("owner_id") || object.wants_owner() {
        fields.push(user("owner_id", "Owner", false));
    }
    if declared("organization_id") || (object.tenancy && system.any && system.tenant) {
        fields.push(organization());
    }
    if !system.any {
        return fields;
    }
    if system.audit {
        fields.push(server_set("created_at", "Created At", FieldType::Datetime));
        fields.push(user("created_by", "Created By", true));
        fields.push(server_set("updated_at", "Updated At", FieldType::Datetime));
        fields.push(user("updated_by", "Updated By", true));
    }
    fields.push(version());
    if object.soft_delete {
        let mut deleted = server_set("deleted_at", "Deleted At", FieldType::Datetime);
        deleted.hidden = true;
        deleted.index = true;
        fields.push(deleted);
    }
    fields
}

/// What the author may say about a field that the server owns.
fn keep_presentation(field: &mut Field, declared: &Field) {
    field.label.clone_from(&declared.label);
    field.description.clone_from(&declared.description);
    field
        .inline_help_text
        .clone_from(&declared.inline_help_text);
    field.placeholder.clone_from(&declared.placeholder);
    field.group.clone_from(&declared.group);
    field.visible_when.clone_from(&declared.visible_when);
    field.column.clone_from(&declared.column);
    field.hidden = declared.hidden;
    field.internal = declared.internal;
    field.index |= declared.index;
    field.searchable = declared.searchable;
    field.track_history = declared.track_history;
    field
        .required_permissions
        .clone_from(&declared.required_permissions);
    field.masking_rule.clone_from(&declared.masking_rule);
    if field.name == "owner_id" {
        // An owner that is set by hand may be required, defaulted and restricted like any lookup.
        field.default_value.clone_from(&declared.default_value);
        field.delete_behavior = declared.delete_behavior;
        field.readonly = declared.readonly;
    }
}

fn server_set(name: &str, label: &str, field_type: FieldType) -> Field {
    let mut field = Field::new(name, field_type);
    field.label = label.to_owned();
    field.system = true;
    field.readonly = true;
    field
}

fn id() -> Field {
    let mut field = server_set("id", "ID", FieldType::Text);
    field.unique = Unique::Global;
    field.max_length = Some(ID_LENGTH_MAX);
    field.external_id = true;
    // A caller may bring an id on create; a patch may repeat it.
    field.readonly = false;
    field
}

fn version() -> Field {
    let mut field = server_set("version", "Version", FieldType::Number);
    field.scale = Some(0);
    field.min = Some(1.0);
    field
}

fn user(name: &str, label: &str, readonly: bool) -> Field {
    let mut field = server_set(name, label, FieldType::Lookup);
    field.reference = Some("sys_user".to_owned());
    field.readonly = readonly;
    field.index = !readonly;
    field
}

fn organization() -> Field {
    let mut field = server_set("organization_id", "Organization", FieldType::Lookup);
    field.reference = Some("sys_organization".to_owned());
    field.readonly = false;
    field.index = true;
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn names(value: Value) -> Vec<String> {
        let object = Object::from_value("ticket", &value).0.unwrap();
        object.with_system_fields().fields.into_keys().collect()
    }

    #[test]
    fn plain_object_gets_id_audit_and_version() {
        let got = names(json!({"fields": {"subject": {"type": "text"}}}));
        let want = [
            "id",
            "subject",
            "created_at",
            "created_by",
            "updated_at",
            "updated_by",
            "version",
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn owner_organisation_and_deletion_only_where_called_for() {
        let got = names(json!({
            "sharingModel": "private", "tenancy": {"enabled": true}, "softDelete": true
        }));
        for name in ["owner_id", "organization_id", "deleted_at"] {
            assert!(got.iter().any(|n| n == name), "{name}");
        }
        let open = names(json!({"sharingModel": "public_read_write"}));
        assert!(!open.iter().any(|n| n == "owner_id"));
    }

    #[test]
    fn opting_out_leaves_the_id() {
        let got = names(json!({"systemFields": false, "sharingModel": "private"}));
        assert_eq!(got, ["id"]);
    }

    #[test]
    fn declared_field_keeps_label_and_place_but_not_its_nature() {
        let value = json!({"fields": {
            "owner_id": {"type": "text", "label": "Handler"}, "created_at": {"type": "text"}
        }});
        let object = Object::from_value("ticket", &value)
            .0
            .unwrap()
            .with_system_fields();
        let owner = &object.fields["owner_id"];
        assert_eq!(owner.label, "Handler");
        assert_eq!(owner.field_type, FieldType::Lookup);
        assert!(owner.system && !owner.readonly);
        assert_eq!(object.fields["created_at"].field_type, FieldType::Datetime);
        assert_eq!(object.fields.get_index_of("owner_id"), Some(1));
    }

    #[test]
    fn injecting_twice_changes_nothing() {
        let value = json!({"sharingModel": "private", "fields": {"id": {"type": "text"}}});
        let once = Object::from_value("ticket", &value)
            .0
            .unwrap()
            .with_system_fields();
        assert_eq!(once.clone().with_system_fields(), once);
    }
}
