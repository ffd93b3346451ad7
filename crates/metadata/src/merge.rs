//! Several packages into the objects a registry serves.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::diagnostics::Diagnostic;
use crate::object::{Object, ObjectExtension};
use crate::package::Package;

/// Merges the objects of all packages, applies their extensions in order of priority and adds
/// the server's fields. Of two packages that declare one object, the first keeps it.
pub fn merge_packages(packages: Vec<Package>) -> (Vec<Object>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut objects: IndexMap<String, Object> = IndexMap::new();
    let mut extensions: Vec<(String, ObjectExtension)> = Vec::new();
    for package in packages {
        for object in package.objects {
            if let Some(other) = objects.get(&object.name) {
                diagnostics.push(duplicate(&object, &other.package_id));
                continue;
            }
            objects.insert(object.name.clone(), object);
        }
        let id = package.id;
        let own = package.extensions.into_iter();
        extensions.extend(own.map(|extension| (id.clone(), extension)));
    }
    // Stable: extensions of one priority apply in the order of the packages.
    extensions.sort_by_key(|(_, extension)| extension.priority);
    for (package_id, extension) in extensions {
        match objects.get_mut(&extension.extend) {
            Some(object) => extend(object, extension, &package_id, &mut diagnostics),
            None => diagnostics.push(
                Diagnostic::warning(
                    "DANGLING_EXTENSION",
                    format!("objectExtensions.{}", extension.extend),
                    format!(
                        "package {package_id} extends object \"{}\", which no package declares",
                        extension.extend
                    ),
                )
                .with_hint("install the package that declares it, or correct `extend`"),
            ),
        }
    }
    let finished = objects.into_values().map(|object| {
        let mut object = object.with_system_fields();
        check_columns(&mut object, &mut diagnostics);
        drop_bad_indexes(&mut object, &mut diagnostics);
        object
    });
    let finished = finished.collect();
    (finished, diagnostics)
}

fn duplicate(object: &Object, owner: &str) -> Diagnostic {
    let message = format!(
        "object \"{}\" of package {} is declared by {owner} already; the latter is kept",
        object.name, object.package_id
    );
    Diagnostic::error(
        "DUPLICATE_OBJECT",
        format!("objects.{}", object.name),
        message,
    )
    .with_hint(
        "rename it with the namespace of its package, or add to the other with objectExtensions",
    )
}

fn extend(
    object: &mut Object,
    extension: ObjectExtension,
    package_id: &str,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (name, field) in extension.fields {
        if object.fields.contains_key(&name) {
            diagnostics.push(
                Diagnostic::warning(
                    "FIELD_OVERRIDDEN",
                    format!("objectExtensions.{}.fields.{name}", object.name),
                    format!(
                        "package {package_id} replaces field \"{name}\" of \"{}\"",
                        object.name
                    ),
                )
                .with_hint("give the added field a name of its own unless this is meant"),
            );
        }
        object.fields.insert(name, field);
    }
    object.tenancy |= object.fields.contains_key("organization_id");
    object.validations.extend(extension.validations);
    object.validations.sort_by_key(|rule| rule.priority);
    object.indexes.extend(extension.indexes);
    if let Some(label) = extension.label {
        object.label = label;
    }
    if let Some(label) = extension.plural_label {
        object.plural_label = label;
    }
    if extension.description.is_some() {
        object.description = extension.description;
    }
}

/// Only here are all fields together: a declared column may be the server's.
fn check_columns(object: &mut Object, diagnostics: &mut Vec<Diagnostic>) {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let mut bad = Vec::new();
    // The server's fields first: they keep their columns.
    let fields = object.fields.values();
    let ordered = fields
        .clone()
        .filter(|f| f.system)
        .chain(fields.filter(|f| !f.system));
    for field in ordered {
        if let Some(owner) = owners.get(&field.column) {
            diagnostics.push(
                Diagnostic::error(
                    "DUPLICATE_COLUMN",
                    format!("objects.{}.fields.{}", object.name, field.name),
                    format!(
                        "column \"{}\" belongs to field \"{owner}\" already; the field is left out",
                        field.column
                    ),
                )
                .with_hint("give the field another `columnName`"),
            );
            bad.push(field.name.clone());
            continue;
        }
        owners.insert(field.column.clone(), field.name.clone());
    }
    object.fields.retain(|name, _| !bad.contains(name));
}

fn drop_bad_indexes(object: &mut Object, diagnostics: &mut Vec<Diagnostic>) {
    let fields = &object.fields;
    let name = &object.name;
    object.indexes.retain(|index| {
        let known = |field: &String| fields.get(field).is_some_and(|f| f.is_stored());
        let Some(unknown) = index.fields.iter().find(|field| !known(field)) else {
            return true;
        };
        diagnostics.push(
            Diagnostic::warning(
                "INDEX_FIELD_UNKNOWN",
                format!("objects.{name}.indexes"),
                format!(
                    "an index names \"{unknown}\", which is no stored field; the index is left out"
                ),
            )
            .with_hint("correct the field name, or remove the index"),
        );
        false
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_value;
    use serde_json::{Value, json};

    fn package(id: &str, mut rest: Value) -> Package {
        rest["manifest"] = json!({"id": id, "version": "1.0.0", "name": id});
        load_value(rest, None).package
    }

    fn codes(diagnostics: &[Diagnostic]) -> Vec<&str> {
        diagnostics.iter().map(|d| d.code.as_str()).collect()
    }

    #[test]
    fn first_package_keeps_the_object() {
        let a = package(
            "com.a",
            json!({"objects": [{"name": "thing", "label": "A"}]}),
        );
        let b = package(
            "com.b",
            json!({"objects": [{"name": "thing", "label": "B"}]}),
        );
        let (objects, diagnostics) = merge_packages(vec![a, b]);
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0].label, "A");
        assert_eq!(codes(&diagnostics), ["DUPLICATE_OBJECT"]);
    }

    #[test]
    fn extensions_add_and_the_highest_priority_wins() {
        let base = package(
            "com.a",
            json!({"objects": [
                {"name": "thing", "fields": {"size": {"type": "text"}}}
            ]}),
        );
        let more = package(
            "com.b",
            json!({"objectExtensions": [
                {"extend": "thing", "priority": 900, "fields": {"size": {"type": "number", "label": "Last"}}},
                {"extend": "thing", "priority": 1, "fields": {
                    "size": {"type": "text", "label": "First"}, "extra": {"type": "text"}}},
                {"extend": "gone"}
            ]}),
        );
        let (objects, diagnostics) = merge_packages(vec![base, more]);
        assert_eq!(objects[0].fields["size"].label, "Last");
        assert!(objects[0].fields.contains_key("extra"));
        assert!(objects[0].fields["id"].system);
        let found = codes(&diagnostics);
        assert!(found.contains(&"DANGLING_EXTENSION") && found.contains(&"FIELD_OVERRIDDEN"));
    }

    #[test]
    fn columns_of_the_server_and_fields_of_indexes_are_checked() {
        let package = package(
            "com.a",
            json!({"objects": [{"name": "thing",
            "fields": {"size": {"type": "text", "columnName": "created_at"}, "f": {"type": "formula", "expression": "1"}},
            "indexes": [{"fields": ["created_by"]}, {"fields": ["f"]}, {"fields": ["nope"]}]}]}),
        );
        let (objects, diagnostics) = merge_packages(vec![package]);
        assert!(!objects[0].fields.contains_key("size"));
        assert_eq!(objects[0].indexes.len(), 1);
        let want = [
            "DUPLICATE_COLUMN",
            "INDEX_FIELD_UNKNOWN",
            "INDEX_FIELD_UNKNOWN",
        ];
        assert_eq!(codes(&diagnostics), want);
    }
}
