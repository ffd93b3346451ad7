//! Packages and the items in them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::canonical;
use crate::definition::Definition;
use crate::diagnostics::Diagnostic;
use crate::item_type::ItemType;
use crate::object::{Object, ObjectExtension};
use crate::permission::PermissionSet;
use crate::position::Position;
use crate::reader::Sink;
use crate::seed::Seed;

/// Everything one package brings, parsed where the platform needs types and verbatim throughout.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Package {
    /// Reverse-dns id.
    pub id: String,
    /// Prefix its object names usually carry.
    pub namespace: Option<String>,
    /// Semantic version.
    pub version: String,
    /// Name, also for people where there is no label.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// One or two sentences.
    pub description: Option<String>,
    /// The manifest as written.
    pub manifest: Value,
    /// Business objects, as declared.
    pub objects: Vec<Object>,
    /// What it adds to objects of other packages.
    pub extensions: Vec<ObjectExtension>,
    /// Permission sets and profiles.
    pub permission_sets: Vec<PermissionSet>,
    /// Positions of the hierarchy.
    pub positions: Vec<Position>,
    /// Fixture records, in order.
    pub seeds: Vec<Seed>,
    /// Every metadata item of every type, in order of type, then as written.
    pub items: Vec<Item>,
    /// Authentication settings.
    pub auth: Option<Value>,
    /// Top-level keys that hold no items (`requires`, `i18n`, …), unknown ones among them.
    pub extra: Map<String, Value>,
}

impl Package {
    /// The item of that type and name.
    pub fn item(&self, item_type: ItemType, name: &str) -> Option<&Item> {
        self.items
            .iter()
            .find(|item| item.item_type == item_type && item.name == name)
    }

    /// The items of one type.
    pub fn items_of(&self, item_type: ItemType) -> impl Iterator<Item = &Item> {
        self.items
            .iter()
            .filter(move |item| item.item_type == item_type)
    }

    /// The object of that name.
    pub fn object(&self, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.name == name)
    }

    /// The package as a bare compiled artifact, which loads back to the same items. This is how
    /// a directory is installed into a database.
    pub fn to_artifact(&self) -> Value {
        let mut out = Map::new();
        out.insert("manifest".to_owned(), self.manifest.clone());
        for item_type in ItemType::ALL {
            let list: Vec<Value> = self
                .items_of(item_type)
                .filter(|item| !item.inline)
                .map(Item::named_value)
                .collect();
            if !list.is_empty() {
                out.insert(item_type.artifact_key().to_owned(), Value::Array(list));
            }
        }
        if !self.extensions.is_empty() {
            let mut list = Vec::with_capacity(self.extensions.len());
            for extension in &self.extensions {
                let mut value = extension.value.clone();
                // In a directory the file name may be all that tells the object.
                value["extend"] = Value::from(extension.extend.as_str());
                list.push(value);
            }
            out.insert("objectExtensions".to_owned(), Value::Array(list));
        }
        if let Some(auth) = &self.auth {
            out.insert("auth".to_owned(), auth.clone());
        }
        for (key, value) in &self.extra {
            out.insert(key.clone(), value.clone());
        }
        Value::Object(out)
    }
}

/// One metadata item.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it is.
    pub item_type: ItemType,
    /// Its key: the written name, or one derived as the loader documents.
    pub name: String,
    /// The JSON as written; nothing is injected, not even a derived name. For showing only: what it
    /// says is in [`Item::definition`].
    pub value: Value,
    /// What it says, read once.
    pub definition: Definition,
    /// `sha256:<hex>` of the canonical JSON of [`Item::value`].
    pub hash: String,
    /// The object it belongs to, where it names one or stands inside one.
    pub object: Option<String>,
    /// Written inside an object rather than on its own.
    pub inline: bool,
    /// The file it came from.
    pub file: Option<PathBuf>,
}

impl Item {
    /// An item with its hash and, where it names one, its object; and what could not be read of it.
    pub fn new(
        item_type: ItemType,
        name: impl Into<String>,
        value: Value,
    ) -> (Self, Vec<Diagnostic>) {
        let (name, sink) = (name.into(), Sink::default());
        let path = format!("{}.{name}", item_type.artifact_key());
        let definition = Definition::read(item_type, &name, &value, path, &sink);
        let definition = definition.unwrap_or(Definition::Untyped);
        let item = Self::of(item_type, name, value, definition);
        (item, sink.into_diagnostics())
    }

    /// An item whose hash is known and whose findings were told where it was loaded: one that came
    /// from another process. Where [`Item::is`] holds of one that is here already, that one serves.
    pub fn parsed(
        item_type: ItemType,
        name: impl Into<String>,
        value: Value,
        hash: impl Into<String>,
    ) -> Self {
        let (name, sink) = (name.into(), Sink::default());
        let definition = Definition::read(item_type, &name, &value, String::new(), &sink);
        let definition = definition.unwrap_or(Definition::Untyped);
        Self::with_hash(item_type, name, value, definition, hash.into())
    }

    pub(crate) fn of(
        item_type: ItemType,
        name: String,
        value: Value,
        definition: Definition,
    ) -> Self {
        let hash = canonical::hash(&value);
        Self::with_hash(item_type, name, value, definition, hash)
    }

    fn with_hash(
        item_type: ItemType,
        name: String,
        value: Value,
        definition: Definition,
        hash: String,
    ) -> Self {
        Self {
            item_type,
            object: object_of(&value, &definition),
            name,
            hash,
            value,
            definition,
            inline: false,
            file: None,
        }
    }

    /// Whether it is the item of that type, name and content, so that nothing need be read again.
    pub fn is(&self, item_type: ItemType, name: &str, hash: &str) -> bool {
        self.item_type == item_type && self.name == name && self.hash == hash
    }

    /// The same item with the file it came from.
    #[must_use]
    pub fn with_file(mut self, file: Option<&Path>) -> Self {
        self.file = file.map(Path::to_path_buf);
        self
    }

    /// The JSON with `name` in it, as `/meta` serves it. An item that is no JSON object (a
    /// function given as text) becomes `{name, value}`.
    pub fn named_value(&self) -> Value {
        match &self.value {
            Value::Object(map) if map.get("name").is_some_and(Value::is_string) => {
                self.value.clone()
            }
            Value::Object(map) => {
                let mut named = Map::new();
                named.insert("name".to_owned(), Value::from(self.name.as_str()));
                let rest = map.iter().filter(|(key, _)| *key != "name");
                named.extend(rest.map(|(key, value)| (key.clone(), value.clone())));
                Value::Object(named)
            }
            other => serde_json::json!({"name": self.name, "value": other}),
        }
    }

    /// The label written in the JSON, or the name in title case.
    pub fn label(&self) -> String {
        match self.value.get("label").and_then(Value::as_str) {
            Some(label) => label.to_owned(),
            None => crate::object::title_case(&self.name),
        }
    }
}

/// The object an item names: a view through its data, others through `object` or `objectName`.
fn object_of(value: &Value, definition: &Definition) -> Option<String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    match definition {
        Definition::Object(_) => None,
        Definition::View(view) => {
            let named = view.object.clone();
            named.or_else(|| view.data_object().map(str::to_owned))
        }
        Definition::Action(action) => action.object.clone(),
        Definition::Flow(flow) => flow.object.clone(),
        Definition::SharingRule(rule) => rule.object.clone(),
        Definition::Mapping(mapping) => mapping.object.clone(),
        Definition::Dataset(dataset) => dataset.object.clone(),
        Definition::Report(report) => report.object.clone(),
        Definition::ApprovalProcess(process) => process.object.clone(),
        Definition::Webhook(webhook) => webhook.object.clone(),
        Definition::Hook(_)
        | Definition::PermissionSet(_)
        | Definition::Position(_)
        | Definition::App(_)
        | Definition::Job(_)
        | Definition::Function(_)
        | Definition::EmailTemplate(_)
        | Definition::Agent(_)
        | Definition::Skill(_)
        | Definition::Tool(_)
        | Definition::Untyped => text("objectName").or_else(|| text("object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn items_know_their_object_and_hash() {
        let value = json!({"objectName": "ticket"});
        let (item, found) = Item::new(ItemType::Action, "close", value.clone());
        assert_eq!(found, []);
        assert_eq!(item.object.as_deref(), Some("ticket"));
        assert!(item.hash.starts_with("sha256:"));
        let same = Item::parsed(ItemType::Action, "close", value, item.hash.clone());
        assert_eq!(same, item);
        assert!(same.is(ItemType::Action, "close", &item.hash));
        assert!(!same.is(ItemType::Flow, "close", &item.hash));
    }

    #[test]
    fn named_value_adds_a_derived_name_and_nothing_else() {
        let (item, _) = Item::new(ItemType::View, "ticket", json!({"list": {}}));
        assert_eq!(item.value, json!({"list": {}}));
        assert_eq!(item.named_value(), json!({"name": "ticket", "list": {}}));
    }
}
