//! Invoking actions (docs/reference/automation.md, "Actions"). An action runs as its caller: what it reads and writes is
//! checked by data-svc as if the caller did it by hand.

mod api;
mod body;
mod built_in;

use std::{sync::Arc, time::Instant};

use expr::Scope;
use mesh::{Ctx, Error, FieldViolation, Result, error::Reason};
use metadata::check_params;
use script::Context;
use serde_json::{Map, Value, json};

use crate::{
    app::{App, FlowCall},
    catalog::{Action, Catalog, Code, GLOBAL, Guard, Run},
    scripts::{organization_of, run_script},
};

pub(crate) use body::parse;

use body::Body;
use built_in::BuiltIn;

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
    /// What every object offers (docs/reference/automation.md, "Actions", "Built-in actions").
    BuiltIn(BuiltIn),
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
        return match catalog.actions_named(name) {
            [] => Err(missing()),
            [one] => Ok(Target::Declared(Arc::clone(one))),
            several => {
                let objects = several.iter().map(|action| action.object());
                let mut objects: Vec<&str> =
                    objects.map(|object| object.unwrap_or(GLOBAL)).collect();
                objects.sort_unstable();
                let message = format!("Several objects have an action `{name}`; name one of them");
                Err(Error::validation("AMBIGUOUS_ACTION", message).with("objects", objects))
            }
        };
    }
    if object != GLOBAL && !catalog.has_object(object) {
        return Err(missing());
    }
    let of = (object != GLOBAL).then_some(object);
    match (catalog.action(of, name), of.and(BuiltIn::parse(name))) {
        (Some(action), _) => Ok(Target::Declared(Arc::clone(action))),
        (None, Some(built_in)) => Ok(Target::BuiltIn(built_in)),
        (None, None) => Err(missing()),
    }
}

/// Refuses a caller who lacks what an action asks for, also to be told again what it answered before. An
/// action that is gone asks for nothing.
///
/// # Errors
/// PERMISSION_DENIED.
pub(crate) fn check_permissions(app: &App, ctx: &Ctx, object: &str, name: &str) -> Result<()> {
    let catalog = app.catalog.current()?;
    match target(&catalog, object, name) {
        Ok(Target::Declared(action)) => permitted(ctx, &action),
        Ok(Target::BuiltIn(_)) | Err(_) => Ok(()),
    }
}

fn permitted(ctx: &Ctx, action: &Action) -> Result<()> {
    let identity = ctx.identity()?;
    for key in &action.spec.required_permissions {
        if !identity.has_permission(key) {
            let error = Error::denied(format!("Missing {key}"));
            return Err(error.with("permission", key.as_str()));
        }
    }
    Ok(())
}

/// Invokes an action as the caller of `ctx` and answers its result as REST shows it.
///
/// # Errors
/// In their order: NOT_FOUND, PERMISSION_DENIED, VALIDATION_ERROR, then those of what it does.
pub(crate) async fn invoke(app: &Arc<App>, ctx: &Ctx, invocation: Invocation) -> Result<Value> {
    let catalog = app.catalog.current()?;
    let action = match target(&catalog, &invocation.object, &invocation.name)? {
        Target::Declared(action) => action,
        Target::BuiltIn(built_in) => {
            return built_in::invoke(&app.records, ctx, built_in, invocation).await;
        }
    };
    permitted(ctx, &action)?;
    let mut body = Body::read(invocation.body, Some(&action), &invocation.record_id)?;
    if let Some(params) = &action.params {
        let found = check_params(params, &mut body.input);
        if !found.is_empty() {
            let found = found.into_iter().map(|violation| {
                let code = violation.code.as_str();
                FieldViolation::new(&violation.param, code, violation.message)
            });
            return Err(Error::fields(found.collect()));
        }
    }
    let ctx = Ctx {
        deadline: ctx.deadline.min(Instant::now() + action.timeout),
        ..ctx.clone()
    };
    let key = invocation.key.as_deref();
    let Some(ids) = body.record_ids.take() else {
        let record_id = body.record_id.as_deref();
        return invoke_on(app, &ctx, &action, record_id, body.input, key).await;
    };
    let mut results = Vec::with_capacity(ids.len());
    for id in ids {
        let key = key.map(|key| format!("{key}:{id}"));
        let (input, key) = (body.input.clone(), key.as_deref());
        let outcome = invoke_on(app, &ctx, &action, Some(&id), input, key).await;
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
    app: &Arc<App>,
    ctx: &Ctx,
    action: &Action,
    record_id: Option<&str>,
    input: Map<String, Value>,
    key: Option<&str>,
) -> Result<Value> {
    let record = match (action.object(), record_id) {
        (Some(object), Some(id)) => Some(app.records.get(ctx, object, id).await?.value),
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
        Guard::Open => true,
        Guard::Condition(program) => program.holds(&scope()).unwrap_or(false),
        Guard::Broken => false,
    };
    if !passes {
        let message = format!("`{}` is not open here", action.name());
        return Err(Error::denied(message).with("reason", "GUARD"));
    }
    match &action.run {
        Run::Code(Code::Script(script, limits)) => {
            let context = Context {
                user: Some(user.clone()),
                org: Some(org.clone()),
                session: identity.session_id.as_ref().map(|id| json!({"id": id})),
                object: action.spec.object.clone(),
                record: record.clone(),
                record_id: record_id.map(str::to_owned),
                input,
                ..Context::default()
            };
            let ended = run_script(app, ctx, script, *limits, &context, key).await;
            let value = ended.map_err(|error| match error.reason() {
                Reason::ActionFailed | Reason::Timeout => error.with("action", action.name()),
                _ => error,
            })?;
            Ok(shown(value))
        }
        Run::Code(Code::Expression(program)) => {
            let value = program.evaluate(&scope()).map_err(|error| {
                let message = format!("`{}`: {error}", action.name());
                Error::new(Reason::ActionFailed, message)
                    .with("reason", "ACTION_FAILED")
                    .with("action", action.name())
            })?;
            Ok(shown(Some(value)))
        }
        Run::Api(target) => {
            let input = object_of(input);
            let value = api::call(app, ctx, action, target, record_id, input, key).await?;
            Ok(shown(value))
        }
        Run::Flow(flow) => {
            let input = object_of(input);
            let call = FlowCall {
                action,
                flow,
                record_id,
                input,
                key,
            };
            (app.run_flow)(app, ctx, call).await
        }
        Run::Interface(target) => {
            let message = format!(
                "`{}` is something that a user interface does",
                action.name()
            );
            Err(Error::validation("NOT_INVOKABLE", message)
                .with("type", action.spec.kind.as_str())
                .with("target", target.as_str()))
        }
        Run::Bodiless(target) => {
            let message = format!("`{}` has no body that could be run", action.name());
            Err(Error::new(Reason::NotImplemented, message)
                .with("feature", "action.target")
                .with("target", target.as_str()))
        }
        Run::Broken(why) => {
            let message = format!("`{}` cannot run: {why}", action.name());
            Err(Error::validation("NOT_INVOKABLE", message))
        }
    }
}

fn object_of(input: Value) -> Map<String, Value> {
    match input {
        Value::Object(input) => input,
        _ => Map::new(),
    }
}

/// The result as it is answered: an object as it is, anything else under `result`.
fn shown(value: Option<Value>) -> Value {
    match value {
        Some(Value::Object(map)) => Value::Object(map),
        Some(value) => json!({"result": value}),
        None => json!({"success": true}),
    }
}

#[cfg(test)]
mod tests {
    use data_client::registry::Snapshot;
    use metadata::{Item, ItemType};

    use super::*;

    fn catalog() -> Catalog {
        let item = |item_type: ItemType, name: &str, value: Value| {
            Arc::new(Item::new(item_type, name, value).0)
        };
        let body = json!({"language": "expression", "source": "1"});
        let of = |object: &str| json!({"name": "archive", "objectName": object, "body": body});
        let snapshot = Snapshot::new(
            1,
            [
                item(ItemType::Object, "ticket", json!({})),
                item(ItemType::Object, "customer", json!({})),
                item(ItemType::Object, "deal", json!({})),
                item(ItemType::Action, "archive", of("ticket")),
                item(ItemType::Action, "archive", of("customer")),
                item(
                    ItemType::Action,
                    "ping",
                    json!({"name": "ping", "body": body}),
                ),
            ],
        );
        Catalog::compile(&snapshot, None)
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
        assert_eq!(found.object(), Some("ticket"));
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
