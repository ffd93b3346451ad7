//! Invoking actions (spec/automation.md §1). An action runs as its caller: what it reads and writes is
//! checked by data-svc as if the caller did it by hand.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use expr::Scope;
use mesh::{Ctx, Error, Result, error::Reason};
use script::Context;
use serde_json::{Map, Value, json};

use super::{App, script_run::organization_of};
use crate::{
    catalog::Catalog,
    domain::{
        action::{Action, Guard, Run},
        invocation::Body,
        param,
    },
};

/// The segment that stands for actions of no object.
pub(crate) const GLOBAL: &str = "global";

/// What to invoke, and with what.
pub(crate) struct Invocation {
    /// The object, [`GLOBAL`], or empty where the name alone tells.
    pub(crate) object: String,
    /// Name of the action.
    pub(crate) name: String,
    /// The record of the path; empty for none.
    pub(crate) record_id: String,
    /// The body.
    pub(crate) body: Map<String, Value>,
    /// What the idempotency keys of its writes begin with, so that it can be made again.
    pub(crate) key: Option<String>,
}

/// What a name leads to.
pub(crate) enum Target {
    /// An action of the app.
    Declared(Arc<Action>),
    /// What every object offers (spec/automation.md §1, "Built-in actions").
    BuiltIn(String),
}

/// Finds the action that a call names.
///
/// # Errors
/// NOT_FOUND; VALIDATION_ERROR `AMBIGUOUS_ACTION` for a name that several objects have.
pub(crate) fn target(catalog: &Catalog, object: &str, name: &str) -> Result<Target> {
    let missing = || {
        Error::not_found("ACTION_NOT_FOUND", format!("There is no action `{name}`"))
            .with("action", name)
    };
    if object.is_empty() {
        return match catalog.actions.named(name) {
            [] => Err(missing()),
            [one] => Ok(Target::Declared(Arc::clone(one))),
            several => {
                let objects = several.iter().map(|action| action.object.as_deref());
                let mut objects: Vec<&str> =
                    objects.map(|object| object.unwrap_or(GLOBAL)).collect();
                objects.sort_unstable();
                let message = format!("Several objects have an action `{name}`; name one of them");
                Err(Error::validation("AMBIGUOUS_ACTION", message).with("objects", objects))
            }
        };
    }
    if object != GLOBAL && !catalog.objects.contains(object) {
        return Err(missing());
    }
    let of = (object != GLOBAL).then_some(object);
    match catalog.action(of, name) {
        Some(action) => Ok(Target::Declared(Arc::clone(action))),
        None if of.is_some() && BUILT_IN.contains(&name) => Ok(Target::BuiltIn(name.to_owned())),
        None => Err(missing()),
    }
}

const BUILT_IN: [&str; 6] = ["create", "update", "delete", "restore", "clone", "share"];
/// What a copy does not take over.
const NOT_COPIED: [&str; 8] = [
    "id",
    "version",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "deleted_at",
    "owner_id",
];

impl App {
    /// Invokes an action as the caller of `ctx` and answers its result as REST shows it.
    ///
    /// # Errors
    /// In their order: NOT_FOUND, PERMISSION_DENIED, VALIDATION_ERROR, then those of what it does.
    pub(crate) async fn invoke(
        self: &Arc<Self>,
        ctx: &Ctx,
        invocation: Invocation,
    ) -> Result<Value> {
        let catalog = self.catalog.current()?;
        let action = match target(&catalog, &invocation.object, &invocation.name)? {
            Target::Declared(action) => action,
            Target::BuiltIn(name) => return self.built_in(ctx, &name, invocation).await,
        };
        let identity = ctx.identity()?;
        for key in &action.required_permissions {
            if !identity.has_permission(key) {
                let error = Error::denied(format!("Missing {key}"));
                return Err(error.with("permission", key.as_str()));
            }
        }
        let mut body = Body::read(invocation.body, Some(&action), &invocation.record_id)?;
        if let Some(params) = &action.params {
            param::check(params, &mut body.input)?;
        }
        let ctx = Ctx {
            deadline: ctx.deadline.min(Instant::now() + action.timeout),
            ..ctx.clone()
        };
        let key = invocation.key.as_deref();
        let Some(ids) = body.record_ids.take() else {
            let record_id = body.record_id.as_deref();
            return self
                .invoke_on(&ctx, &action, record_id, body.input, key)
                .await;
        };
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            let key = key.map(|key| format!("{key}:{id}"));
            let (input, key) = (body.input.clone(), key.as_deref());
            let outcome = self.invoke_on(&ctx, &action, Some(&id), input, key).await;
            results.push(match outcome {
                Ok(result) => json!({"recordId": id, "success": true, "result": result}),
                Err(error) => {
                    let envelope = error.envelope();
                    json!({"recordId": id, "success": false, "error": envelope["error"]})
                }
            });
        }
        Ok(json!({"results": results}))
    }

    /// Invokes an action on one record, or on none.
    async fn invoke_on(
        self: &Arc<Self>,
        ctx: &Ctx,
        action: &Arc<Action>,
        record_id: Option<&str>,
        input: Map<String, Value>,
        key: Option<&str>,
    ) -> Result<Value> {
        let record = match (&action.object, record_id) {
            (Some(object), Some(id)) => Some(self.records.get(ctx, object, id).await?),
            (None, _) | (_, None) => None,
        };
        let identity = ctx.identity()?;
        let (user, org) = (identity.shown_to_apps(), organization_of(identity));
        let input = Value::Object(input);
        let scope = || {
            let scope = Scope::new(ctx.now).user(&user).org(&org).input(&input);
            match &record {
                Some(record) => scope.record(record),
                None => scope,
            }
        };
        let passes = match &action.guard {
            None => true,
            Some(Guard::Condition(program)) => program.holds(&scope()).unwrap_or(false),
            Some(Guard::Broken) => false,
        };
        if !passes {
            let message = format!("`{}` is not open here", action.name);
            return Err(Error::denied(message).with("reason", "GUARD"));
        }
        match &action.run {
            Run::Script(script, limits) => {
                let context = Context {
                    user: Some(user.clone()),
                    org: Some(org.clone()),
                    session: identity.session_id.as_ref().map(|id| json!({"id": id})),
                    object: action.object.clone(),
                    record: record.clone(),
                    record_id: record_id.map(str::to_owned),
                    input,
                    ..Context::default()
                };
                let ended = self.run_script(ctx, script, *limits, &context, key).await;
                let value = ended.map_err(|error| match error.reason() {
                    Reason::ActionFailed | Reason::Timeout => {
                        error.with("action", action.name.as_str())
                    }
                    _ => error,
                })?;
                Ok(shown(value))
            }
            Run::Expression(program) => {
                let value = program.evaluate(&scope()).map_err(|error| {
                    Error::new(Reason::ActionFailed, format!("`{}`: {error}", action.name))
                        .with("reason", "ACTION_FAILED")
                        .with("action", action.name.as_str())
                })?;
                Ok(shown(Some(value)))
            }
            Run::Api(api) => {
                let value = self
                    .call_api(ctx, action, api, record_id, input, key)
                    .await?;
                Ok(shown(value))
            }
            Run::Flow(flow) => {
                self.run_flow(ctx, action, flow, record_id, input, key)
                    .await
            }
            Run::Interface(kind, target) => {
                let message = format!("`{}` is something that a user interface does", action.name);
                Err(Error::validation("NOT_INVOKABLE", message)
                    .with("type", kind.as_str())
                    .with("target", target.as_str()))
            }
            Run::Bodiless(target) => {
                let message = format!("`{}` has no body that could be run", action.name);
                Err(Error::new(Reason::NotImplemented, message)
                    .with("feature", "action.target")
                    .with("target", target.as_str()))
            }
            Run::Broken(why) => {
                let message = format!("`{}` cannot run: {why}", action.name);
                Err(Error::validation("NOT_INVOKABLE", message))
            }
        }
    }

    /// What every object offers as an action.
    async fn built_in(&self, ctx: &Ctx, name: &str, invocation: Invocation) -> Result<Value> {
        let object = invocation.object.as_str();
        let body = Body::read(invocation.body, None, &invocation.record_id)?;
        let key = invocation.key.unwrap_or_default();
        let input = Value::Object(body.input);
        let id = || {
            body.record_id.as_deref().ok_or_else(|| {
                Error::fields(vec![mesh::FieldViolation::new(
                    "recordId",
                    "required",
                    "recordId says which record",
                )])
            })
        };
        match name {
            "create" => self.records.create(ctx, object, &input, &key).await,
            "update" => self.records.update(ctx, object, id()?, &input, &key).await,
            "delete" => {
                let id = id()?;
                self.records.delete(ctx, object, id, &key).await?;
                Ok(json!({"object": object, "id": id, "success": true}))
            }
            "clone" => {
                let mut copy = self.records.get(ctx, object, id()?).await?;
                if let (Value::Object(copy), Value::Object(changes)) = (&mut copy, input) {
                    copy.retain(|field, _| !NOT_COPIED.contains(&field.as_str()));
                    copy.extend(changes);
                }
                self.records.create(ctx, object, &copy, &key).await
            }
            other => {
                let message = format!("The action `{other}` is not built yet");
                Err(Error::new(Reason::NotImplemented, message).with("feature", other))
            }
        }
    }
}

/// The result as it is answered: an object as it is, anything else under `result`.
pub(crate) fn shown(value: Option<Value>) -> Value {
    match value {
        Some(Value::Object(map)) => Value::Object(map),
        Some(value) => json!({"result": value}),
        None => json!({"success": true}),
    }
}

/// How long a call may wait for another one with the same key before it looks again.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use mesh::registry::{Item, Snapshot};

    use super::*;

    fn catalog() -> Catalog {
        let item = |item_type: &str, name: &str, value: Value| {
            let item = Item {
                name: name.to_owned(),
                package_id: "test".to_owned(),
                value,
                hash: String::new(),
            };
            (item_type.to_owned(), item)
        };
        let body = json!({"language": "expression", "source": "1"});
        let of = |object: &str| json!({"name": "archive", "objectName": object, "body": body});
        Catalog::compile(Snapshot::new(
            1,
            [
                item("object", "ticket", json!({})),
                item("object", "customer", json!({})),
                item("object", "deal", json!({})),
                item("action", "archive", of("ticket")),
                item("action", "archive", of("customer")),
                item("action", "ping", json!({"name": "ping", "body": body})),
            ],
        ))
    }

    #[test]
    fn a_name_that_several_objects_have_is_ambiguous() {
        let catalog = catalog();
        let refused = target(&catalog, "", "archive").err().unwrap();
        assert_eq!(refused.detail("reason"), Some(&json!("AMBIGUOUS_ACTION")));
        let objects = json!(["customer", "ticket"]);
        assert_eq!(refused.detail("objects"), Some(&objects));
        let Ok(Target::Declared(found)) = target(&catalog, "ticket", "archive") else {
            panic!("no action");
        };
        assert_eq!(found.object.as_deref(), Some("ticket"));
        for (object, name) in [("", "ping"), (GLOBAL, "ping")] {
            assert!(target(&catalog, object, name).is_ok(), "{object}/{name}");
        }
        for (object, name) in [("ticket", "ping"), ("deal", "archive"), (GLOBAL, "create")] {
            let refused = target(&catalog, object, name).err().unwrap();
            assert_eq!(refused.reason(), Reason::NotFound, "{object}/{name}");
        }
        assert!(matches!(
            target(&catalog, "deal", "create"),
            Ok(Target::BuiltIn(_))
        ));
    }
}
