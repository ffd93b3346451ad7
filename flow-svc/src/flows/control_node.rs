//! Nodes that lead the run: ends, decisions, variables, loops, branches.

use futures::future::join_all;
use metadata::automation::flow::{Branch, Graph, Loop};
use serde_json::{Map, Value, json};

use super::{
    branch::Picked,
    fault::{Fault, Stop},
    interpreter::{Done, Frame, Step},
    state::State,
};

/// An end node may say what comes out.
pub(super) fn end(
    step: &Step<'_>,
    outputs: Option<&Map<String, Value>>,
    state: &State,
) -> Result<Done, Fault> {
    let Some(outputs) = outputs else {
        return Ok(Done::default());
    };
    Ok(Done {
        output: step.resolve(state, &Value::Object(outputs.clone()))?,
        ..Done::default()
    })
}

/// The first condition that holds picks the label.
pub(super) fn decide(step: &Step<'_>, branches: &[Branch], state: &State) -> Result<Done, Fault> {
    let scope = state.scope(&step.frame.env, step.now());
    for branch in branches {
        let holds = step.frame.flow.holds(&branch.condition, &scope);
        if holds.map_err(Fault::execution)? {
            return Ok(Done {
                output: json!({"branch": branch.label}),
                picked: Some(Picked::Label(branch.label.clone())),
                ..Done::default()
            });
        }
    }
    if branches.is_empty() {
        return Ok(Done::default());
    }
    Ok(Done {
        output: json!({"branch": "default"}),
        picked: Some(Picked::Default),
        ..Done::default()
    })
}

/// Sets variables.
pub(super) fn assign(
    step: &Step<'_>,
    assignments: &[(String, Value)],
    state: &State,
) -> Result<Done, Fault> {
    let mut set = Vec::with_capacity(assignments.len());
    for (name, value) in assignments {
        set.push((name.clone(), step.resolve(state, value)?));
    }
    Ok(Done {
        output: Value::Object(set.iter().cloned().collect()),
        set,
        ..Done::default()
    })
}

/// The body once for each item.
pub(super) async fn repeat(step: &Step<'_>, of: &Loop, state: &mut State) -> Result<Done, Stop> {
    let items = collection(step, of.collection.as_ref(), state)?;
    if u64::try_from(items.len()).unwrap_or(u64::MAX) > of.iterations_max {
        let message = format!("The loop has more than {} items", of.iterations_max);
        return Err(Fault::execution(message).into());
    }
    step.begin(None).await?;
    let empty = Graph::default();
    let body = of.body.as_ref().unwrap_or(&empty);
    let count = items.len();
    for (number, item) in items.into_iter().enumerate() {
        let iteration = i64::try_from(number).unwrap_or(i64::MAX);
        state.set(&of.item, item);
        if let Some(name) = &of.index {
            state.set(name, json!(iteration));
        }
        let inside = Frame {
            is_outermost: false,
            iteration: Some(iteration),
            ..step.frame.clone()
        };
        let seed = step.visit.inside(&format!("item/{number}"));
        step.run.graph(&inside, body, &seed, state).await?;
    }
    Ok(Done {
        output: json!({"count": count}),
        ..Done::default()
    })
}

/// The items of a loop: a list, a placeholder for one, or the name of a variable.
fn collection(
    step: &Step<'_>,
    written: Option<&Value>,
    state: &State,
) -> Result<Vec<Value>, Fault> {
    let written = match written {
        Some(Value::String(name)) if !name.contains('{') => Value::String(format!("{{{name}}}")),
        other => other.cloned().unwrap_or_default(),
    };
    match step.resolve(state, &written)? {
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

/// All branches at the same time; any failure fails.
pub(super) async fn fan_out(
    step: &Step<'_>,
    branches: &[Graph],
    state: &mut State,
) -> Result<Done, Stop> {
    step.begin(None).await?;
    let before = state.clone();
    let inside = Frame {
        is_outermost: false,
        ..step.frame.clone()
    };
    let inside = &inside;
    let branches = branches.iter().enumerate().map(|(number, body)| {
        let mut state = before.clone();
        let seed = step.visit.inside(&format!("branch/{number}"));
        async move {
            step.run.graph(inside, body, &seed, &mut state).await?;
            Ok::<_, Stop>(state)
        }
    });
    let ended = join_all(branches).await;
    let mut states = Vec::new();
    let (mut failed, mut parked) = (None, None::<i64>);
    for branch in ended {
        match branch {
            Ok(state) => states.push(state),
            Err(Stop::Failed(fault)) => {
                failed.get_or_insert(Stop::Failed(fault));
            }
            // The others went as far as they could meanwhile.
            Err(Stop::Parked(due_ms)) => {
                parked = Some(parked.map_or(due_ms, |first| first.min(due_ms)));
            }
            // Nothing can be said of the step then.
            Err(other) => return Err(other),
        }
    }
    if let Some(due_ms) = parked {
        return Err(Stop::Parked(due_ms));
    }
    for branch in states {
        state.take_over(&before, branch);
    }
    failed.map_or_else(|| Ok(Done::default()), Err)
}
