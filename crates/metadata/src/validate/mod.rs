//! Checks over a loaded package, beyond what reading each item tells.
//!
//! Nothing here removes anything. A name that leads nowhere is normal in real applications, so
//! it is a warning: what depends on it fails when it is used.

mod access;
mod automation;
mod data;
mod ui;

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::diagnostics::Diagnostic;
use crate::item_type::ItemType;
use crate::naming;
use crate::object::Object;
use crate::package::{Item, Package};

/// Checks a package. `known_objects` are the objects of other packages and of the platform.
pub fn validate(pkg: &Package, known_objects: &BTreeSet<String>) -> Vec<Diagnostic> {
    let mut check = Check {
        pkg,
        known_objects,
        diagnostics: Vec::new(),
    };
    data::check(&mut check);
    access::check(&mut check);
    automation::check(&mut check);
    ui::check(&mut check);
    check.diagnostics
}

/// What the checks share.
struct Check<'a> {
    pkg: &'a Package,
    known_objects: &'a BTreeSet<String>,
    diagnostics: Vec<Diagnostic>,
}

impl Check<'_> {
    fn knows_object(&self, name: &str) -> bool {
        self.pkg.object(name).is_some() || self.known_objects.contains(name)
    }

    /// Whether the object has the field; true for objects whose fields are not known here.
    fn knows_field(&self, object: &str, field: &str) -> bool {
        let Some(declared) = self.pkg.object(object) else {
            return true;
        };
        has_field(declared, field) || self.is_added(object, field)
    }

    fn is_added(&self, object: &str, field: &str) -> bool {
        let mut extensions = self.pkg.extensions.iter();
        extensions.any(|e| e.extend == object && e.fields.contains_key(field))
    }

    fn warn(
        &mut self,
        file: Option<PathBuf>,
        code: &str,
        path: String,
        message: String,
        hint: impl Into<String>,
    ) {
        let warning = Diagnostic::warning(code, path, message).with_hint(hint);
        self.diagnostics.push(warning.with_file(file));
    }

    /// The file of an item of this type.
    fn file(&self, item_type: ItemType, name: &str) -> Option<PathBuf> {
        self.pkg.item(item_type, name)?.file.clone()
    }

    fn unknown_object(&mut self, file: Option<PathBuf>, path: String, name: &str) {
        if self.knows_object(name) {
            return;
        }
        let own = self.pkg.objects.iter().map(|object| object.name.as_str());
        let all = own.chain(self.known_objects.iter().map(String::as_str));
        let hint = match naming::closest(name, all) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "correct the name, or install the package that declares the object".to_owned(),
        };
        let message = format!("object \"{name}\" is not declared anywhere");
        self.warn(file, "UNKNOWN_OBJECT", path, message, hint);
    }

    fn unknown_field(&mut self, file: Option<PathBuf>, path: String, object: &str, field: &str) {
        if self.knows_field(object, field) {
            return;
        }
        let fields = self.pkg.object(object).map(|o| o.fields.keys());
        let near = fields.and_then(|keys| naming::closest(field, keys.map(String::as_str)));
        let hint = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("correct the name, or declare the field on \"{object}\""),
        };
        let message = format!("object \"{object}\" has no field \"{field}\"");
        self.warn(file, "UNKNOWN_FIELD", path, message, hint);
    }

    /// Warns when an item that another names does not exist in this package.
    fn unknown_item(&mut self, from: &Item, path: String, item_type: ItemType, name: &str) {
        if self.pkg.item(item_type, name).is_some() {
            return;
        }
        let kind = item_type.label().to_lowercase();
        let names = self.pkg.items_of(item_type).map(|item| item.name.as_str());
        let hint = match naming::closest(name, names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add the {kind}, or correct the name"),
        };
        let message = format!("{kind} \"{name}\" does not exist in this package");
        self.warn(from.file.clone(), "DANGLING_REFERENCE", path, message, hint);
    }
}

/// Where an item stands, as load-time findings name it.
fn path_of(item: &Item) -> String {
    format!("{}.{}", item.item_type.artifact_key(), item.name)
}

/// The field is declared, or the server adds it. Dotted names are followed to the first dot.
fn has_field(object: &Object, field: &str) -> bool {
    let first = field.split('.').next().unwrap_or(field);
    object.fields.contains_key(first)
        || matches!(
            first,
            "id" | "created_at" | "created_by" | "updated_at" | "updated_by" | "version"
        )
        || (first == "owner_id" && object.has_owner())
        || (first == "organization_id" && object.tenancy)
        || (first == "deleted_at" && object.soft_delete)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_value;
    use serde_json::{Value, json};

    /// The `code path` of every finding of a package with these keys.
    pub(super) fn findings(mut stack: Value) -> Vec<String> {
        stack["manifest"] = json!({"id": "com.a", "version": "1.0.0", "name": "a"});
        let loaded = load_value(stack, None);
        let known = BTreeSet::from(["sys_user".to_owned()]);
        let found = validate(&loaded.package, &known);
        assert!(found.iter().all(|d| d.hint.is_some()), "{found:?}");
        found
            .into_iter()
            .map(|d| format!("{} {}", d.code, d.path))
            .collect()
    }

    #[test]
    fn a_sound_package_has_no_findings() {
        let stack = json!({"objects": [{"name": "ticket", "sharingModel": "private", "fields": {
            "subject": {"type": "text"}, "assignee": {"type": "lookup", "reference": "sys_user"}}}],
            "views": [{"name": "ticket", "list": {"data": {"object": "ticket"},
                "columns": ["subject", "owner_id", "assignee.name"]}}],
            "permissions": [{"name": "agent", "objects": {"ticket": {"allowRead": true}, "*": {}}}]});
        assert_eq!(findings(stack), Vec::<String>::new());
    }

    #[test]
    fn misspelt_names_get_a_suggestion() {
        let stack = json!({"manifest": {"id": "com.a"}, "objects": [
            {"name": "ticket", "fields": {"a": {"type": "lookup", "reference": "tiket"}}}]});
        let loaded = load_value(stack, None);
        let found = validate(&loaded.package, &BTreeSet::new());
        assert_eq!(found[0].hint.as_deref(), Some("did you mean \"ticket\"?"));
    }
}
