//! From packages to a snapshot of the model: everything that is worked out once for a revision and not
//! again for each request.
//!
//! Invariant: a bad item yields a diagnostic and leaves the rest serving.

pub mod coverage;
mod formula;
mod hooks;
mod summary;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use indexmap::IndexMap;
use mesh::cache::{Cache, Stay};
use metadata::{Diagnostic, ItemType, Object, Package};
use time::OffsetDateTime;

use super::model::{
    registry::{Item, Reference, Registry},
    schema::Schema,
    translation::Translations,
};

/// An object whose system fields are injected already, as the kernel works on it.
#[must_use]
pub fn schema(object: Object) -> Schema {
    let formulas = formula::compile(&object.fields);
    Schema::new(object, formulas)
}

/// Builds a snapshot of packages, in the order in which they were installed.
#[must_use]
pub fn registry(
    mut packages: Vec<Package>,
    revision: u64,
    published_at: OffsetDateTime,
) -> (Registry, Vec<Diagnostic>) {
    let mut items: BTreeMap<&'static str, Vec<Item>> = BTreeMap::new();
    let mut permission_sets = HashMap::new();
    let mut translations = Translations::default();
    for package in &mut packages {
        for item in std::mem::take(&mut package.items) {
            if item.item_type == ItemType::Translation {
                let i18n = package.extra.get("i18n");
                translations.add(&package.id, i18n, &item.name, &item.value);
            }
            items
                .entry(item.item_type.as_str())
                .or_default()
                .push(Item::new(package.id.as_str(), item));
        }
        for set in &package.permission_sets {
            // A later package may not redefine what a set of an earlier one grants.
            permission_sets
                .entry(set.name.clone())
                .or_insert_with(|| set.clone());
        }
    }
    for list in items.values_mut() {
        list.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let (objects, mut diagnostics) = metadata::merge_packages(packages);
    let schemas: IndexMap<String, Arc<Schema>> = objects
        .into_iter()
        .map(|object| (object.name.clone(), Arc::new(schema(object))))
        .collect();
    let unkept = summary::connect(&schemas, published_at);
    diagnostics.extend(unkept.iter().map(coverage::unkept));
    let mut referencing: HashMap<String, Vec<Reference>> = HashMap::new();
    for schema in schemas.values() {
        for column in &schema.columns {
            if let Some(target) = &column.field.reference {
                referencing
                    .entry(target.clone())
                    .or_default()
                    .push(Reference {
                        object: schema.name().to_owned(),
                        field: column.field.name.clone(),
                    });
            }
        }
    }
    let hooks = items.get(ItemType::Hook.as_str());
    let registry = Registry {
        revision,
        published_at,
        hooks: hooks::of(hooks.map_or(&[], Vec::as_slice)),
        translations,
        schemas,
        permission_sets,
        items,
        referencing,
        rights: Cache::new(50_000, Stay::Long),
    };
    (registry, diagnostics)
}
