//! Metadata as a caller may see it: objects without read right are absent, unreadable fields are
//! left out (docs/reference/discovery.md §3).

use std::sync::Arc;

use mesh::identity::Identity;
use metadata::ItemType;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::kernel::Work;
use crate::kernel::{
    access::{Grant, Principal},
    model::{registry::Item, rights::Operation},
};

/// The items of a type that the caller may see, by name.
pub fn items(work: &Work, item_type: ItemType) -> impl Iterator<Item = &Item> {
    let items = work.registry.items(item_type).iter();
    items.filter(move |item| is_visible(work, item_type, item))
}

/// The object that an item names as its own.
#[must_use]
pub fn object_of(item: &Item) -> Option<&str> {
    let text = |key: &str| item.value.get(key).and_then(Value::as_str);
    text("objectName").or_else(|| text("object"))
}

fn is_visible(work: &Work, item_type: ItemType, item: &Item) -> bool {
    let Principal::User(identity) = &work.principal else {
        return true;
    };
    match item_type {
        ItemType::Object => readable(work, &item.name).is_some(),
        ItemType::App => required(&item.value)
            .iter()
            .all(|key| identity.has_permission(key)),
        // What grants rights is shown to those who administer them.
        ItemType::Permission | ItemType::Profile | ItemType::Seed => administers(identity),
        // An item about an object is not shown to those who may not read the object.
        _ => ["object", "objectName"]
            .iter()
            .find_map(|key| item.value.get(key).and_then(Value::as_str))
            .is_none_or(|object| {
                work.registry.schema(object).is_none() || readable(work, object).is_some()
            }),
    }
}

fn administers(identity: &Identity) -> bool {
    identity.has_permission("manage_users") || identity.has_permission("manage_metadata")
}

fn readable(work: &Work, object: &str) -> Option<Arc<Grant>> {
    let schema = work
        .registry
        .schema(object)
        .filter(|schema| schema.object.api_enabled)?;
    work.grant(schema, Operation::Read).ok()
}

fn required(value: &Value) -> Vec<&str> {
    value
        .get("requiredPermissions")
        .and_then(Value::as_array)
        .map(|keys| keys.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// An item as the caller sees it.
#[must_use]
pub fn shown(work: &Work, item_type: ItemType, item: &Item) -> Value {
    let mut value = item.value.clone();
    // A field or a label may be called like a secret; services work with what is written.
    let labels = matches!(item_type, ItemType::Object | ItemType::Translation);
    if let (Principal::User(_), false) = (&work.principal, labels) {
        mask_secrets(&mut value);
    }
    if let Value::Object(map) = &mut value {
        if item_type == ItemType::Object {
            show_fields(work, &item.name, map);
        }
        if item_type == ItemType::App
            && let Principal::User(identity) = &work.principal
        {
            for key in ["navigation", "navItems"] {
                if let Some(Value::Array(entries)) = map.get_mut(key) {
                    entries.retain(|entry| {
                        required(entry)
                            .iter()
                            .all(|key| identity.has_permission(key))
                    });
                }
            }
        }
        map.entry("name").or_insert_with(|| json!(item.name));
        map.insert("_packageId".to_owned(), json!(item.package_id));
        map.insert("_provenance".to_owned(), json!("package"));
    }
    value
}

/// What stands in place of a secret that an item holds.
const MASK: &str = "***";

/// Nobody reads a secret back that was written into metadata.
fn mask_secrets(value: &mut Value) {
    let is_secret = |key: &str| {
        ["secret", "password", "apikey", "token", "authorization"]
            .iter()
            .any(|name| key.eq_ignore_ascii_case(name))
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if is_secret(key) => MASK.clone_into(text),
                    other => mask_secrets(other),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask_secrets),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An item as the caller sees it, its labels in the first of those languages that there is; the
/// languages as in the header `Accept-Language`.
#[must_use]
pub fn shown_in(work: &Work, item_type: ItemType, item: &Item, languages: &str) -> Value {
    let mut value = shown(work, item_type, item);
    if let Value::Object(map) = &mut value {
        let translations = &work.registry.translations;
        translations.apply(languages, &item.package_id, item_type, &item.name, map);
    }
    value
}

/// An item in its layers, lowest first: what the platform brings, what a package brings, and what
/// was changed since; `effective` is the highest of them (docs/reference/metadata.md §10).
#[must_use]
pub fn layers(work: &Work, item_type: ItemType, item: &Item) -> Value {
    let shown = shown(work, item_type, item);
    let platform = item.package_id == metadata::naming::PLATFORM_PACKAGE_ID;
    let layer = |holds: bool| if holds { shown.clone() } else { Value::Null };
    json!({
        "type": item_type.as_str(),
        "name": item.name,
        "base": layer(platform),
        "package": layer(!platform),
        "overlay": null,
        "code": shown,
        "overlayScope": null,
        "effective": shown,
    })
}

/// Fields as a map, unreadable ones left out, injected system fields added.
fn show_fields(work: &Work, object: &str, map: &mut Map<String, Value>) {
    let Some(grant) = readable(work, object) else {
        return;
    };
    let mut declared = match map.remove("fields") {
        Some(Value::Object(fields)) => fields,
        Some(Value::Array(list)) => list
            .into_iter()
            .filter_map(|field| Some((field.get("name")?.as_str()?.to_owned(), field)))
            .collect(),
        _ => Map::new(),
    };
    let mut fields = Map::new();
    for field in grant.schema.object.fields.values() {
        if !grant.can_read(&field.name) {
            continue;
        }
        let shown = declared.remove(&field.name).unwrap_or_else(|| {
            let mut shown = json!({
                "name": field.name,
                "label": field.label,
                "type": field.field_type.as_str(),
                "readonly": field.readonly,
            });
            if let Some(reference) = &field.reference {
                shown["reference"] = json!(reference);
            }
            shown
        });
        let mut shown = shown;
        if field.system {
            shown["system"] = json!(true);
        }
        fields.insert(field.name.clone(), shown);
    }
    map.insert("fields".to_owned(), Value::Object(fields));
}

/// Whether name or label contain a text that is in lower case already.
#[must_use]
pub fn is_named(item: &Item, wanted: &str) -> bool {
    let label = item
        .value
        .get("label")
        .and_then(Value::as_str)
        .unwrap_or_default();
    item.name.to_ascii_lowercase().contains(wanted) || label.to_ascii_lowercase().contains(wanted)
}

/// The entity tag of an item as this caller is shown it (RFC 9110 §8.8.3): of all that the answer is
/// made of, so that nothing need be rendered to compare it. What is shown depends on the item and, for
/// objects, on what other packages add to it (both in the revision), on the caller's rights, and on
/// the language of the labels.
#[must_use]
pub fn etag(
    work: &Work,
    item_type: ItemType,
    item: &Item,
    languages: &str,
    layers: bool,
) -> String {
    let mut hasher = Sha256::new();
    let mut add = |part: &str| {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    };
    add(&work.registry.revision.to_string());
    let locale = work
        .registry
        .translations
        .locale(languages, &item.package_id);
    let locale = locale.unwrap_or_default();
    for part in [item_type.as_str(), &item.name, &item.hash, locale] {
        add(part);
    }
    add(if layers { "layers" } else { "" });
    if let Principal::User(identity) = &work.principal {
        for rights in [
            &identity.permission_sets,
            &identity.positions,
            &identity.system_permissions,
        ] {
            add(&rights.join(","));
        }
    }
    let digest = hasher.finalize();
    let bytes = digest.iter().take(16);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let mut item = json!({"name": "sync", "secret": "whsec_1", "sharing": {"password": "p"},
            "headers": [{"Authorization": "Bearer x"}], "passwordHint": "kept",
            "token": {"env": "SYNC_TOKEN"}});
        mask_secrets(&mut item);
        assert_eq!(
            item,
            json!({"name": "sync", "secret": "***", "sharing": {"password": "***"},
                "headers": [{"Authorization": "***"}], "passwordHint": "kept",
                "token": {"env": "SYNC_TOKEN"}})
        );
    }
}
