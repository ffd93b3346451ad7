//! Concrete paths and schemas for each object that the caller may read.

use std::sync::Arc;

use mesh::{
    identity::Identity,
    openapi::{Contract, Fragment, Operation, reference},
};
use metadata::{ApiMethod, Object, json_schema};
use proto::annotations::v1::Expand;
use serde_json::{Value, json};

use super::{
    components::{Components, Names},
    query::{QUERY, schema_of_query},
};
use crate::kernel::{
    Work,
    access::Grant,
    model::{rights, schema::Schema},
};

/// Adds the objects.
pub(super) fn describe(
    fragment: &mut Fragment,
    contract: &Contract,
    work: &Work,
    caller: &Identity,
) {
    let components = Components::new(&work.registry);
    let operations: Vec<&Operation> = contract
        .open_to(caller)
        .filter(|operation| operation.expand == Expand::Object)
        .collect();
    let objects = work.registry.schemas();
    let objects: Vec<Shown> = objects
        .filter_map(|schema| Shown::new(work, schema, &components))
        .collect();
    for object in &objects {
        let mut any = false;
        for operation in &operations {
            if let Some(operation) = object.operation(operation, contract, fragment) {
                fragment.add(&operation.path, &operation.method, operation.value);
                any = true;
            }
        }
        if any {
            let text = object.readable.description.as_ref();
            let text = text.unwrap_or(&object.readable.plural_label);
            fragment.tags.insert(object.tag(), text.clone());
        }
    }
    // A lookup may lead to an object that no route of this caller leads to.
    loop {
        let missing = fragment.references();
        let missing = objects.iter().filter(|object| {
            let name = &object.names.record;
            missing.contains(name) && !fragment.schemas.contains_key(name)
        });
        let missing: Vec<&Shown> = missing.collect();
        if missing.is_empty() {
            return;
        }
        for object in missing {
            object.add_record(fragment);
        }
    }
}

/// What an RPC does to an object: the operation of the API that the object may leave out, the right
/// that the engine asks for, and how it is called.
struct Does {
    method: ApiMethod,
    operation: rights::Operation,
    verb: &'static str,
    /// Whether it is about many records.
    many: bool,
}

/// The same that the engine asks for; `None` for an RPC that is not known here.
fn does(rpc: &str) -> Option<Does> {
    use rights::Operation::{Create, Delete, Edit, Read};
    let (method, operation, verb, many) = match rpc {
        "ListRecords" => (ApiMethod::List, Read, "List", true),
        "QueryRecords" => (ApiMethod::List, Read, "Query", true),
        "GetRecord" => (ApiMethod::Get, Read, "Fetch", false),
        "CreateRecord" => (ApiMethod::Create, Create, "Create", false),
        "UpdateRecord" => (ApiMethod::Update, Edit, "Change", false),
        "DeleteRecord" => (ApiMethod::Delete, Delete, "Delete", false),
        _ => return None,
    };
    Some(Does {
        method,
        operation,
        verb,
        many,
    })
}

/// An object that the caller may read.
struct Shown<'w> {
    work: &'w Work,
    schema: &'w Arc<Schema>,
    components: &'w Components<'w>,
    names: &'w Names,
    /// The object with the fields that the caller may read.
    readable: Object,
}

impl<'w> Shown<'w> {
    fn new(
        work: &'w Work,
        schema: &'w Arc<Schema>,
        components: &'w Components<'w>,
    ) -> Option<Self> {
        let read = components.read_grant(work, schema)?;
        Some(Self {
            work,
            schema,
            components,
            names: components.names(schema.name())?,
            readable: with_fields(schema, |field| read.can_read(field)),
        })
    }

    fn tag(&self) -> String {
        format!("data/{}", self.schema.name())
    }

    /// The operation on this object, with the schemas that it needs put into the fragment.
    fn operation(
        &self,
        generic: &Operation,
        contract: &Contract,
        fragment: &mut Fragment,
    ) -> Option<Operation> {
        let does = does(&generic.rpc)?;
        let name = self.schema.name();
        let grant = self.work.open(name, does.method, does.operation).ok()?;
        let mut operation = generic.expanded("object", name);
        let noun = if does.many {
            &self.readable.plural_label
        } else {
            &self.readable.label
        };
        let value = &mut operation.value;
        value.insert("tags".to_owned(), json!([self.tag()]));
        value.insert("summary".to_owned(), json!(format!("{} {noun}", does.verb)));
        if does.operation != rights::Operation::Delete {
            self.add_record(fragment);
        }
        let response = operation.response_mut();
        match generic.rpc.as_str() {
            "ListRecords" | "QueryRecords" => {
                if let Some(content) = response {
                    let page = content["schema"]["$ref"].as_str().unwrap_or_default();
                    let page = page.rsplit('/').next().unwrap_or_default();
                    content["schema"] = self.page(contract.schema(page));
                }
            }
            "DeleteRecord" => {}
            _ => {
                if let Some(content) = response {
                    content["schema"] = reference(&self.names.record);
                }
            }
        }
        match generic.rpc.as_str() {
            "QueryRecords" => {
                fragment.schemas.insert(QUERY.to_owned(), schema_of_query());
                if let Some(content) = operation.request_mut() {
                    content["schema"] = reference(QUERY);
                    content["example"] = self.query_example();
                }
            }
            "CreateRecord" => {
                let object = self.writable(&grant);
                let schema = self.hiding(json_schema::create(&object));
                add(fragment, &self.names.create, schema);
                if let Some(content) = operation.request_mut() {
                    content["schema"] = reference(&self.names.create);
                    content["example"] = metadata::example::create(&object);
                }
            }
            "UpdateRecord" => {
                let object = self.writable(&grant);
                let schema = self.update(&object);
                add(fragment, &self.names.update, schema);
                if let Some(content) = operation.request_mut() {
                    content["schema"] = reference(&self.names.update);
                    content["example"] = metadata::example::update(&object);
                }
            }
            _ => {}
        }
        Some(operation)
    }

    /// The record as it is read.
    fn add_record(&self, fragment: &mut Fragment) {
        if fragment.schemas.contains_key(&self.names.record) {
            return;
        }
        let mut schema = json_schema::record(&self.readable);
        schema["required"] = json!(["id"]);
        schema["example"] = metadata::example::record(&self.readable);
        for field in self.readable.fields.values() {
            let target = field.reference.as_deref();
            let target = target.and_then(|target| self.components.shown(self.work, target));
            if let (Some(target), Some(property)) =
                (target, schema["properties"].get_mut(&field.name))
            {
                expandable(property, target, field.is_multi_value());
            }
        }
        if let Some(id) = schema["properties"]["id"].as_object_mut() {
            // It may be left out of what is written, but no record is without it.
            id.remove("nullable");
        }
        let schema = self.hiding(schema);
        add(fragment, &self.names.record, schema);
    }

    /// The contract's page, of records of this object.
    fn page(&self, generic: Option<&Value>) -> Value {
        let mut page = generic
            .cloned()
            .unwrap_or_else(|| json!({"type": "object"}));
        page["properties"]["items"] =
            json!({"type": "array", "items": reference(&self.names.record)});
        page
    }

    /// A field is shown for writing when the caller may write it and knows of it: it can be read, or
    /// nobody can ever read it, as a password.
    fn writable(&self, grant: &Grant) -> Object {
        with_fields(self.schema, |name| {
            let known = self.readable.fields.contains_key(name);
            let secret = self.schema.field(name).is_some_and(|field| {
                matches!(
                    field.field_type,
                    metadata::FieldType::Password | metadata::FieldType::Secret
                )
            });
            grant.can_edit(name) && (known || secret)
        })
    }

    fn update(&self, object: &Object) -> Value {
        let mut schema = self.hiding(json_schema::update(object));
        if self.schema.is_versioned() {
            schema["properties"]["expectedVersion"] = json!({
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "description": "The version that the record must have; stronger than `If-Match`.",
            });
        }
        schema
    }

    fn query_example(&self) -> Value {
        let order = ["created_at", "id"];
        let order = order
            .iter()
            .find(|name| self.readable.fields.contains_key(**name));
        let filter = self
            .readable
            .fields
            .values()
            .find(|field| !field.options.is_empty() && !field.is_multi_value());
        let mut example = json!({"limit": 20});
        if let Some(order) = order {
            example["orderBy"] = json!(format!("-{order}"));
        }
        if let Some(field) = filter {
            example["where"] = json!({&field.name: {"$eq": field.options[0].value}});
        }
        example
    }

    /// Takes names of objects that the caller may not see out of a schema.
    fn hiding(&self, mut schema: Value) -> Value {
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for property in properties.into_iter().flat_map(|map| map.values_mut()) {
            let target = property.get("x-reference").and_then(Value::as_str);
            let hidden =
                target.is_some_and(|target| self.components.shown(self.work, target).is_none());
            if let (true, Some(property)) = (hidden, property.as_object_mut()) {
                property.remove("x-reference");
            }
        }
        schema
    }
}

/// Adds a schema under a name that is its title, too: generators call classes by their titles, and
/// labels of objects need not differ, as these names do.
fn add(fragment: &mut Fragment, name: &str, mut schema: Value) {
    schema["title"] = name.into();
    fragment.schemas.insert(name.to_owned(), schema);
}

/// A lookup is an id, or the record when it was expanded.
fn expandable(property: &mut Value, record: &str, many: bool) {
    let Some(map) = property.as_object_mut() else {
        return;
    };
    let record = reference(record);
    if many {
        if let Some(items) = map.get_mut("items") {
            *items = json!({"anyOf": [{"type": "string"}, record]});
        }
        return;
    }
    let mut id = json!({"type": "string"});
    for key in ["type", "nullable"] {
        if let Some(value) = map.remove(key) {
            id[key] = value;
        }
    }
    map.insert("anyOf".to_owned(), json!([id, record]));
}

/// The object with those of its fields only.
fn with_fields(schema: &Schema, keep: impl Fn(&str) -> bool) -> Object {
    let mut object = schema.object.clone();
    object.fields.retain(|name, _| keep(name));
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_over_objects_is_known_here() {
        let contract = crate::openapi::contract().unwrap();
        for operation in contract.operations() {
            let known = operation.expand != Expand::Object || does(&operation.rpc).is_some();
            assert!(known, "{} needs a line in `does`", operation.rpc);
        }
    }
}
