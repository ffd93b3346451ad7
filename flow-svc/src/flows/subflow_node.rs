//! Nodes that run another flow within the run.

use std::sync::Arc;

use metadata::automation::flow::{RunAs, Subflow};
use serde_json::{Map, Value};

use super::{
    actor::Actor,
    fault::{Fault, Stop},
    interpreter::{Done, Frame, Step},
    start::inputs,
    state::{Env, State},
};

/// Subflows in subflows at most.
const LEVEL_MAX: i64 = 10;

/// Runs the flow from its start to its end.
pub(super) async fn run(step: &Step<'_>, of: &Subflow, state: &State) -> Result<Done, Stop> {
    let name = of.flow.as_deref().unwrap_or_default();
    if step.frame.level >= LEVEL_MAX {
        let message = format!("Subflows lie more than {LEVEL_MAX} deep in subflows");
        return Err(Fault::execution(message).into());
    }
    let app = &step.run.app;
    let catalog = step
        .frame
        .actor
        .act(|_| async { app.catalog.current() })
        .await?;
    let Some(flow) = catalog.flow(name).map(Arc::clone) else {
        return Err(Fault::execution(format!("There is no flow `{name}`")).into());
    };
    if let Some(why) = &flow.spec.disabled {
        let message = format!("The flow `{name}` is disabled: {why}");
        return Err(Fault::execution(message).into());
    }
    let given = match &of.input {
        Some(given) => step.resolve(state, given)?,
        None => Value::Null,
    };
    let given = match given {
        Value::Object(given) => given,
        _ => Map::new(),
    };
    let (input, _) = inputs(&flow, given).map_err(|error| Fault::refused(&error))?;
    let actor = actor_of(step, flow.spec.run_as)?;
    let started_by = step.run.run.user_id.as_deref();
    let (user, organization) = actor.shown(started_by).await?;
    step.begin(None).await?;
    let inside = Frame {
        flow: Arc::clone(&flow),
        actor,
        env: Env { user, organization },
        level: step.frame.level + 1,
        is_outermost: true,
        iteration: None,
    };
    let mut inner = State::new(&flow, input, Map::new());
    let seed = step.visit.inside("subflow");
    let graph = &flow.spec.graph;
    step.run.graph(&inside, graph, &seed, &mut inner).await?;
    let output = inner.output(&flow);
    Ok(step.gives(output.clone(), output))
}

/// As whom a subflow acts.
fn actor_of(step: &Step<'_>, run_as: RunAs) -> Result<Actor, Fault> {
    let (app, run) = (&step.run.app, &step.run.run);
    match (run_as, &step.run.grant) {
        (RunAs::System, _) => Ok(Actor::system(app, &run.correlation_id)),
        (RunAs::User, _) if step.frame.actor.is_user() => Ok(step.frame.actor.clone()),
        (RunAs::User, Some(grant)) => {
            let grant = grant.clone();
            Ok(Actor::user(app, grant, &run.id, &run.correlation_id))
        }
        (RunAs::User, None) => Err(Fault::execution(
            "The flow runs as a user, and no user began this run",
        )),
    }
}
