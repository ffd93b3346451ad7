//! From raw items to a package: names, duplicates, and the parts that have types.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use serde_json::Value;

use super::{Loaded, Raw, Stack, view_name};
use crate::definition::Definition;
use crate::diagnostics::Diagnostic;
use crate::item_type::ItemType;
use crate::naming;
use crate::object::Object;
use crate::package::{Item, Package};
use crate::parse;
use crate::permission::PermissionSet;
use crate::position::Position;
use crate::reader::{Reader, Sink, kind};

pub(super) fn assemble(stack: Stack) -> Loaded {
    let mut assembly = Assembly {
        diagnostics: stack.diagnostics,
        ..Assembly::default()
    };
    assembly.manifest(stack.manifest, stack.manifest_file);
    assembly.package.auth = stack.auth;
    assembly.package.extra = stack.extra;
    let mut items = stack.items;
    // Objects come first in this order, and views need them to find their names.
    items.sort_by_key(|raw| raw.item_type);
    for raw in items {
        assembly.item(raw);
    }
    for raw in stack.extensions {
        assembly.extension(raw);
    }
    assembly.inline_actions();
    assembly.package.items.sort_by_key(|item| item.item_type);
    Loaded {
        package: assembly.package,
        diagnostics: assembly.diagnostics,
    }
}

#[derive(Default)]
struct Assembly {
    package: Package,
    diagnostics: Vec<Diagnostic>,
    /// May declare objects with reserved prefixes.
    is_platform: bool,
    /// Where each item was first seen.
    seen: BTreeMap<(ItemType, String), Option<PathBuf>>,
}

impl Assembly {
    fn manifest(&mut self, manifest: Value, file: Option<PathBuf>) {
        let sink = Sink::new(file);
        let empty = Value::Object(serde_json::Map::new());
        let readable = if manifest.is_object() {
            &manifest
        } else {
            &empty
        };
        let Some(reader) = Reader::new(readable, "manifest".to_owned(), &sink) else {
            return;
        };
        let name = reader.string(&["name"]);
        let id = reader.string(&["id"]).unwrap_or_else(|| {
            let name = name.as_deref().map_or("app".to_owned(), naming::suggestion);
            let id = format!("local.{name}");
            reader.error(
                "MANIFEST_ID_MISSING",
                "manifest.id".to_owned(),
                format!("the manifest has no id; \"{id}\" is used"),
                "add `id` in reverse-dns form, for example com.acme.support",
            );
            id
        });
        if !naming::is_package_id(&id) {
            reader.warn(
                "PACKAGE_ID_STYLE",
                "manifest.id".to_owned(),
                format!("package id \"{id}\" is not in reverse-dns form"),
                format!("use an id such as com.acme.{}", naming::suggestion(&id)),
            );
        }
        // Only the runtime's own package; data-svc refuses to install another one of that id.
        self.is_platform = id == naming::PLATFORM_PACKAGE_ID;
        let version = reader.string(&["version"]).unwrap_or_else(|| {
            reader.warn(
                "VERSION_MISSING",
                "manifest.version".to_owned(),
                "the manifest has no version; \"0.0.0\" is used".to_owned(),
                "add `version`, for example \"1.0.0\"",
            );
            "0.0.0".to_owned()
        });
        self.package.namespace = reader.string(&["namespace"]);
        self.package.label = reader.string(&["label"]);
        self.package.description = reader.string(&["description"]);
        self.package.version = version;
        self.package.name = name.unwrap_or_else(|| id.clone());
        self.package.id = id;
        self.diagnostics.extend(sink.into_diagnostics());
        self.package.manifest = manifest;
    }

    fn item(&mut self, raw: Raw) {
        let Some(name) = self.name_of(&raw) else {
            return;
        };
        let path = raw.path(Some(&name));
        // Functions may be mere names of callables; everything else is an object.
        if !raw.value.is_object() && raw.item_type != ItemType::Function {
            self.report(
                &raw,
                Diagnostic::error(
                    "INVALID_ITEM",
                    path,
                    format!("expected an object, found {}; left out", kind(&raw.value)),
                )
                .with_hint("write it as a map of keys and values"),
            );
            return;
        }
        if !self.is_new(&raw, &name, &path) || self.is_reserved(&raw, &name, &path) {
            return;
        }
        self.check_name(&raw, &name, &path);
        let sink = Sink::new(raw.file.clone());
        let definition = match raw.item_type {
            ItemType::Seed => {
                let seed = parse::seed::seed(&name, &raw.value, path, &sink);
                self.package.seeds.extend(seed);
                Some(Definition::Untyped)
            }
            other => Definition::read(other, &name, &raw.value, path, &sink),
        };
        self.diagnostics.extend(sink.into_diagnostics());
        let Some(definition) = definition else {
            return;
        };
        self.declare(&definition);
        let item = Item::of(raw.item_type, name, raw.value, definition);
        let mut item = item.with_file(raw.file.as_deref());
        if item.item_type == ItemType::View && item.object.is_none() {
            item.object = view_name::object_by_fields(&item.value, &self.package.objects);
        }
        self.package.items.push(item);
    }

    /// Adds what the package keeps apart, as its own.
    fn declare(&mut self, definition: &Definition) {
        let package = &mut self.package;
        if let Some(object) = definition.object() {
            let mut object = Object::clone(object);
            object.package_id.clone_from(&package.id);
            package.objects.push(object);
        } else if let Some(set) = definition.permission_set() {
            let mut set = PermissionSet::clone(set);
            set.package_id.clone_from(&package.id);
            package.permission_sets.push(set);
        } else if let Some(position) = definition.position() {
            let mut position = Position::clone(position);
            position.package_id.clone_from(&package.id);
            package.positions.push(position);
        }
    }

    fn extension(&mut self, raw: Raw) {
        let sink = Sink::new(raw.file.clone());
        let target = raw.value.get("extend").and_then(Value::as_str);
        let path = raw.path(target.or(raw.key.as_deref()));
        let read = parse::object::extension(raw.key, &raw.value, path, &sink);
        self.package.extensions.extend(read);
        self.diagnostics.extend(sink.into_diagnostics());
    }

    /// Actions written inside an object become items unless a top-level one has the name:
    /// compilers write them in both places.
    fn inline_actions(&mut self) {
        let (mut found, mut diagnostics) = (Vec::new(), Vec::new());
        for item in self.package.items_of(ItemType::Object) {
            let sink = Sink::new(item.file.clone());
            let path = format!("objects.{}", item.name);
            let Some(reader) = Reader::new(&item.value, path, &sink) else {
                continue;
            };
            for entry in reader.entries(&["actions"]) {
                let (Some(name), Value::Object(_)) = (entry.name, entry.value) else {
                    continue;
                };
                let mut value = entry.value.clone();
                // Beside its object it need not say whose it is; on its own it has to.
                if let Value::Object(map) = &mut value
                    && !map.contains_key("objectName")
                {
                    map.insert("objectName".to_owned(), item.name.as_str().into());
                }
                let read =
                    Definition::read(ItemType::Action, &name, &value, entry.path.clone(), &sink);
                let definition = read.unwrap_or(Definition::Untyped);
                let mut action = Item::of(ItemType::Action, name, value, definition);
                action.object = Some(item.name.clone());
                action.inline = true;
                found.push((action.with_file(item.file.as_deref()), entry.path));
            }
            diagnostics.extend(sink.into_diagnostics());
        }
        self.diagnostics.extend(diagnostics);
        for (action, path) in found {
            let key = (ItemType::Action, action.name.clone());
            if let Entry::Vacant(slot) = self.seen.entry(key) {
                slot.insert(action.file.clone());
                self.package.items.push(action);
                continue;
            }
            let other = self.package.item(ItemType::Action, &action.name);
            let same_object = other.is_none_or(|o| o.object.is_none() || o.object == action.object);
            if !same_object {
                self.diagnostics.push(
                    Diagnostic::warning(
                        "DUPLICATE_NAME",
                        path,
                        format!(
                            "action \"{}\" exists for another object; this one is left out",
                            action.name
                        ),
                    )
                    .with_hint("action names are shared by all objects: give each its own")
                    .with_file(action.file),
                );
            }
        }
    }

    /// The key of an item; see the module documentation.
    fn name_of(&mut self, raw: &Raw) -> Option<String> {
        let text = |key: &str| {
            let word = raw.value.get(key).and_then(Value::as_str);
            word.filter(|word| !word.is_empty()).map(str::to_owned)
        };
        let written = text("name")
            .or_else(|| raw.key.clone())
            .or_else(|| text("id"));
        match raw.item_type {
            ItemType::Seed => Some(self.free_seed_name(written.or_else(|| text("object")), raw)),
            ItemType::View if written.is_none() => Some(self.view_name(raw)),
            ItemType::Translation if written.is_none() => {
                Some(text("locale").unwrap_or_else(|| format!("translation_{}", raw.index)))
            }
            ItemType::Function if raw.value.is_string() && written.is_none() => {
                raw.value.as_str().map(str::to_owned)
            }
            _ if written.is_none() => {
                self.report(
                    raw,
                    Diagnostic::error(
                        "NAME_MISSING",
                        raw.path(None),
                        format!("the {} has no name; it is left out", raw.item_type.as_str()),
                    )
                    .with_hint("add `name`"),
                );
                None
            }
            _ => written,
        }
    }

    /// Several seeds of one object are normal: the later ones are numbered.
    fn free_seed_name(&self, name: Option<String>, raw: &Raw) -> String {
        let name = name.unwrap_or_else(|| format!("seed_{}", raw.index));
        let taken = |name: &str| self.seen.contains_key(&(ItemType::Seed, name.to_owned()));
        let numbered = (2..).map(|n| format!("{name}_{n}"));
        let mut candidates = std::iter::once(name.clone()).chain(numbered);
        candidates
            .find(|candidate| !taken(candidate))
            .unwrap_or(name)
    }

    fn view_name(&mut self, raw: &Raw) -> String {
        let derived = view_name::view_object(&raw.value)
            .or_else(|| view_name::object_by_fields(&raw.value, &self.package.objects))
            .filter(|name| !self.seen.contains_key(&(ItemType::View, name.clone())))
            .unwrap_or_else(|| format!("view_{}", raw.index));
        self.report(
            raw,
            Diagnostic::info(
                "VIEW_NAME_DERIVED",
                raw.path(None),
                format!("the view has no name; it is served as \"{derived}\""),
            )
            .with_hint("add `name` to choose another"),
        );
        derived
    }

    fn is_new(&mut self, raw: &Raw, name: &str, path: &str) -> bool {
        // Profiles are permission sets and share their names.
        let kind = match raw.item_type {
            ItemType::Profile => ItemType::Permission,
            other => other,
        };
        let key = (kind, name.to_owned());
        let Some(first) = self.seen.get(&key) else {
            self.seen.insert(key, raw.file.clone());
            return true;
        };
        let place = match first {
            Some(file) if raw.file.as_ref() != Some(file) => format!(" in {}", file.display()),
            _ => String::new(),
        };
        let message = format!(
            "{} \"{name}\" is defined twice; the first{place} is kept",
            raw.item_type.as_str()
        );
        self.report(
            raw,
            Diagnostic::error("DUPLICATE_NAME", path, message)
                .with_hint("rename or remove one of them"),
        );
        false
    }

    fn is_reserved(&mut self, raw: &Raw, name: &str, path: &str) -> bool {
        if raw.item_type != ItemType::Object || self.is_platform {
            return false;
        }
        let Some(prefix) = naming::reserved_prefix(name) else {
            return false;
        };
        let message =
            format!("object names may not start with \"{prefix}\"; the object is left out");
        self.report(
            raw,
            Diagnostic::error("RESERVED_PREFIX", path, message).with_hint(
                "choose another name; to add fields to a platform object, use objectExtensions",
            ),
        );
        true
    }

    /// Names that break the rules still work, except those of objects, which are tables.
    fn check_name(&mut self, raw: &Raw, name: &str, path: &str) {
        let good = match raw.item_type {
            ItemType::EmailTemplate => naming::is_dotted_identifier(name),
            ItemType::Flow
            | ItemType::Agent
            | ItemType::Hook
            | ItemType::Job
            | ItemType::Skill
            | ItemType::Tool
            | ItemType::Action
            | ItemType::View
            | ItemType::Report
            | ItemType::Permission
            | ItemType::Webhook => naming::is_identifier(name),
            _ => return,
        };
        if !good {
            let kind = raw.item_type.label().to_lowercase();
            let message = format!("\"{name}\" is not a well-formed {kind} name");
            let hint = format!(
                "{}; for example {}",
                naming::IDENTIFIER_RULE,
                naming::suggestion(name)
            );
            self.report(
                raw,
                Diagnostic::warning("NAME_STYLE", path, message).with_hint(hint),
            );
        }
    }

    fn report(&mut self, raw: &Raw, diagnostic: Diagnostic) {
        self.diagnostics
            .push(diagnostic.with_file(raw.file.clone()));
    }
}
