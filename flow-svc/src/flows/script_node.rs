//! Nodes that run what an app wrote: scripts and actions.

use std::time::Duration;

use metadata::automation::flow::{ActionStep, ScriptStep};
use script::Context;
use serde_json::{Map, Value};

use super::{
    fault::{Fault, Stop},
    interpreter::{Done, Step},
    state::State,
};
use crate::{
    actions::{self, Invocation},
    catalog::{Code, compile},
    scripts::run_script,
};

/// A script or an action at most.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a script body.
pub(super) async fn script(step: &Step<'_>, of: &ScriptStep, state: &State) -> Result<Done, Stop> {
    let Some(body) = &of.body else {
        let fault = match (&of.action_type, &of.function) {
            (Some(kind), _) => Fault::no_executor(format!("Nothing here runs `{kind}`")),
            (None, Some(name)) => {
                Fault::execution(format!("The function `{name}` is not registered"))
            }
            (None, None) => Fault::execution("The step has no script"),
        };
        return Err(fault.into());
    };
    let input = match &of.input {
        Some(given) => step.resolve(state, given)?,
        None => state.vars().clone(),
    };
    let env = &step.frame.env;
    let value = match compile(&step.visit.node.id, body).map_err(Fault::execution)? {
        Code::Expression(program) => {
            let scope = state.scope(env, step.now()).input(&input);
            let value = program.evaluate(&scope);
            Some(value.map_err(|error| Fault::execution(error.to_string()))?)
        }
        Code::Script(script, limits) => {
            step.begin(None).await?;
            let known = |value: &Value| Some(value.clone()).filter(|value| !value.is_null());
            let run = &step.run.run;
            let context = Context {
                user: known(&env.user),
                org: known(&env.organization),
                object: run.object.clone(),
                record: known(state.record()),
                record_id: run.record_id.clone(),
                previous: known(state.previous()),
                input,
                ..Context::default()
            };
            let (app, script, context) = (&step.run.app, &*script, &context);
            let key = attempt_key(step);
            let key = Some(key.as_str());
            let work =
                move |ctx| async move { run_script(app, &ctx, script, limits, context, key).await };
            step.frame.actor.act_once(LIMIT, work).await?
        }
    };
    let value = value.unwrap_or_default();
    Ok(step.gives(value.clone(), value))
}

/// Invokes an action.
pub(super) async fn action(step: &Step<'_>, of: &ActionStep, state: &State) -> Result<Done, Stop> {
    let Some(name) = of.action.as_deref() else {
        return Err(Fault::execution("The step names no action").into());
    };
    let body = match &of.input {
        Some(given) => step.resolve(state, given)?,
        None => Value::Null,
    };
    let body = match body {
        Value::Object(input) => input,
        _ => Map::new(),
    };
    let record = match &of.record {
        Some(record) => step.resolve(state, record)?,
        None => Value::Null,
    };
    let record_id = record.get("id").unwrap_or(&record);
    let record_id = record_id.as_str().unwrap_or_default();
    step.begin(None).await?;
    let object = of.object.as_deref().unwrap_or_default();
    let key = attempt_key(step);
    let app = &step.run.app;
    let work = |ctx| {
        let invocation = Invocation {
            object: object.to_owned(),
            name: name.to_owned(),
            record_id: record_id.to_owned(),
            body: body.clone(),
            key: Some(key.clone()),
        };
        async move { actions::invoke(app, &ctx, invocation).await }
    };
    let value = step.frame.actor.act_once(LIMIT, work).await?;
    Ok(step.gives(value.clone(), value))
}

/// What the keys of an app's own writes begin with. A script need not write the same when it is
/// tried again, so each attempt has its own.
fn attempt_key(step: &Step<'_>) -> String {
    format!("{}:{}", step.run.journal.key(step.visit), step.visit.retry)
}
