//! Which metadata items name another one (docs/reference/metadata.md §10).
//!
//! An item names others under keys that mean the same wherever they stand: `object` is an object,
//! `flowName` a flow. So one walk over the JSON of every item finds them all, also in places that a
//! type gains later.

use metadata::ItemType;
use serde_json::Value;

use crate::{kernel::Work, metadata::introspection};

/// One place that names an item.
#[derive(Debug, PartialEq, Eq)]
pub struct MetadataReference {
    /// Type of the item that holds it.
    pub item_type: ItemType,
    /// Name of that item.
    pub name: String,
    /// Its human name.
    pub label: Option<String>,
    /// The way to the place, for example `fields.account.reference`.
    pub path: String,
}

/// The places in visible items that name an item, by type, then name.
#[must_use]
pub fn to(work: &Work, item_type: ItemType, name: &str) -> Vec<MetadataReference> {
    let mut found = Vec::new();
    for holder in ItemType::ALL {
        for item in introspection::items(work, holder) {
            let shown = introspection::shown(work, holder, item);
            let mut walk = Walk {
                wanted: (item_type, name),
                path: Vec::new(),
                places: Vec::new(),
            };
            walk.value(&shown);
            let label = shown.get("label").and_then(Value::as_str);
            found.extend(walk.places.into_iter().map(|path| MetadataReference {
                item_type: holder,
                name: item.name.clone(),
                label: label.map(str::to_owned),
                path,
            }));
        }
    }
    found.sort_by(|a, b| {
        (a.item_type.as_str(), &a.name, &a.path).cmp(&(b.item_type.as_str(), &b.name, &b.path))
    });
    found
}

struct Walk<'w> {
    wanted: (ItemType, &'w str),
    path: Vec<String>,
    places: Vec<String>,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    self.path.push(key.clone());
                    self.entry(map, key, inner);
                    self.path.pop();
                }
            }
            Value::Array(list) => {
                for (index, inner) in list.iter().enumerate() {
                    self.path.push(index.to_string());
                    self.value(inner);
                    self.path.pop();
                }
            }
            _ => {}
        }
    }

    fn entry(&mut self, map: &serde_json::Map<String, Value>, key: &str, value: &Value) {
        let (wanted, name) = self.wanted;
        let named = kind(key).or_else(|| target(map, key));
        match value {
            Value::String(text) if named == Some(wanted) && text == name => self.note(),
            Value::Array(list) if named == Some(wanted) => {
                for (index, inner) in list.iter().enumerate() {
                    if inner.as_str() == Some(name) {
                        self.path.push(index.to_string());
                        self.note();
                        self.path.pop();
                    }
                }
                self.value(value);
            }
            // Rights are kept by object, and by `object.field`.
            Value::Object(rights) if matches!(key, "objects" | "fields") => {
                for (of, inner) in rights {
                    self.path.push(of.clone());
                    let object = of.split_once('.').map_or(of.as_str(), |(object, _)| object);
                    let by_object = key == "objects" || of.contains('.');
                    let by_field = wanted == ItemType::Field && key == "fields" && of == name;
                    if (by_object && wanted == ItemType::Object && object == name) || by_field {
                        self.note();
                    }
                    self.value(inner);
                    self.path.pop();
                }
            }
            _ => self.value(value),
        }
    }

    fn note(&mut self) {
        self.places.push(self.path.join("."));
    }
}

/// What a key names, as a text or as a list of texts.
fn kind(key: &str) -> Option<ItemType> {
    Some(match key {
        "object" | "objectName" | "reference" | "targetObject" | "extend" => ItemType::Object,
        "view" | "viewName" | "defaultView" => ItemType::View,
        "flow" | "flowName" | "subflow" => ItemType::Flow,
        "action" | "actionName" | "actions" | "rowActions" | "bulkActions" => ItemType::Action,
        "agent" | "agentName" | "defaultAgent" => ItemType::Agent,
        "tool" | "tools" => ItemType::Tool,
        "skill" | "skills" => ItemType::Skill,
        "dashboard" | "dashboardName" => ItemType::Dashboard,
        "page" | "pageName" | "homePageId" => ItemType::Page,
        "report" | "reportName" => ItemType::Report,
        "template" | "emailTemplate" | "templateName" => ItemType::EmailTemplate,
        "permissionSet" | "permission_set" => ItemType::Permission,
        "hook" | "hooks" => ItemType::Hook,
        _ => return None,
    })
}

/// What `target` names depends on the type that stands beside it, for example in an action.
fn target(map: &serde_json::Map<String, Value>, key: &str) -> Option<ItemType> {
    if key != "target" {
        return None;
    }
    match map.get("type")?.as_str()? {
        "flow" => Some(ItemType::Flow),
        "page" => Some(ItemType::Page),
        "report" => Some(ItemType::Report),
        "dashboard" => Some(ItemType::Dashboard),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(wanted: (ItemType, &str), value: &Value) -> Vec<String> {
        let mut walk = Walk {
            wanted,
            path: Vec::new(),
            places: Vec::new(),
        };
        walk.value(value);
        walk.places
    }

    #[test]
    fn every_way_to_name_an_item_is_found() {
        let object = json!({"fields": {"account": {"type": "lookup", "reference": "account"},
            "name": {"type": "text"}}});
        assert_eq!(
            places((ItemType::Object, "account"), &object),
            ["fields.account.reference"]
        );
        let permission = json!({"objects": {"account": {"allowRead": true}},
            "fields": {"account.revenue": {"readable": false}}});
        assert_eq!(
            places((ItemType::Object, "account"), &permission),
            ["objects.account", "fields.account.revenue"]
        );
        assert_eq!(
            places((ItemType::Field, "account.revenue"), &permission),
            ["fields.account.revenue"]
        );
        let action = json!({"name": "close", "type": "flow", "target": "close_ticket"});
        assert_eq!(
            places((ItemType::Flow, "close_ticket"), &action),
            ["target"]
        );
        let view = json!({"list": {"data": {"object": "ticket"}, "rowActions": ["close", "open"]}});
        assert_eq!(
            places((ItemType::Action, "open"), &view),
            ["list.rowActions.1"]
        );
        assert_eq!(places((ItemType::Action, "ticket"), &view), [""; 0]);
    }
}
