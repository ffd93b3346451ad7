//! Nodes that run what an app wrote: scripts and actions.

use std::time::Duration;

use mesh::clock;
use script::Context;
use serde_json::{Map, Value};

use super::{
    fault::{Fault, Stop},
    interpreter::{Done, Interpreter, Place},
    journal::Visit,
    node::output_variable,
    state::State,
};
use crate::{
    app::actions::Invocation,
    domain::action::{Run as Body, body_run},
};

/// A script or an action at most.
const LIMIT: Duration = Duration::from_secs(30);

impl Interpreter {
    /// Runs a script body.
    pub(super) async fn script(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &State,
    ) -> Result<Done, Stop> {
        let config = &visit.node.config;
        let text = |key: &str| config.get(key).and_then(Value::as_str);
        let body = config.get("body").or_else(|| config.get("script"));
        let Some(body) = body.or_else(|| config.get("code")) else {
            let fault = match (text("actionType"), text("function")) {
                (Some(kind), _) => Fault::no_executor(format!("Nothing here runs `{kind}`")),
                (None, Some(name)) => {
                    Fault::execution(format!("The function `{name}` is not registered"))
                }
                (None, None) => Fault::execution("The step has no script"),
            };
            return Err(fault.into());
        };
        let now = clock::from_unix_ms(began_ms);
        let input = match given(config) {
            Some(given) => state.resolve(&place.env, now, given)?,
            None => state.vars().clone(),
        };
        let value = match body_run(&visit.node.id, body) {
            Body::Expression(program) => {
                let scope = state.scope(&place.env, now).input(&input);
                let value = program.evaluate(&scope);
                Some(value.map_err(|error| Fault::execution(error.to_string()))?)
            }
            Body::Script(script, limits) => {
                self.journal.begin(visit, None, began_ms).await?;
                let known = |value: &Value| Some(value.clone()).filter(|value| !value.is_null());
                let context = Context {
                    user: known(&place.env.user),
                    org: known(&place.env.organization),
                    object: self.run.object.clone(),
                    record: known(state.record()),
                    record_id: self.run.record_id.clone(),
                    previous: known(state.previous()),
                    input,
                    ..Context::default()
                };
                let (app, script, context) = (&self.app, &*script, &context);
                let key = self.attempt_key(visit);
                let key = Some(key.as_str());
                let work = move |ctx| async move {
                    app.run_script(&ctx, script, limits, context, key).await
                };
                place.who.act_once(LIMIT, work).await?
            }
            Body::Broken(why) => return Err(Fault::execution(why).into()),
            _ => return Err(Fault::execution("The step has no script").into()),
        };
        let value = value.unwrap_or_default();
        Ok(Done {
            set: output_variable(config, &value),
            output: value,
            ..Done::default()
        })
    }

    /// Invokes an action.
    pub(super) async fn action(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &State,
    ) -> Result<Done, Stop> {
        let config = &visit.node.config;
        let now = clock::from_unix_ms(began_ms);
        let text = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| config.get(*key)?.as_str());
            found.map(str::to_owned)
        };
        let Some(name) = text(&["action", "actionName"]) else {
            return Err(Fault::execution("The step names no action").into());
        };
        let input = match given(config) {
            Some(given) => state.resolve(&place.env, now, given)?,
            None => Value::Object(Map::new()),
        };
        let record = config.get("recordId").or_else(|| config.get("record"));
        let record = match record {
            Some(record) => state.resolve(&place.env, now, record)?,
            None => Value::Null,
        };
        let record_id = record.get("id").unwrap_or(&record);
        let record_id = record_id.as_str().unwrap_or_default().to_owned();
        let body = match input {
            Value::Object(input) => input,
            _ => Map::new(),
        };
        self.journal.begin(visit, None, began_ms).await?;
        let object = text(&["objectName", "object"]).unwrap_or_default();
        let key = self.attempt_key(visit);
        let app = &self.app;
        let work = |ctx| {
            let invocation = Invocation {
                object: object.clone(),
                name: name.clone(),
                record_id: record_id.clone(),
                body: body.clone(),
                key: Some(key.clone()),
            };
            async move { app.invoke(&ctx, invocation).await }
        };
        let value = place.who.act_once(LIMIT, work).await?;
        Ok(Done {
            set: output_variable(config, &value),
            output: value,
            ..Done::default()
        })
    }

    /// What the keys of an app's own writes begin with. A script need not write the same when it is
    /// tried again, so each attempt has its own.
    fn attempt_key(&self, visit: &Visit<'_>) -> String {
        format!("{}:{}", self.journal.key(visit), visit.retry)
    }
}

/// What a step hands in.
fn given(config: &Map<String, Value>) -> Option<&Value> {
    let names = ["inputs", "input", "params"];
    names.iter().find_map(|name| config.get(*name))
}
