//! What each kind of node does.

use std::sync::Arc;

use futures::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use mesh::{clock, delegation::Beginning};
use serde_json::{Map, Value, json};

use super::{
    branch::Picked,
    fault::{Fault, Stop},
    interpreter::{Done, Interpreter, Place},
    journal::Visit,
    start::inputs,
    state::State,
    who::Who,
};
use crate::domain::flow::{Graph, Kind, RunAs};

/// Subflows in subflows at most.
const LEVEL_MAX: i64 = 10;
/// Items that a loop goes through, unless it says otherwise.
const ITERATIONS: u64 = 1000;

impl Interpreter {
    /// Runs a node.
    pub(super) fn node<'a>(
        &'a self,
        place: &'a Place,
        visit: &'a Visit<'a>,
        began_ms: i64,
        state: &'a mut State,
    ) -> BoxFuture<'a, Result<Done, Stop>> {
        async move {
            let node = visit.node;
            match node.kind {
                Kind::Start | Kind::Join => Ok(Done::default()),
                Kind::End => Ok(self.end(place, visit, began_ms, state)?),
                Kind::Decision => Ok(decide(place, visit, began_ms, state)?),
                Kind::Assignment => Ok(assign(place, visit, began_ms, state)?),
                Kind::Get => self.get_records(place, visit, began_ms, state).await,
                Kind::Create => self.create_record(place, visit, began_ms, state).await,
                Kind::Update => self.update_records(place, visit, began_ms, state).await,
                Kind::Delete => self.delete_records(place, visit, began_ms, state).await,
                Kind::Loop => self.repeat(place, visit, began_ms, state).await,
                Kind::Parallel => self.fan_out(place, visit, began_ms, state).await,
                Kind::Subflow => self.subflow(place, visit, began_ms, state).await,
                Kind::Script => self.script(place, visit, began_ms, state).await,
                Kind::Action => self.action(place, visit, began_ms, state).await,
                Kind::Unknown => Err(Fault::no_executor(format!(
                    "Nothing here runs a step of type `{}`",
                    node.node_type
                ))
                .into()),
            }
        }
        .boxed()
    }

    /// An end node may say what comes out.
    fn end(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &State,
    ) -> Result<Done, Fault> {
        let config = &visit.node.config;
        let said = ["outputs", "output", "outputMapping"];
        let said = said.iter().find_map(|key| config.get(*key));
        let Some(said @ Value::Object(_)) = said else {
            return Ok(Done::default());
        };
        let now = clock::from_unix_ms(began_ms);
        Ok(Done {
            output: state.resolve(&place.env, now, said)?,
            ..Done::default()
        })
    }

    /// The body once for each item.
    async fn repeat(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &mut State,
    ) -> Result<Done, Stop> {
        let config = &visit.node.config;
        let text = |key: &str| config.get(key).and_then(Value::as_str);
        let items = collection(place, config.get("collection"), began_ms, state)?;
        let most = config.get("maxIterations").and_then(Value::as_u64);
        let most = most.unwrap_or(ITERATIONS).min(10 * ITERATIONS);
        if u64::try_from(items.len()).unwrap_or(u64::MAX) > most {
            let message = format!("The loop has more than {most} items");
            return Err(Fault::execution(message).into());
        }
        self.journal.begin(visit, None, began_ms).await?;
        let item_name = text("iteratorVariable").or_else(|| text("as"));
        let item_name = item_name.unwrap_or("item");
        let index_name = text("indexVariable");
        let empty = Graph::default();
        let body = visit.node.bodies.first().unwrap_or(&empty);
        let count = items.len();
        for (number, item) in items.into_iter().enumerate() {
            let iteration = i64::try_from(number).unwrap_or(i64::MAX);
            state.set(item_name, item);
            if let Some(name) = index_name {
                state.set(name, json!(iteration));
            }
            let inside = Place {
                is_outermost: false,
                iteration: Some(iteration),
                ..place.clone()
            };
            let seed = visit.inside(&format!("item/{number}"));
            self.graph(&inside, body, &seed, state).await?;
        }
        Ok(Done {
            output: json!({"count": count}),
            ..Done::default()
        })
    }

    /// All branches at the same time; any failure fails.
    async fn fan_out(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &mut State,
    ) -> Result<Done, Stop> {
        self.journal.begin(visit, None, began_ms).await?;
        let before = state.clone();
        let inside = Place {
            is_outermost: false,
            ..place.clone()
        };
        let inside = &inside;
        let branches = visit.node.bodies.iter().enumerate();
        let branches = branches.map(|(number, body)| {
            let mut state = before.clone();
            let seed = visit.inside(&format!("branch/{number}"));
            async move {
                self.graph(inside, body, &seed, &mut state).await?;
                Ok::<_, Stop>(state)
            }
        });
        let ended = join_all(branches).await;
        let mut states = Vec::new();
        let mut failed = None;
        for branch in ended {
            match branch {
                Ok(state) => states.push(state),
                Err(Stop::Failed(fault)) => {
                    failed.get_or_insert(Stop::Failed(fault));
                }
                // Nothing can be said of the step then.
                Err(other) => return Err(other),
            }
        }
        for branch in states {
            state.take_over(&before, branch);
        }
        failed.map_or_else(|| Ok(Done::default()), Err)
    }

    /// Another flow, within this run.
    async fn subflow(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &State,
    ) -> Result<Done, Stop> {
        let config = &visit.node.config;
        let name = config.get("flowName").or_else(|| config.get("flow"));
        let name = name.and_then(Value::as_str).unwrap_or_default();
        if place.level >= LEVEL_MAX {
            let message = format!("Subflows lie more than {LEVEL_MAX} deep in subflows");
            return Err(Fault::execution(message).into());
        }
        let app = &self.app;
        let catalog = place.who.act(|_| async { app.catalog.current() }).await?;
        let Some(flow) = catalog.flows.get(name).map(Arc::clone) else {
            return Err(Fault::execution(format!("There is no flow `{name}`")).into());
        };
        if let Some(why) = &flow.disabled {
            let message = format!("The flow `{name}` is disabled: {why}");
            return Err(Fault::execution(message).into());
        }
        let now = clock::from_unix_ms(began_ms);
        let given = ["input", "inputs", "params"];
        let given = given.iter().find_map(|key| config.get(*key));
        let given = match given {
            Some(given) => state.resolve(&place.env, now, given)?,
            None => Value::Null,
        };
        let given = match given {
            Value::Object(given) => given,
            _ => Map::new(),
        };
        let (input, _) = inputs(&flow, given).map_err(|error| Fault::refused(&error))?;
        let who = self.who_of(place, flow.run_as)?;
        let (user, organization) = who.shown(self.run.user_id.as_deref()).await?;
        self.journal.begin(visit, None, began_ms).await?;
        let inside = Place {
            flow: Arc::clone(&flow),
            who,
            env: super::state::Env { user, organization },
            level: place.level + 1,
            is_outermost: true,
            iteration: None,
        };
        let mut inner = State::new(&flow, Value::Object(input), Value::Null);
        let seed = visit.inside("subflow");
        self.graph(&inside, &flow.graph, &seed, &mut inner).await?;
        let output = inner.output(&flow);
        Ok(Done {
            set: output_variable(config, &output),
            output,
            ..Done::default()
        })
    }

    /// As whom a subflow acts.
    fn who_of(&self, place: &Place, run_as: RunAs) -> Result<Who, Fault> {
        let beginning = self.run.beginning.as_deref();
        let beginning = beginning.and_then(|text| serde_json::from_str::<Beginning>(text).ok());
        match (run_as, beginning) {
            (RunAs::System, _) => Ok(Who::system(&self.app, &self.run.trail)),
            (RunAs::User, _) if place.who.is_user() => Ok(place.who.clone()),
            (RunAs::User, Some(beginning)) => Ok(Who::user(
                &self.app,
                beginning,
                &self.run.id,
                &self.run.trail,
            )),
            (RunAs::User, None) => Err(Fault::execution(
                "The flow runs as a user, and no user began this run",
            )),
        }
    }
}

/// The first condition that holds picks the label.
fn decide(place: &Place, visit: &Visit<'_>, began_ms: i64, state: &State) -> Result<Done, Fault> {
    let branches = &visit.node.branches;
    let scope = state.scope(&place.env, clock::from_unix_ms(began_ms));
    for (label, condition) in branches {
        if condition.holds(&scope).map_err(Fault::execution)? {
            return Ok(Done {
                output: json!({"branch": label}),
                picked: Some(Picked::Label(label.clone())),
                ..Done::default()
            });
        }
    }
    let picked = (!branches.is_empty()).then_some(Picked::Default);
    let output = match &picked {
        Some(_) => json!({"branch": "default"}),
        None => Value::Null,
    };
    Ok(Done {
        output,
        picked,
        ..Done::default()
    })
}

/// Sets variables: `{assignments: {…}}`, `{assignments: [{variable, value}]}` or `{…}` itself.
fn assign(place: &Place, visit: &Visit<'_>, began_ms: i64, state: &State) -> Result<Done, Fault> {
    let config = &visit.node.config;
    let now = clock::from_unix_ms(began_ms);
    let mut set = Vec::new();
    match config.get("assignments") {
        Some(Value::Array(list)) => {
            for one in list {
                let names = ["variable", "name", "field", "variableName"];
                let name = names.iter().find_map(|key| one.get(*key)?.as_str());
                if let Some(name) = name {
                    let value = one.get("value").cloned().unwrap_or_default();
                    set.push((bare(name), state.resolve(&place.env, now, &value)?));
                }
            }
        }
        assignments => {
            let assignments = assignments.and_then(Value::as_object).unwrap_or(config);
            for (name, value) in assignments {
                set.push((bare(name), state.resolve(&place.env, now, value)?));
            }
        }
    }
    Ok(Done {
        output: Value::Object(set.iter().cloned().collect()),
        set,
        ..Done::default()
    })
}

/// `{name}` as `name`.
fn bare(name: &str) -> String {
    name.trim_matches(['{', '}']).to_owned()
}

/// The items of a loop: a list, a placeholder for one, or the name of a variable.
fn collection(
    place: &Place,
    written: Option<&Value>,
    began_ms: i64,
    state: &State,
) -> Result<Vec<Value>, Fault> {
    let written = match written {
        Some(Value::String(name)) if !name.contains('{') => Value::String(format!("{{{name}}}")),
        other => other.cloned().unwrap_or_default(),
    };
    let now = clock::from_unix_ms(began_ms);
    match state.resolve(&place.env, now, &written)? {
        Value::Array(items) => Ok(items),
        Value::Null => Ok(Vec::new()),
        // What a query for several records gave, by the name of its step.
        Value::Object(mut found) => match found.get_mut("records").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(Fault::execution("The collection of the loop is no list")),
        },
        _ => Err(Fault::execution("The collection of the loop is no list")),
    }
}

/// The variable that a node's output goes to.
pub(super) fn output_variable(config: &Map<String, Value>, value: &Value) -> Vec<(String, Value)> {
    let name = config.get("outputVariable").and_then(Value::as_str);
    name.map(|name| (bare(name), value.clone()))
        .into_iter()
        .collect()
}
