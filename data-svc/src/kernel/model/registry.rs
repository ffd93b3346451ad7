//! The registry: one immutable, numbered snapshot of all metadata in force. Requests work on one
//! snapshot from beginning to end; a new revision replaces it at once.
//!
//! Invariant: a bad item yields a diagnostic and leaves the rest (or the last good revision)
//! serving.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use indexmap::IndexMap;
use mesh::{Error, Result, cache::Cache, identity::Identity};
use metadata::{ApiMethod, ItemType, PermissionSet};
use time::OffsetDateTime;

use crate::kernel::model::{
    hooks::Hooks, rights::Rights, schema::Schema, translation::Translations,
};

/// A snapshot of all metadata in force.
pub struct Registry {
    /// Its number; each publication is one more.
    pub revision: u64,
    /// When it was published.
    pub published_at: OffsetDateTime,
    /// The scripts that run when records are written.
    pub hooks: Hooks,
    /// Labels in other languages.
    pub translations: Translations,
    pub(in crate::kernel) schemas: IndexMap<String, Arc<Schema>>,
    pub(in crate::kernel) permission_sets: HashMap<String, PermissionSet>,
    pub(in crate::kernel) items: BTreeMap<&'static str, Vec<Item>>,
    pub(in crate::kernel) referencing: HashMap<String, Vec<Reference>>,
    pub(in crate::kernel) rights: Cache<Rights>,
}

/// A metadata item, and the package that it came with.
#[derive(Debug, Clone)]
pub struct Item {
    /// The package.
    pub package_id: String,
    item: metadata::Item,
}

impl Item {
    /// An item of a package.
    #[must_use]
    pub fn new(package_id: impl Into<String>, item: metadata::Item) -> Self {
        Self {
            package_id: package_id.into(),
            item,
        }
    }
}

impl std::ops::Deref for Item {
    type Target = metadata::Item;

    fn deref(&self) -> &Self::Target {
        &self.item
    }
}

/// A reference field that points to an object.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The object that has the field.
    pub object: String,
    /// The field.
    pub field: String,
}

impl Registry {
    /// All objects, in the order of their declaration.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.schemas.values()
    }

    /// An object, whether or not the API shows it.
    #[must_use]
    pub fn schema(&self, object: &str) -> Option<&Arc<Schema>> {
        self.schemas.get(object)
    }

    /// An object that the API shows, for an operation that it offers.
    ///
    /// # Errors
    /// NOT_FOUND for an unknown or hidden object, METHOD_NOT_ALLOWED when `apiMethods` lacks the
    /// operation (docs/reference/metadata.md §4).
    pub fn open(&self, object: &str, method: ApiMethod) -> Result<&Arc<Schema>> {
        let schema = self
            .schemas
            .get(object)
            .filter(|schema| schema.object.api_enabled)
            .ok_or_else(|| object_not_found(object))?;
        if !schema.object.allows(method) {
            let allowed: Vec<&str> = schema
                .object
                .api_methods
                .iter()
                .flatten()
                .map(|method| method.as_str())
                .collect();
            return Err(Error::new(
                mesh::error::Reason::MethodNotAllowed,
                format!("Object `{object}` does not offer {}", method.as_str()),
            )
            .with("object", object)
            .with("allowed", allowed));
        }
        Ok(schema)
    }

    /// A permission set.
    #[must_use]
    pub fn permission_set(&self, name: &str) -> Option<&PermissionSet> {
        self.permission_sets.get(name)
    }

    /// Names of the permission sets, in no order.
    pub fn permission_sets(&self) -> impl Iterator<Item = &str> {
        self.permission_sets.keys().map(String::as_str)
    }

    /// The permission set for users who hold no other: the app's default, else `member_default`.
    #[must_use]
    pub fn fallback_permission_set(&self) -> &str {
        let mut defaults: Vec<&str> = self
            .permission_sets
            .values()
            .filter(|set| set.is_default)
            .map(|set| set.name.as_str())
            .collect();
        defaults.sort_unstable();
        defaults.first().copied().unwrap_or("member_default")
    }

    /// What the permission sets of an identity grant on an object, remembered for this revision by the
    /// names of the sets and positions, never by user; `merge` works it out when it is asked first.
    pub(in crate::kernel) fn rights(
        &self,
        identity: &Identity,
        object: &str,
        merge: impl FnOnce(&[&PermissionSet]) -> Rights,
    ) -> Arc<Rights> {
        let key = format!(
            "{}|{}|{object}",
            identity.permission_sets.join(","),
            identity.positions.join(",")
        );
        self.rights.get_or_insert(key, || {
            let names = identity.permission_sets.iter();
            let sets: Vec<&PermissionSet> = names
                .filter_map(|name| self.permission_sets.get(name))
                .collect();
            Arc::new(merge(&sets))
        })
    }

    /// Items of a type, by name.
    #[must_use]
    pub fn items(&self, item_type: ItemType) -> &[Item] {
        self.items
            .get(item_type.as_str())
            .map_or(&[], Vec::as_slice)
    }

    /// Every item with its type, by type, then name.
    pub fn all_items(&self) -> impl Iterator<Item = (&str, &Item)> {
        let by_type = self.items.iter();
        by_type.flat_map(|(item_type, items)| items.iter().map(move |item| (*item_type, item)))
    }

    /// The fields of all objects that point to an object.
    #[must_use]
    pub fn referencing(&self, object: &str) -> &[Reference] {
        self.referencing.get(object).map_or(&[], Vec::as_slice)
    }
}

/// The answer for an object that is not there, or not shown.
#[must_use]
pub fn object_not_found(object: &str) -> Error {
    Error::not_found("OBJECT_NOT_FOUND", format!("There is no object `{object}`"))
        .with("object", object)
}
