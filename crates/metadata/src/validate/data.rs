//! Objects, fields, rules and seeds.

use serde_json::Value;

use super::Check;
use crate::field::{Field, FieldType};
use crate::item_type::ItemType;
use crate::object::{Object, OwdModel};
use crate::seed::Seed;

pub(super) fn check(check: &mut Check<'_>) {
    let pkg = check.pkg;
    for object in &pkg.objects {
        object_checks(check, object);
    }
    for extension in &pkg.extensions {
        let path = format!("objectExtensions.{}", extension.extend);
        check.unknown_object(None, path.clone(), &extension.extend);
        for field in extension.fields.values() {
            field_checks(
                check,
                &extension.extend,
                field,
                format!("{path}.fields.{}", field.name),
            );
        }
    }
    for seed in &pkg.seeds {
        seed_checks(check, seed);
    }
}

fn object_checks(check: &mut Check<'_>, object: &Object) {
    let file = check.file(ItemType::Object, &object.name);
    let path = format!("objects.{}", object.name);
    if object.fields.is_empty() {
        check.warn(
            file.clone(),
            "OBJECT_WITHOUT_FIELDS",
            path.clone(),
            "the object declares no fields".to_owned(),
            "add `fields`",
        );
    }
    if object.sharing_model == Some(OwdModel::ControlledByParent) && object.master_field().is_none()
    {
        check.warn(
            file.clone(),
            "PARENT_MISSING",
            format!("{path}.sharingModel"),
            "access is controlled by the parent, but no field is a master_detail".to_owned(),
            "add a master_detail field, or choose another sharing model",
        );
    }
    let named = object.name_field.as_deref().map(|name| ("nameField", name));
    let searched = object
        .search_fields
        .iter()
        .map(|name| ("search.fields", name.as_str()));
    for (key, name) in named.into_iter().chain(searched) {
        check.unknown_field(file.clone(), format!("{path}.{key}"), &object.name, name);
    }
    for (i, index) in object.indexes.iter().enumerate() {
        for name in &index.fields {
            let path = format!("{path}.indexes[{i}]");
            check.unknown_field(file.clone(), path, &object.name, name);
        }
    }
    for rule in &object.validations {
        for name in rule.rule.fields() {
            let path = format!("{path}.validations.{}", rule.name);
            check.unknown_field(file.clone(), path, &object.name, name);
        }
    }
    for field in object.fields.values() {
        field_checks(
            check,
            &object.name,
            field,
            format!("{path}.fields.{}", field.name),
        );
    }
}

fn field_checks(check: &mut Check<'_>, object: &str, field: &Field, path: String) {
    let file = check.file(ItemType::Object, object);
    if let Some(reference) = field.reference.as_ref().filter(|_| field.is_reference()) {
        check.unknown_object(file.clone(), format!("{path}.reference"), reference);
    }
    if let Some(summary) = &field.summary {
        let path = format!("{path}.summaryOperations");
        check.unknown_object(file.clone(), path.clone(), &summary.object);
        for name in [&summary.field, &summary.relationship_field]
            .into_iter()
            .flatten()
        {
            check.unknown_field(file.clone(), path.clone(), &summary.object, name);
        }
        let child = check.pkg.object(&summary.object);
        let points_here = |f: &Field| f.is_reference() && f.reference.as_deref() == Some(object);
        let unrelated = child.is_some_and(|child| !child.fields.values().any(points_here));
        if unrelated && summary.relationship_field.is_none() {
            check.warn(
                file.clone(),
                "SUMMARY_UNRELATED",
                path,
                format!(
                    "no field of \"{}\" points at \"{object}\", so there is nothing to sum up",
                    summary.object
                ),
                "add a lookup or master_detail field to the child object",
            );
        }
    }
    let default = field.default_value.as_ref().and_then(Value::as_str);
    let takes_option = matches!(field.field_type, FieldType::Select | FieldType::Radio);
    if let Some(default) = default.filter(|default| takes_option && !field.allows_option(default)) {
        check.warn(
            file,
            "DEFAULT_NOT_AN_OPTION",
            format!("{path}.defaultValue"),
            format!("the default \"{default}\" is none of the options, so every insert that relies on it fails"),
            "use the value of an option",
        );
    }
}

fn seed_checks(check: &mut Check<'_>, seed: &Seed) {
    let file = check.file(ItemType::Seed, &seed.name);
    let path = format!("data.{}", seed.name);
    check.unknown_object(file.clone(), format!("{path}.object"), &seed.object);
    if seed.external_id != "id" {
        let path = format!("{path}.externalId");
        check.unknown_field(file.clone(), path, &seed.object, &seed.external_id);
    }
    for (i, record) in seed.records.iter().enumerate() {
        for name in record.keys() {
            let path = format!("{path}.records[{i}].{name}");
            check.unknown_field(file.clone(), path, &seed.object, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;
    use serde_json::json;

    #[test]
    fn references_and_summaries() {
        let found = findings(json!({"objects": [
            {"name": "a", "sharingModel": "controlled_by_parent", "fields": {
                "x": {"type": "lookup", "reference": "gone"},
                "n": {"type": "summary", "summaryOperations": {"object": "b", "function": "count"}}}},
            {"name": "b", "fields": {"t": {"type": "select", "options": ["u"], "defaultValue": "v"}}}
        ]}));
        assert_eq!(
            found,
            [
                "PARENT_MISSING objects.a.sharingModel",
                "UNKNOWN_OBJECT objects.a.fields.x.reference",
                "SUMMARY_UNRELATED objects.a.fields.n.summaryOperations",
                "DEFAULT_NOT_AN_OPTION objects.b.fields.t.defaultValue",
            ]
        );
    }

    #[test]
    fn rules_and_seeds_name_known_fields() {
        let found = findings(json!({
            "objects": [{"name": "a", "fields": {"name": {"type": "text"}}, "validations": [
                {"name": "r", "type": "format", "message": "m", "field": "mail", "format": "email"}]}],
            "data": [{"object": "a", "records": [{"name": "x", "siez": 1}]}, {"object": "b", "records": []}]
        }));
        assert_eq!(
            found,
            [
                "UNKNOWN_FIELD objects.a.validations.r",
                "UNKNOWN_FIELD data.a.records[0].siez",
                "UNKNOWN_OBJECT data.b.object",
            ]
        );
    }
}
