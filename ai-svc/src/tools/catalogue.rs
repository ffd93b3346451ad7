//! Which tools there are: those over records and metadata, and one for each action and flow that the
//! caller may see and the app offers to models.

use std::collections::HashSet;

use mesh::{
    Ctx, Result,
    identity::{ADMIN_PERMISSION_SET, Identity, Kind as Speaker},
    registry::{Item, Snapshot},
};
use metadata::canonical;
use serde_json::{Map, Value, json};

use super::{Kind, Services, Tool};
use crate::{config::Approval, provider::ToolSpec};

/// What is offered to whom.
pub(crate) struct Offered<'a> {
    /// The metadata in force.
    pub(crate) snapshot: &'a Snapshot,
    /// Who asks.
    pub(crate) identity: &'a Identity,
    /// Which mutations wait.
    pub(crate) approval: Approval,
}

impl Offered<'_> {
    /// All tools of a caller.
    ///
    /// # Errors
    /// When data-svc cannot say which actions the caller may see.
    pub(crate) async fn all(&self, services: &Services, ctx: &Ctx) -> Result<Vec<Tool>> {
        let mut tools = fixed();
        let mut taken: HashSet<String> = HashSet::new();
        let actions = self.snapshot.items("action");
        let flows = self.snapshot.items("flow");
        // Nothing to ask where the app declares none.
        if !actions.is_empty() {
            let visible = visible(&services.items(ctx, "action").await?);
            for item in actions {
                // Named first, so that a tool has the same name for everybody.
                let tool = self.action(item, &mut taken);
                let seen =
                    visible.contains(&key(&item.value, &item.name)) && self.holds(&item.value);
                tools.extend(tool.filter(|_| seen));
            }
        }
        if !flows.is_empty() {
            let visible = visible(&services.items(ctx, "flow").await?);
            let seen = flows
                .iter()
                .filter(|item| visible.contains(&key(&item.value, &item.name)));
            tools.extend(seen.filter_map(|item| self.flow(item)));
        }
        Ok(tools)
    }

    fn action(&self, item: &Item, taken: &mut HashSet<String>) -> Option<Tool> {
        let value = &item.value;
        let text = |key: &str| value[key].as_str().filter(|text| !text.is_empty());
        let kind = text("type").unwrap_or("script");
        let runs =
            !value["body"].is_null() || text("target").is_some() || text("execute").is_some();
        if !exposed(value) || matches!(kind, "url" | "modal" | "form") || !runs {
            return None;
        }
        let object = text("objectName")
            .or_else(|| text("object"))
            .map(str::to_owned);
        let locations = value["locations"].as_array().map_or(&[][..], Vec::as_slice);
        let of_row = |place: &Value| {
            let place = place.as_str().unwrap_or_default();
            place.starts_with("record") || place == "list_item"
        };
        let of_record = object.is_some() && (locations.is_empty() || locations.iter().any(of_row));
        let mut name = format!("action_{}", item.name);
        if !taken.insert(name.clone()) {
            // The same name on another object.
            name = format!("action_{}_{}", object.as_deref()?, item.name);
            taken.insert(name.clone());
        }
        let dangerous = text("confirmText").is_some()
            || text("mode") == Some("delete")
            || text("variant") == Some("danger");
        let kind = Kind::Action {
            name: item.name.clone(),
            object: object.clone(),
            of_record,
        };
        let parameters = self.parameters(&value["params"], object.as_deref(), of_record);
        Some(Tool {
            waits: self.waits(value, dangerous),
            hash: item.hash.clone(),
            spec: spec(&name, &description(value, &item.name), parameters),
            kind,
        })
    }

    fn flow(&self, item: &Item) -> Option<Tool> {
        let value = &item.value;
        let kind = value["type"].as_str().unwrap_or("autolaunched");
        let off = matches!(value["status"].as_str(), Some("obsolete" | "invalid"));
        if !exposed(value)
            || off
            || !matches!(kind, "manual" | "api" | "autolaunched" | "screen")
            || !self.holds(value)
            || !self.may_start(value)
        {
            return None;
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        if let Some(inputs) = value["inputs"].as_object() {
            for (name, input) in inputs {
                properties.insert(name.clone(), parameter(input, input));
                if input["required"] == true {
                    required.push(json!(name));
                }
            }
        }
        let variables = value["variables"].as_array().map_or(&[][..], Vec::as_slice);
        for variable in variables
            .iter()
            .filter(|variable| variable["isInput"] == true)
        {
            if let Some(name) = variable["name"].as_str() {
                properties.insert(name.to_owned(), parameter(variable, variable));
                if variable["required"] == true {
                    required.push(json!(name));
                }
            }
        }
        if properties.is_empty() {
            return None;
        }
        let parameters = json!({"type": "object", "properties": properties, "required": required,
            "additionalProperties": false});
        let name = format!("flow_{}", item.name);
        Some(Tool {
            waits: self.waits(value, true),
            hash: item.hash.clone(),
            spec: spec(&name, &description(value, &item.name), parameters),
            kind: Kind::Flow {
                name: item.name.clone(),
            },
        })
    }

    /// Whether the caller holds what the item asks for.
    fn holds(&self, value: &Value) -> bool {
        let required = value["requiredPermissions"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let mut keys = required.iter().filter_map(Value::as_str);
        keys.all(|key| self.identity.has_permission(key))
    }

    /// A flow that runs as the system is started by whom it names, or by administrators.
    fn may_start(&self, value: &Value) -> bool {
        let required = value["requiredPermissions"].as_array();
        value["runAs"] != "system"
            || required.is_some_and(|keys| !keys.is_empty())
            || self.identity.is_admin()
    }

    fn waits(&self, value: &Value, dangerous: bool) -> bool {
        let harmless =
            value["ai"]["readOnly"] == true || value["ai"]["requiresConfirmation"] == false;
        !harmless && (dangerous || self.approval == Approval::All)
    }

    fn parameters(&self, params: &Value, object: Option<&str>, of_record: bool) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        if of_record {
            let what = "Id of the record that it is about";
            properties.insert(
                "recordId".to_owned(),
                json!({"type": "string", "description": what}),
            );
            required.push(json!("recordId"));
        }
        let declared = params.as_array().map_or(&[][..], Vec::as_slice);
        for param in declared {
            let field = param["field"].as_str();
            let Some(name) = param["name"].as_str().or(field) else {
                continue;
            };
            let of = param["objectOverride"].as_str().or(object);
            let inherited = field
                .and_then(|field| self.field(of?, field))
                .unwrap_or(Value::Null);
            properties.insert(name.to_owned(), parameter(param, &inherited));
            let needed = param.get("required").unwrap_or(&inherited["required"]);
            if *needed == true && param.get("defaultValue").is_none() {
                required.push(json!(name));
            }
        }
        json!({"type": "object", "properties": properties, "required": required,
            "additionalProperties": declared.is_empty()})
    }

    fn field(&self, object: &str, field: &str) -> Option<Value> {
        let fields = &self.snapshot.item("object", object)?.value["fields"];
        match fields {
            Value::Array(list) => list.iter().find(|one| one["name"] == field).cloned(),
            map => map.get(field).cloned(),
        }
    }
}

fn key(value: &Value, name: &str) -> (String, String) {
    let object = value["objectName"]
        .as_str()
        .or_else(|| value["object"].as_str());
    (object.unwrap_or_default().to_owned(), name.to_owned())
}

fn visible(items: &[Value]) -> HashSet<(String, String)> {
    let name = |item: &Value| item["name"].as_str().unwrap_or_default().to_owned();
    items.iter().map(|item| key(item, &name(item))).collect()
}

fn exposed(value: &Value) -> bool {
    value["aiExposed"] != false && value["ai"]["exposed"] != false
}

fn description(value: &Value, name: &str) -> String {
    let stated = value["ai"]["description"]
        .as_str()
        .or_else(|| value["description"].as_str());
    let label = value["label"].as_str().unwrap_or(name);
    stated.unwrap_or(label).to_owned()
}

/// JSON Schema of a declared parameter; what it does not say is taken from the field it stands for.
fn parameter(param: &Value, inherited: &Value) -> Value {
    let of = |key: &str| param.get(key).or_else(|| inherited.get(key));
    let kind = of("type").and_then(Value::as_str).unwrap_or("text");
    let kind = match kind {
        "number" | "currency" | "percent" | "float" | "double" => "number",
        "integer" | "int" => "integer",
        "boolean" | "checkbox" | "toggle" => "boolean",
        "json" | "object" | "record" | "any" | "list" | "array" | "multiselect" | "tags" => "",
        _ => "string",
    };
    let mut schema = Map::new();
    let many = of("multiple") == Some(&Value::Bool(true));
    if many {
        schema.insert("type".to_owned(), json!("array"));
    } else if !kind.is_empty() {
        schema.insert("type".to_owned(), json!(kind));
    }
    if let Some(label) = of("description")
        .or_else(|| of("label"))
        .and_then(Value::as_str)
    {
        schema.insert("description".to_owned(), json!(label));
    }
    let options = of("options").and_then(Value::as_array);
    if let (Some(options), false) = (options, many || kind.is_empty()) {
        let values = options
            .iter()
            .map(|option| option.get("value").unwrap_or(option).clone());
        schema.insert("enum".to_owned(), values.collect());
    }
    Value::Object(schema)
}

fn spec(name: &str, description: &str, parameters: Value) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters,
    }
}

/// The tools over records and metadata.
fn fixed() -> Vec<Tool> {
    let text = |what: &str| json!({"type": "string", "description": what});
    let object = text("Name of the object, as list_objects gives it");
    let record = text("Id of the record");
    let filter = json!({"type": "object", "description":
        "Filter: {\"field\": value} or {\"field\": {\"$gt\": 1}}; also $eq $ne $gt $gte $lt $lte $in $nin $contains, $and, $or"});
    let names = json!({"type": "array", "items": {"type": "string"}});
    let data = json!({"type": "object", "description": "Values by field name"});
    let mut tools = vec![
        tool(
            Kind::ListObjects,
            "Lists the objects (kinds of records) that the user may read",
            json!({}),
            &[],
        ),
        tool(
            Kind::DescribeObject,
            "Shows the fields of an object",
            json!({"objectName": object}),
            &["objectName"],
        ),
        tool(
            Kind::QueryRecords,
            "Finds records of an object",
            json!({
                "objectName": object, "where": filter, "fields": names,
                "orderBy": {"type": "array", "items": {"type": "object", "required": ["field"],
                    "additionalProperties": false,
                    "properties": {"field": {"type": "string"}, "order": {"type": "string", "enum": ["asc", "desc"]}}}},
                "limit": {"type": "integer", "minimum": 1, "maximum": 200},
                "offset": {"type": "integer", "minimum": 0},
            }),
            &["objectName"],
        ),
        tool(
            Kind::GetRecord,
            "Reads one record",
            json!({"objectName": object, "recordId": record, "fields": names}),
            &["objectName", "recordId"],
        ),
        tool(
            Kind::AggregateData,
            "Counts, sums and groups records",
            json!({
                "objectName": object, "where": filter,
                "groupBy": {"type": "array", "description": "Field names, or {field, dateGranularity, alias}"},
                "aggregations": {"type": "array", "items": {"type": "object", "required": ["function", "alias"],
                    "properties": {"function": {"type": "string", "enum": ["count", "sum", "avg", "min", "max", "count_distinct"]},
                        "field": {"type": "string"}, "alias": {"type": "string"}}}},
            }),
            &["objectName", "aggregations"],
        ),
        tool(
            Kind::CreateRecord,
            "Proposes a new record; a person approves it before it is made",
            json!({"objectName": object, "data": data}),
            &["objectName", "data"],
        ),
        tool(
            Kind::UpdateRecord,
            "Proposes a change of a record; a person approves it before it is made",
            json!({"objectName": object, "recordId": record, "data": data}),
            &["objectName", "recordId", "data"],
        ),
        tool(
            Kind::DeleteRecord,
            "Proposes to delete a record; a person approves it before it is done",
            json!({"objectName": object, "recordId": record}),
            &["objectName", "recordId"],
        ),
    ];
    for tool in &mut tools {
        tool.waits = matches!(
            tool.kind,
            Kind::CreateRecord | Kind::UpdateRecord | Kind::DeleteRecord
        );
    }
    tools
}

fn tool(kind: Kind, description: &str, properties: Value, required: &[&str]) -> Tool {
    let name = match kind {
        Kind::CreateRecord => "create_record",
        Kind::UpdateRecord => "update_record",
        Kind::DeleteRecord => "delete_record",
        ref other => other.action_name(),
    };
    let parameters = json!({"type": "object", "properties": properties, "required": required,
        "additionalProperties": false});
    Tool {
        hash: canonical::hash(&json!([name, parameters])),
        spec: spec(name, description, parameters),
        waits: false,
        kind,
    }
}

/// What the tool of that name does, and the hash of its definition, whoever asks.
pub(crate) fn definition(snapshot: &Snapshot, name: &str) -> Option<(Kind, String)> {
    if let Some(tool) = fixed().into_iter().find(|tool| tool.spec.name == name) {
        return Some((tool.kind, tool.hash));
    }
    // Everybody's rights, so that the names come out as they did when it was proposed.
    let mut everybody = Identity::nobody(Speaker::User);
    everybody
        .permission_sets
        .push(ADMIN_PERMISSION_SET.to_owned());
    let offered = Offered {
        snapshot,
        identity: &everybody,
        approval: Approval::All,
    };
    let mut taken = HashSet::new();
    let actions = snapshot.items("action").iter();
    let mut actions = actions.filter_map(|item| offered.action(item, &mut taken));
    let flows = snapshot.items("flow").iter();
    let found = actions.find(|tool| tool.spec.name == name).or_else(|| {
        flows
            .filter_map(|item| offered.flow(item))
            .find(|tool| tool.spec.name == name)
    });
    found.map(|tool| (tool.kind, tool.hash))
}

/// Keeps the tools that a list names: names, `{type, name}`, or a prefix with `*` behind it.
pub(crate) fn named(tools: &[Tool], list: &[Value]) -> Vec<Tool> {
    let wanted: Vec<String> = list.iter().filter_map(wanted).collect();
    let fits = |tool: &&Tool| {
        let name = &tool.spec.name;
        wanted.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == wanted,
        })
    };
    tools.iter().filter(fits).cloned().collect()
}

fn wanted(entry: &Value) -> Option<String> {
    if let Some(name) = entry.as_str() {
        return Some(name.to_owned());
    }
    let name = entry["name"].as_str()?;
    let prefix = match entry["type"].as_str() {
        Some("action") => "action_",
        Some("flow") => "flow_",
        _ => "",
    };
    Some(match name.starts_with(prefix) {
        true => name.to_owned(),
        false => format!("{prefix}{name}"),
    })
}
