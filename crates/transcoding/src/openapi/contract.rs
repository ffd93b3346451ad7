//! The contract's routes as OpenAPI operations, compiled once; a caller gets those that the guard
//! would let through.

use std::{collections::BTreeMap, collections::HashMap, sync::Arc};

use anyhow::Context as _;
use http::{Method, StatusCode};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use proto::annotations::v1::{RateClass, access::Rule};
use serde_json::{Map, Value, json};

use super::{
    Fragment,
    schema::{Schemas, Way, scalar},
};
use crate::{
    EVENT_STREAM, Expand, Route, Table,
    access::Entry,
    comments::{Comments, details, summary},
    shape::{Field, Kind},
    table::{Body, family},
};

/// The routes of one service, as OpenAPI says them.
#[derive(Debug)]
pub struct Contract {
    operations: Vec<Operation>,
    schemas: BTreeMap<String, Value>,
    tags: BTreeMap<String, String>,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Operation {
    /// HTTP method.
    pub method: Method,
    /// Path with variables in braces.
    pub path: Arc<str>,
    /// Name of the RPC: `ListRecords`.
    pub rpc: String,
    /// Whom the guard lets through.
    pub entry: Entry,
    /// What it is repeated over.
    pub expand: Expand,
    /// The operation object.
    pub value: Map<String, Value>,
}

impl Operation {
    /// The same route for one object, action or flow: the path variable `var` is `name`.
    #[must_use]
    pub fn expanded(&self, var: &str, name: &str) -> Self {
        let mut expanded = self.clone();
        expanded.path = self.path.replace(&format!("{{{var}}}"), name).into();
        if let Some(Value::Array(parameters)) = expanded.value.get_mut("parameters") {
            parameters.retain(|one| one["in"] != "path" || one["name"] != var);
        }
        if let Some(Value::String(id)) = expanded.value.get_mut("operationId") {
            id.push('_');
            id.push_str(name);
        }
        expanded
    }

    /// The schema of the JSON body that a request carries.
    pub fn request_mut(&mut self) -> Option<&mut Value> {
        let content = self.value.get_mut("requestBody")?.get_mut("content")?;
        content.get_mut("application/json")
    }

    /// The schema of the JSON body of success.
    pub fn response_mut(&mut self) -> Option<&mut Value> {
        let responses = self.value.get_mut("responses")?.as_object_mut()?;
        let success = responses.iter_mut().find(|(code, _)| code.starts_with('2'));
        let content = success?.1.get_mut("content")?;
        content.get_mut("application/json")
    }
}

impl Contract {
    /// Compiles the routes of the proto packages that begin so: `objectmesh.data.`. Routes that are
    /// not built yet are left out.
    ///
    /// # Errors
    /// Names what is wrong in the contract's options.
    pub fn of(packages: &str) -> anyhow::Result<Self> {
        Self::from_pool(proto::descriptor_pool(), packages)
    }

    /// The same over the descriptors of another contract.
    ///
    /// # Errors
    /// Names what is wrong in the contract's options.
    pub fn from_pool(pool: &DescriptorPool, packages: &str) -> anyhow::Result<Self> {
        let table = Table::from_pool(pool)?;
        let mut maker = Maker::new(pool);
        let mut contract = Self {
            operations: Vec::new(),
            schemas: BTreeMap::new(),
            tags: BTreeMap::new(),
        };
        for route in table.routes() {
            if !route.package.starts_with(packages) || !route.entry.implemented {
                continue;
            }
            let rpc = descriptor(pool, route)?;
            contract
                .tags
                .entry(family(&route.pattern).to_owned())
                .or_insert_with(|| maker.service(&rpc));
            contract.operations.push(maker.operation(route, &rpc));
        }
        contract.schemas = maker.schemas.made;
        Ok(contract)
    }

    /// The routes, in the contract's order.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The fragment of the routes whose entries are open to somebody.
    pub fn fragment(&self, is_open: impl Fn(&Entry) -> bool) -> Fragment {
        let mut fragment = Fragment::default();
        let open = |operation: &&Operation| is_open(&operation.entry);
        for operation in self.operations.iter().filter(open) {
            fragment.add(&operation.path, &operation.method, operation.value.clone());
            let tag = family(&operation.path);
            if let Some(text) = self.tags.get(tag) {
                fragment.tags.insert(tag.to_owned(), text.clone());
            }
        }
        self.complete(&mut fragment);
        fragment
    }

    /// A component schema of the contract.
    #[must_use]
    pub fn schema(&self, name: &str) -> Option<&Value> {
        self.schemas.get(name)
    }

    /// Adds those of the contract's schemas that the fragment refers to.
    pub fn complete(&self, fragment: &mut Fragment) {
        loop {
            let missing = fragment.references().into_iter().filter_map(|name| {
                let schema = self.schemas.get(&name)?;
                (!fragment.schemas.contains_key(&name)).then(|| (name, schema.clone()))
            });
            let missing: Vec<(String, Value)> = missing.collect();
            if missing.is_empty() {
                return;
            }
            fragment.schemas.extend(missing);
        }
    }
}

/// A body that streams, of any type.
fn binary(description: &str, required: bool) -> Value {
    let content = json!({"*/*": {"schema": {"type": "string", "format": "binary"}}});
    let mut body = json!({"content": content, "required": required});
    if !description.is_empty() {
        body["description"] = json!(description);
    }
    body
}

/// The path, with its variables named as fields are in JSON.
fn path(route: &Route) -> Arc<str> {
    let mut path = route.pattern.to_string();
    for position in &route.vars {
        let field = &route.shapes.request.fields[*position];
        let (written, shown) = (format!("{{{}}}", field.name), format!("{{{}}}", field.json));
        path = path.replace(&written, &shown);
    }
    path.into()
}

fn descriptor(pool: &DescriptorPool, route: &Route) -> anyhow::Result<MethodDescriptor> {
    let (service, method) = route
        .rpc
        .path()
        .trim_start_matches('/')
        .split_once('/')
        .context("an RPC is service/method")?;
    let service = pool
        .get_service_by_name(service)
        .with_context(|| format!("no service `{service}`"))?;
    let found = service.methods().find(|one| one.name() == method);
    found.with_context(|| format!("no RPC `{method}`"))
}

struct Maker {
    schemas: Schemas,
    /// How many routes an RPC has so far.
    routes: HashMap<String, u32>,
}

impl Maker {
    fn new(pool: &DescriptorPool) -> Self {
        Self {
            schemas: Schemas::new(pool),
            routes: HashMap::new(),
        }
    }

    /// What a service is, for its tag.
    fn service(&self, rpc: &MethodDescriptor) -> String {
        let service = rpc.parent_service();
        Comments::of(&service.parent_file()).at(service.path())
    }

    fn operation(&mut self, route: &Route, rpc: &MethodDescriptor) -> Operation {
        let comment = Comments::of(&rpc.parent_file()).at(rpc.path());
        let mut value = Map::new();
        value.insert("tags".to_owned(), json!([family(&route.pattern)]));
        value.insert("summary".to_owned(), json!(summary(&comment)));
        let description = description(&comment, &route.entry);
        if !description.is_empty() {
            value.insert("description".to_owned(), json!(description));
        }
        value.insert("operationId".to_owned(), json!(self.id(rpc)));
        if route.deprecated.is_some() {
            value.insert("deprecated".to_owned(), json!(true));
        }
        let parameters = self.parameters(route);
        if !parameters.is_empty() {
            value.insert("parameters".to_owned(), Value::Array(parameters));
        }
        if let Some(body) = self.request_body(route) {
            value.insert("requestBody".to_owned(), body);
        }
        value.insert("responses".to_owned(), self.responses(route));
        match &route.entry.rule {
            Rule::Public(_) => {
                value.insert("security".to_owned(), json!([]));
            }
            Rule::Permission(key) => {
                value.insert("x-permission".to_owned(), json!(key));
            }
            Rule::Authenticated(_) | Rule::Internal(_) => {}
        }
        Operation {
            method: route.method.clone(),
            path: path(route),
            rpc: rpc.name().to_owned(),
            entry: route.entry.clone(),
            expand: route.expand,
            value,
        }
    }

    /// `listRecords`; a further route of the same RPC is `listRecords2`.
    fn id(&mut self, rpc: &MethodDescriptor) -> String {
        let seen = self.routes.entry(rpc.full_name().to_owned()).or_default();
        *seen += 1;
        let (first, rest) = rpc.name().split_at(1);
        let number = match *seen {
            1 => String::new(),
            more => more.to_string(),
        };
        format!("{}{rest}{number}", first.to_ascii_lowercase())
    }

    fn parameters(&mut self, route: &Route) -> Vec<Value> {
        let mut parameters = Vec::new();
        for position in &route.vars {
            let mut parameter = self.parameter(route, *position, "path", None);
            parameter.insert("required".to_owned(), json!(true));
            if parameter["schema"]["type"] == "string" {
                parameter["schema"]["minLength"] = json!(1);
            }
            parameters.push(Value::Object(parameter));
        }
        for position in 0..route.shapes.request.fields.len() {
            let field = &route.shapes.request.fields[position];
            if route.query.names.get(&field.json) == Some(&position) {
                let required = field.required;
                let mut parameter = self.parameter(route, position, "query", None);
                if required {
                    parameter.insert("required".to_owned(), json!(true));
                }
                parameters.push(Value::Object(parameter));
            }
        }
        if let Some(number) = route.query.remaining {
            let text = self.schemas.comment(&route.shapes.request, Some(number));
            parameters.push(json!({
                "name": "filters", "in": "query", "description": text, "style": "form",
                "explode": true,
                "schema": {"type": "object", "additionalProperties": {"type": "string"}},
                // Explorers would fill in parameters of their own invention.
                "example": {},
            }));
        }
        for (name, position) in &route.request_headers {
            let name = header_name(name.as_str());
            let parameter = self.parameter(route, *position, "header", Some(&name));
            parameters.push(Value::Object(parameter));
        }
        parameters
    }

    fn parameter(
        &mut self,
        route: &Route,
        position: usize,
        place: &str,
        name: Option<&str>,
    ) -> Map<String, Value> {
        let shape = &route.shapes.request;
        let field = &shape.fields[position];
        let mut description = self.schemas.comment(shape, Some(field.number));
        if place == "query" && !field.aliases.is_empty() {
            let names: Vec<String> = field.aliases.iter().map(|one| format!("`{one}`")).collect();
            description.push_str(&format!(" Also as {}.", names.join(", ")));
        }
        let mut parameter = Map::new();
        parameter.insert("name".to_owned(), json!(name.unwrap_or(&field.json)));
        parameter.insert("in".to_owned(), json!(place));
        if !description.is_empty() {
            parameter.insert("description".to_owned(), json!(description.trim()));
        }
        parameter.insert("schema".to_owned(), plain(field));
        parameter
    }

    fn request_body(&mut self, route: &Route) -> Option<Value> {
        let shape = &route.shapes.request;
        let (schema, text) = match route.body {
            Body::None => return None,
            Body::Stream(position) => {
                let field = &shape.fields[position];
                let text = self.schemas.comment(shape, Some(field.number));
                return Some(binary(&text, !route.body_optional));
            }
            Body::Whole => {
                let mut taken = route.vars.clone();
                taken.extend(route.request_headers.iter().map(|(_, position)| *position));
                (self.schemas.message(shape, Way::In, &taken), String::new())
            }
            Body::Raw(position) | Body::Message(position) => {
                let field = &shape.fields[position];
                let text = self.schemas.comment(shape, Some(field.number));
                (self.schemas.field(shape, field, Way::In), text)
            }
        };
        let mut body = Map::new();
        if !text.is_empty() {
            body.insert("description".to_owned(), json!(text));
        }
        let content = json!({"application/json": {"schema": schema}});
        body.insert("content".to_owned(), content);
        // OpenAPI's default is that a body may be absent.
        if !route.body_optional {
            body.insert("required".to_owned(), json!(true));
        }
        Some(Value::Object(body))
    }

    fn responses(&mut self, route: &Route) -> Value {
        let mut success = Map::new();
        let shape = &route.shapes.response;
        let comment = self.schemas.comment(shape, None);
        let text = if comment.is_empty() {
            "Success."
        } else {
            &comment
        };
        success.insert("description".to_owned(), json!(text));
        let mut headers = Map::new();
        for (name, _) in &route.response_headers {
            let name = header_name(name.as_str());
            headers.insert(name, json!({"schema": {"type": "string"}}));
        }
        if !headers.is_empty() {
            success.insert("headers".to_owned(), Value::Object(headers));
        }
        let plain = route
            .stream
            .as_ref()
            .is_some_and(|form| !form.may_be_events());
        if plain {
            let content = json!({"*/*": {"schema": {"type": "string", "format": "binary"}}});
            success.insert("content".to_owned(), content);
            success.insert("description".to_owned(), json!("The content."));
        } else if let Some(form) = &route.stream {
            // No type: some readers of this document check the text, others each event.
            let events = json!({"description": "Server-sent events, each with JSON as its data."});
            let mut content = json!({EVENT_STREAM: {"schema": events}});
            if form.is_http_body() {
                content["application/json"] = json!({"schema": {"type": "object"}});
            }
            success.insert("content".to_owned(), content);
            success.insert("description".to_owned(), json!("The answer."));
        } else if !route.empty && route.status != StatusCode::NO_CONTENT {
            let schema = match route.response_body {
                None => self.schemas.message(shape, Way::Out, &[]),
                Some(position) => self.schemas.field(shape, &shape.fields[position], Way::Out),
            };
            let content = json!({"application/json": {"schema": schema}});
            success.insert("content".to_owned(), content);
        }
        let mut responses = Map::new();
        for further in &route.further_statuses {
            let answer = Value::Object(success.clone());
            responses.insert(further.as_str().to_owned(), answer);
        }
        responses.insert(route.status.as_str().to_owned(), Value::Object(success));
        let conditional = |name: &str| name == "if-none-match";
        let mut bound = route.request_headers.iter();
        if bound.any(|(name, _)| conditional(name.as_str())) {
            let text = "What the caller has is still so.";
            responses.insert("304".to_owned(), json!({"description": text}));
        }
        for status in failures(route) {
            let target = format!("#/components/responses/{status}");
            responses.insert(status.to_owned(), json!({"$ref": target}));
        }
        Value::Object(responses)
    }
}

/// What a route may answer instead of success; anything else is `default`.
fn failures(route: &Route) -> Vec<&'static str> {
    let public = matches!(route.entry.rule, Rule::Public(_));
    let mut failures = vec!["400"];
    // Signing in is public, and fails.
    if !public || route.package.starts_with("objectmesh.auth.") {
        failures.push("401");
    }
    if !public || !route.safe {
        failures.push("403");
    }
    if !route.vars.is_empty() {
        failures.push("404");
    }
    if !route.safe {
        failures.push("409");
    }
    if route.rate_class != RateClass::Exempt {
        failures.push("429");
    }
    failures.extend(["500", "default"]);
    failures
}

/// The schema of a parameter, which is a plain value or a list of such.
fn plain(field: &Field) -> Value {
    let one = match (&field.kind, &field.schema) {
        (Kind::Json, Some(schema)) => schema.clone(),
        (kind, _) => scalar(kind),
    };
    if field.repeated {
        json!({"type": "array", "items": one})
    } else {
        one
    }
}

fn description(comment: &str, entry: &Entry) -> String {
    let mut parts = vec![details(comment).to_owned()];
    if let Rule::Permission(key) = &entry.rule {
        parts.push(format!("Needs the permission `{key}`."));
    }
    if !entry.scope.is_empty() {
        parts.push(format!("A scoped API key needs `{}`.", entry.scope));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// `if-match` → `If-Match`, and `ETag` as everybody writes it.
fn header_name(name: &str) -> String {
    if name == "etag" {
        return "ETag".to_owned();
    }
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase())
    });
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(packages: &str) -> Fragment {
        Contract::of(packages).unwrap().fragment(|_| true)
    }

    #[test]
    fn a_route_says_all_that_the_contract_does() {
        let fragment = all("objectmesh.data.");
        let list = &fragment.paths["/api/v1/data/{object}"]["get"];
        assert_eq!(list["operationId"], "listRecords");
        assert_eq!(
            list["summary"],
            "Lists records that fit a filter, ordered and paged"
        );
        let parameters = list["parameters"].as_array().unwrap();
        let limit = parameters
            .iter()
            .find(|one| one["name"] == "limit")
            .unwrap();
        assert_eq!(limit["schema"]["maximum"], u32::MAX);
        assert!(
            limit["description"]
                .as_str()
                .unwrap()
                .ends_with("Also as `top`, `$top`.")
        );
        let create = &fragment.paths["/api/v1/data/{object}"]["post"];
        assert_eq!(create["requestBody"]["required"], true);
        let created = &create["responses"]["201"];
        assert!(
            created["headers"]["Location"].is_object() && created["headers"]["ETag"].is_object()
        );
        let page = &fragment.schemas["objectmesh.data.v1.ListRecordsResponse"];
        assert_eq!(page["required"], json!(["items", "nextCursor"]));
        assert_eq!(page["properties"]["nextCursor"]["nullable"], true);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_id_is_one() {
        let mut ids = Vec::new();
        for packages in [
            "objectmesh.auth.",
            "objectmesh.data.",
            "objectmesh.flow.",
            "objectmesh.ai.",
        ] {
            let fragment = all(packages);
            for name in fragment.references() {
                assert!(fragment.schemas.contains_key(&name), "{name}");
            }
            let operations = fragment.paths.values().flat_map(|path| path.values());
            ids.extend(operations.map(|one| one["operationId"].to_string()));
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
