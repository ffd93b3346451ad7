//! Objects and extensions of objects.

use serde_json::Value;

use crate::naming;
use crate::object::{
    ApiMethod, Index, IndexKind, Object, ObjectExtension, OwdModel, SystemFields, plural,
};
use crate::parse::{field, rule};
use crate::reader::{Reader, Sink};

pub(crate) fn object(name: &str, value: &Value, path: String, sink: &Sink) -> Option<Object> {
    let reader = Reader::new(value, path, sink)?;
    if !naming::is_identifier(name) {
        reader.error(
            "INVALID_NAME",
            reader.path.clone(),
            format!("\"{name}\" is no object name; the object is left out"),
            format!(
                "{}; for example {}",
                naming::IDENTIFIER_RULE,
                naming::suggestion(name)
            ),
        );
        return None;
    }
    let mut object = Object::new(name);
    if let Some(label) = reader.string(&["label"]) {
        object.plural_label = plural(&label);
        object.label = label;
    }
    if let Some(label) = reader.string(&["pluralLabel", "plural_label"]) {
        object.plural_label = label;
    }
    object.description = reader.string(&["description"]);
    object.icon = reader.string(&["icon"]);
    object.fields = field::fields(name, &reader);
    object.name_field = reader.string(&["nameField", "displayNameField"]);
    object.title_format = reader.cel(&["titleFormat"]);
    object.indexes = indexes(&reader);
    object.validations = rule::validations(&reader);
    object.sharing_model = sharing_model(&reader);
    object.system_fields = system_fields(&reader);
    object.ownership = ownership(&reader);
    // Nonsense isolates.
    let tenancy = reader.raw(&["tenancy"]).is_some() && switch(&reader, "tenancy").unwrap_or(true);
    object.tenancy = tenancy || object.fields.contains_key("organization_id");
    // Only the known words for open are open.
    object.field_default_deny = !matches!(
        reader.raw(&["fieldDefault"]).map(Value::as_str),
        None | Some(Some("allow" | "open"))
    );
    object.is_system = reader.flag(&["isSystem"]).unwrap_or(false);
    object.max_page_size = reader.natural32(&["maxPageSize"]).unwrap_or(200).max(1);
    if let Some(search) = reader.object(&["search"]) {
        object.search_fields = search.strings(&["fields"]).unwrap_or_default();
    }
    capabilities(&reader, &mut object);
    if reader.raw(&["stateMachines"]).is_some() {
        reader.warn(
            "NOT_EXECUTABLE",
            reader.at("stateMachines"),
            "state machines in the older form are stored but not enforced".to_owned(),
            "write a validation of type state_machine with `field` and `transitions`",
        );
    }
    Some(object)
}

fn capabilities(reader: &Reader<'_>, object: &mut Object) {
    let enable = reader.object(&["enable"]);
    let flag = |key: &str| {
        let own = reader.flag(&[key]);
        own.or_else(|| enable.as_ref()?.flag(&[key]))
    };
    object.api_enabled = reader.guard(&["apiEnabled"], true, false)
        && enable
            .as_ref()
            .is_none_or(|enable| enable.guard(&["apiEnabled"], true, false));
    object.searchable = enable
        .as_ref()
        .and_then(|enable| enable.flag(&["searchable"]))
        .unwrap_or(true);
    object.track_history = flag("trackHistory").unwrap_or(false);
    object.cloneable = flag("clone").unwrap_or(true);
    let nested = enable
        .as_ref()
        .and_then(|enable| switch(enable, "softDelete"));
    object.soft_delete = switch(reader, "softDelete").or(nested).unwrap_or(false);
    if object.soft_delete && !object.system_fields.any {
        reader.warn(
            "SOFT_DELETE_IMPOSSIBLE",
            reader.path.clone(),
            "soft delete needs `deleted_at`, which `systemFields: false` leaves out; records are deleted for good".to_owned(),
            "remove `systemFields: false` or `softDelete`",
        );
        object.soft_delete = false;
    }
    object.api_methods = match &enable {
        Some(enable) if reader.raw(&["apiMethods"]).is_none() => api_methods(enable),
        _ => api_methods(reader),
    };
}

fn api_methods(reader: &Reader<'_>) -> Option<Vec<ApiMethod>> {
    reader.raw(&["apiMethods"])?;
    // An unreadable list allows nothing, where an absent one allows everything.
    let words = reader.strings(&["apiMethods"]).unwrap_or_default();
    let mut methods = Vec::with_capacity(words.len());
    for word in words {
        match ApiMethod::parse(&word) {
            Some(method) => methods.push(method),
            None => reader.warn(
                "UNKNOWN_API_METHOD",
                reader.at("apiMethods"),
                format!("API method \"{word}\" is unknown; it is ignored"),
                "use get, list, create, update, delete, upsert, bulk, aggregate, history, search, restore, purge, import or export",
            ),
        }
    }
    Some(methods)
}

/// `true`, or `{enabled: true}`.
fn switch(reader: &Reader<'_>, key: &str) -> Option<bool> {
    match reader.raw(&[key])? {
        Value::Object(_) => reader
            .object(&[key])
            .map(|nested| nested.guard(&["enabled"], false, true)),
        _ => reader.flag(&[key]),
    }
}

fn sharing_model(reader: &Reader<'_>) -> Option<OwdModel> {
    let word = match reader.raw(&["sharingModel", "sharing_model"])? {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    };
    let read = OwdModel::parse(&word);
    if read.is_none() {
        reader.warn(
            "UNKNOWN_SHARING_MODEL",
            reader.at("sharingModel"),
            format!("sharing model \"{word}\" is unknown; the object is treated as private"),
            "use private, public_read, public_read_write or controlled_by_parent",
        );
    }
    Some(read.unwrap_or(OwdModel::Private))
}

fn system_fields(reader: &Reader<'_>) -> SystemFields {
    let every = SystemFields::default();
    match reader.raw(&["systemFields"]) {
        None => every,
        Some(Value::Object(_)) => {
            let Some(wanted) = reader.object(&["systemFields"]) else {
                return every;
            };
            SystemFields {
                any: true,
                tenant: wanted.flag(&["tenant"]).unwrap_or(true),
                owner: wanted.flag(&["owner"]).unwrap_or(true),
                audit: wanted.flag(&["audit"]).unwrap_or(true),
            }
        }
        Some(_) if reader.flag(&["systemFields"]) == Some(false) => SystemFields {
            any: false,
            tenant: false,
            owner: false,
            audit: false,
        },
        Some(_) => every,
    }
}

/// `ownership: user` (or team) asks for an owner; `own`, `extend`, `organization` do not.
fn ownership(reader: &Reader<'_>) -> bool {
    matches!(reader.raw(&["ownership"]), Some(Value::String(word))
        if matches!(word.as_str(), "user" | "owner" | "team" | "user_or_team" | "private"))
}

fn indexes(reader: &Reader<'_>) -> Vec<Index> {
    let mut found = Vec::new();
    for entry in reader.entries(&["indexes"]) {
        let path = entry.path.clone();
        let Some(index) = Reader::new(entry.value, entry.path, reader.sink) else {
            continue;
        };
        let fields = index.strings(&["fields"]).unwrap_or_default();
        if fields.is_empty() {
            reader.error(
                "INDEX_WITHOUT_FIELDS",
                path,
                "the index names no fields; it is left out".to_owned(),
                "add `fields` with at least one field name",
            );
            continue;
        }
        let word = index.string(&["type"]);
        let kind = match word.as_deref().map(|word| (word, IndexKind::parse(word))) {
            None => IndexKind::default(),
            Some((_, Some(kind))) => kind,
            Some((word, None)) => {
                reader.warn(
                    "UNKNOWN_INDEX_TYPE",
                    index.at("type"),
                    format!("index type \"{word}\" is unknown; btree is used"),
                    "use btree, hash, gin, gist or fulltext",
                );
                IndexKind::default()
            }
        };
        found.push(Index {
            name: entry.name,
            fields,
            kind,
            unique: index.flag(&["unique"]).unwrap_or(false),
            partial: index.cel(&["partial"]),
        });
    }
    found
}

pub(crate) fn extension(
    name: Option<String>,
    value: &Value,
    path: String,
    sink: &Sink,
) -> Option<ObjectExtension> {
    let reader = Reader::new(value, path, sink)?;
    let Some(extend) = reader.string(&["extend", "object"]).or(name) else {
        reader.error(
            "EXTENSION_WITHOUT_OBJECT",
            reader.path.clone(),
            "the extension does not say which object it extends; it is left out".to_owned(),
            "add `extend` with the name of the object",
        );
        return None;
    };
    Some(ObjectExtension {
        label: reader.string(&["label"]),
        plural_label: reader.string(&["pluralLabel"]),
        description: reader.string(&["description"]),
        fields: field::fields(&extend, &reader),
        validations: rule::validations(&reader),
        indexes: indexes(&reader),
        priority: reader.integer(&["priority"]).unwrap_or(200),
        value: value.clone(),
        extend,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Rule;
    use serde_json::json;

    fn read(value: Value) -> (Object, Vec<String>) {
        let (object, findings) = Object::from_value("ticket", &value);
        (
            object.unwrap(),
            findings.into_iter().map(|d| d.code).collect(),
        )
    }

    #[test]
    fn unknown_sharing_model_is_private() {
        let (object, codes) = read(json!({"sharingModel": "everyone"}));
        assert_eq!(object.sharing_model, Some(OwdModel::Private));
        assert_eq!(codes, ["UNKNOWN_SHARING_MODEL"]);
    }

    #[test]
    fn what_cannot_be_read_closes() {
        let (object, _) = read(json!({"apiMethods": {"get": true}, "tenancy": "perhaps",
            "fieldDefault": "denied", "fields": {
                "a": {"type": "text", "internal": "perhaps"},
                "b": {"type": "text", "requiredPermissions": [{"any": 1}]}}}));
        assert!(!object.allows(ApiMethod::Get) && object.tenancy && object.field_default_deny);
        assert!(object.fields.values().all(|field| field.internal));
        assert!(
            !read(json!({"enable": {"apiEnabled": "perhaps"}}))
                .0
                .api_enabled
        );
    }

    #[test]
    fn fields_as_map_or_list_keep_their_order() {
        let map = read(json!({"fields": {"b": {"type": "text"}, "a": {"type": "text"}}})).0;
        let list =
            read(json!({"fields": [{"name": "b", "type": "text"}, {"name": "a", "type": "text"}]}))
                .0;
        assert_eq!(map.fields, list.fields);
        assert_eq!(map.fields.get_index(0).unwrap().0, "b");
    }

    #[test]
    fn bad_fields_are_left_out_alone() {
        let (object, codes) = read(json!({"fields": {
            "Good": {"type": "text"}, "fine": {"type": "text"}, "odd": "text",
            "twin": {"type": "text", "columnName": "fine"}
        }}));
        assert_eq!(object.fields.keys().collect::<Vec<_>>(), ["fine"]);
        assert_eq!(codes, ["INVALID_NAME", "INVALID_ITEM", "DUPLICATE_COLUMN"]);
    }

    #[test]
    fn switches_in_both_places() {
        for value in [
            json!({"softDelete": true}),
            json!({"softDelete": {"enabled": true}}),
            json!({"enable": {"softDelete": true}}),
        ] {
            assert!(read(value.clone()).0.soft_delete, "{value}");
        }
        assert!(!read(json!({"enable": {"trash": true}})).0.soft_delete);
    }

    #[test]
    fn tenancy_by_switch_or_declared_field() {
        assert!(read(json!({"tenancy": {"enabled": true}})).0.tenancy);
        let declared = json!({"fields": {"organization_id": {"type": "lookup", "reference": "sys_organization"}}});
        assert!(read(declared).0.tenancy);
        assert!(!read(json!({})).0.tenancy);
    }

    #[test]
    fn rules_are_read_and_bad_ones_left_out() {
        let (object, codes) = read(json!({"validations": [
            {"name": "late", "message": "m", "condition": "x > 1", "priority": 200},
            {"name": "states", "type": "state_machine", "message": "m", "field": "s",
             "transitions": {"a": ["b"], "b": []}},
            {"name": "odd", "type": "astrology", "message": "m"},
            {"name": "empty", "type": "script", "message": "m"}
        ]}));
        assert_eq!(object.validations[0].name, "states");
        assert!(matches!(object.validations[1].rule, Rule::Script { .. }));
        assert_eq!(codes, ["UNKNOWN_RULE_TYPE", "MISSING_KEY"]);
    }
}
