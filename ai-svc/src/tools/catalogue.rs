//! Which tools there are: those over records and metadata, and one for each action and flow that the
//! caller may see and the app offers to models.

use std::collections::HashSet;

use data_client::registry::Snapshot;
use mesh::{
    Ctx, Result,
    identity::{ADMIN_PERMISSION_SET, Identity, Kind as Subject},
};
use metadata::{
    Action, Flow, Item, ItemType, Object,
    ai::{ToolReference, ToolReferenceKind},
    automation::{AiExposure, flow::RunAs},
    params_schema,
};
use serde_json::{Value, json};

use super::{Change, Kind, Services, Tool, built_in};
use crate::{config::Approval, provider::ToolSpec};

/// What is offered to whom.
pub(crate) struct Offered<'a> {
    /// The metadata in force.
    pub(crate) snapshot: &'a Snapshot,
    /// Who asks.
    pub(crate) identity: &'a Identity,
    /// Which changes wait.
    pub(crate) approval: Approval,
}

impl Offered<'_> {
    /// All tools of a caller.
    ///
    /// # Errors
    /// When data-svc cannot say which actions the caller may see.
    pub(crate) async fn all(&self, services: &Services, ctx: &Ctx) -> Result<Vec<Tool>> {
        let mut tools = built_in::tools();
        // Nothing to ask of what the app declares none of.
        let mut declared = vec![ItemType::Action, ItemType::Flow];
        declared.retain(|item_type| !self.snapshot.items(*item_type).is_empty());
        if declared.is_empty() {
            return Ok(tools);
        }
        let visible = services.metadata.names(ctx, &declared).await?;
        tools.extend(self.of_app(|item| visible.has(item)));
        Ok(tools)
    }

    /// The tools of the app's actions and flows. A tool has the same name for everybody: an action
    /// takes its name also where it is not shown.
    fn of_app(&self, is_shown: impl Fn(&Item) -> bool) -> Vec<Tool> {
        let mut tools = Vec::new();
        let mut taken: HashSet<String> = HashSet::new();
        for item in self.snapshot.items(ItemType::Action) {
            let Some(action) = item.definition.action() else {
                continue;
            };
            let tool = self.action(action, item, &mut taken);
            let shown = is_shown(item) && self.holds(&action.required_permissions);
            tools.extend(tool.filter(|_| shown));
        }
        for item in self.snapshot.items(ItemType::Flow) {
            if let Some(flow) = item.definition.flow()
                && is_shown(item)
            {
                tools.extend(self.flow(flow, item));
            }
        }
        tools
    }

    fn action(&self, action: &Action, item: &Item, taken: &mut HashSet<String>) -> Option<Tool> {
        let has_target = action.target.as_ref().is_some_and(|name| !name.is_empty());
        let runs = action.body.is_some() || has_target;
        if !action.ai.is_exposed || action.kind.is_of_interface() || !runs {
            return None;
        }
        let places = &action.locations;
        let of_row = |place: &String| place.starts_with("record") || place == "list_item";
        let of_record = action.object.is_some() && (places.is_empty() || places.iter().any(of_row));
        let mut name = format!("action_{}", item.name);
        if !taken.insert(name.clone()) {
            // The same name on another object.
            name = format!("action_{}_{}", action.object.as_deref()?, item.name);
            taken.insert(name.clone());
        }
        Some(Tool {
            waits: self.waits(&action.ai, action.is_dangerous()),
            hash: item.hash.clone(),
            spec: ToolSpec {
                name,
                description: action.described().to_owned(),
                parameters: self.parameters(action, of_record),
            },
            kind: Kind::Change(Change::Action {
                name: item.name.clone(),
                object: action.object.clone(),
                of_record,
            }),
        })
    }

    fn flow(&self, flow: &Flow, item: &Item) -> Option<Tool> {
        let inputs = flow.input_params();
        if !flow.ai.is_exposed
            || !flow.status.is_on()
            || !flow.kind.is_callable()
            || !self.holds(&flow.required_permissions)
            || !self.may_start(flow)
            || inputs.is_empty()
        {
            return None;
        }
        Some(Tool {
            waits: self.waits(&flow.ai, true),
            hash: item.hash.clone(),
            spec: ToolSpec {
                name: format!("flow_{}", item.name),
                description: flow.described().to_owned(),
                parameters: params_schema(Some(&inputs)),
            },
            kind: Kind::Change(Change::Flow {
                name: item.name.clone(),
            }),
        })
    }

    /// Whether the caller holds what an item asks for.
    fn holds(&self, required: &[String]) -> bool {
        let mut required = required.iter();
        required.all(|key| self.identity.has_permission(key))
    }

    /// A flow that runs as the system is started by whom it names, or by administrators.
    fn may_start(&self, flow: &Flow) -> bool {
        flow.run_as != RunAs::System
            || !flow.required_permissions.is_empty()
            || self.identity.is_admin()
    }

    fn waits(&self, ai: &AiExposure, is_dangerous: bool) -> bool {
        !ai.is_harmless() && (is_dangerous || self.approval == Approval::All)
    }

    /// What an action takes: its parameters as `metadata` describes them for everybody, and the record
    /// that it is about.
    fn parameters(&self, action: &Action, of_record: bool) -> Value {
        let params = action.resolved_params(|name| self.object(name));
        let mut schema = params_schema(params.as_deref());
        if of_record && schema["properties"].get("recordId").is_none() {
            let what = "Id of the record that it is about";
            schema["properties"]["recordId"] = json!({"type": "string", "description": what});
        }
        if of_record {
            let required = schema["required"].as_array().into_iter().flatten();
            let others = required.filter(|name| *name != "recordId").cloned();
            let required = std::iter::once(json!("recordId")).chain(others);
            schema["required"] = required.collect();
        }
        schema
    }

    fn object(&self, name: &str) -> Option<&Object> {
        let item = self.snapshot.item(ItemType::Object, name)?;
        item.definition.object().map(AsRef::as_ref)
    }
}

/// What the tool of that name does, and the hash of its definition, whoever asks.
pub(crate) fn definition(snapshot: &Snapshot, name: &str) -> Option<(Kind, String)> {
    // Everybody's rights, so that the names come out as they did when it was proposed.
    let mut everybody = Identity::nobody(Subject::User);
    everybody
        .permission_sets
        .push(ADMIN_PERMISSION_SET.to_owned());
    let offered = Offered {
        snapshot,
        identity: &everybody,
        approval: Approval::All,
    };
    let mut tools = built_in::tools().into_iter();
    let found = tools.find(|tool| tool.spec.name == name).or_else(|| {
        let mut tools = offered.of_app(|_| true).into_iter();
        tools.find(|tool| tool.spec.name == name)
    });
    found.map(|tool| (tool.kind, tool.hash))
}

/// Keeps the tools that a list names; a name may be a prefix with `*` behind it.
pub(crate) fn named(tools: &[Tool], list: &[ToolReference]) -> Vec<Tool> {
    let wanted: Vec<String> = list.iter().map(wanted).collect();
    let fits = |tool: &&Tool| {
        let name = &tool.spec.name;
        wanted.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == wanted,
        })
    };
    tools.iter().filter(fits).cloned().collect()
}

/// The name of the tool that a list means.
fn wanted(reference: &ToolReference) -> String {
    let name = &reference.name;
    let prefix = match &reference.kind {
        ToolReferenceKind::Action => "action_",
        ToolReferenceKind::Flow => "flow_",
        ToolReferenceKind::Tool
        | ToolReferenceKind::Query
        | ToolReferenceKind::VectorSearch
        | ToolReferenceKind::Other(_) => "",
    };
    match name.starts_with(prefix) {
        true => name.clone(),
        false => format!("{prefix}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metadata::{FieldType, Shape, check_params};

    use super::*;
    use crate::tools::schema::violations;

    /// A value of that shape.
    fn sample(shape: Shape) -> Value {
        match shape {
            Shape::Text => json!("x"),
            Shape::Number => json!(1.5),
            Shape::Integer => json!(2),
            Shape::Boolean => json!(true),
            Shape::Date => json!("2026-12-31"),
            Shape::DateTime => json!("2026-12-31T12:00:00Z"),
            Shape::Texts => json!(["x"]),
            Shape::Numbers => json!([1, 2.5]),
            Shape::Objects => json!([{}]),
            Shape::List => json!([1, "x"]),
            Shape::Object | Shape::TextOrObject => json!({"lat": 1}),
            Shape::Any => json!(null),
        }
    }

    #[test]
    fn what_a_model_may_give_for_any_type_is_what_the_action_takes() {
        for field_type in FieldType::ALL {
            let fields = json!({"f": {"type": field_type.as_str()}});
            let object = Item::new(ItemType::Object, "t", json!({"fields": fields})).0;
            let action = json!({"objectName": "t", "body": "return 1", "locations": ["global"],
                "params": [{"field": "f"}]});
            let action = Item::new(ItemType::Action, "a", action).0;
            let typed = action.definition.action().unwrap().clone();
            let snapshot = Snapshot::new(1, [Arc::new(object), Arc::new(action)]);
            let everybody = Identity::nobody(Subject::User);
            let offered = Offered {
                snapshot: &snapshot,
                identity: &everybody,
                approval: Approval::All,
            };
            let tools = offered.of_app(|_| true);
            let params = typed.resolved_params(|name| offered.object(name)).unwrap();
            let parameters = &tools[0].spec.parameters;
            assert_eq!(*parameters, params_schema(Some(&params)), "{field_type:?}");
            let input = json!({"f": sample(params[0].shape)});
            let wrong = violations(parameters, &input);
            assert!(wrong.is_empty(), "{field_type:?}: {wrong:?}");
            let mut taken = input.as_object().unwrap().clone();
            let refused = check_params(&params, &mut taken);
            assert!(refused.is_empty(), "{field_type:?}: {refused:?}");
        }
    }

    #[test]
    fn an_action_of_a_record_asks_for_its_id_and_names_are_those_of_everybody() {
        let action =
            |name: &str, value: Value| Arc::new(Item::new(ItemType::Action, name, value).0);
        let close = |object: &str, more: Value| {
            let mut value = json!({"objectName": object, "body": "return 1"});
            for (key, one) in more.as_object().unwrap() {
                value[key] = one.clone();
            }
            action("close", value)
        };
        let items = [
            close("ticket", json!({"requiredPermissions": ["nobody"]})),
            close(
                "deal",
                json!({"params": [{"name": "why", "required": true}], "ai": {"readOnly": true}}),
            ),
            action("open", json!({"type": "url", "target": "/x"})),
            action("hidden", json!({"body": "return 1", "aiExposed": false})),
        ];
        let snapshot = Snapshot::new(1, items);
        let somebody = Identity::nobody(Subject::User);
        let offered = Offered {
            snapshot: &snapshot,
            identity: &somebody,
            approval: Approval::All,
        };
        let tools = offered.of_app(|_| true);
        assert_eq!(tools.len(), 1);
        // `action_close` is that of tickets, also for who may not see it.
        assert_eq!(tools[0].spec.name, "action_deal_close");
        assert!(!tools[0].waits);
        let required = &tools[0].spec.parameters["required"];
        assert_eq!(*required, json!(["recordId", "why"]));
        let found = definition(&snapshot, "action_close").unwrap();
        assert!(
            matches!(found.0, Kind::Change(Change::Action { object: Some(object), .. }) if object == "ticket")
        );
    }
}
