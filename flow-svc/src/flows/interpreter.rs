//! Goes through a flow: from node to node, each step journaled.
//!
//! Branches that fan out are gone through one after the other, in the order of their edges, so that
//! a run that is taken up again comes to the same steps with the same variables.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{clock, delegation::DelegationGrant};
use metadata::automation::flow::{Graph, Node, NodeConfig, OnFailure};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::timeout;

use super::{
    actor::Actor,
    branch::{self, Picked},
    fault::{Fault, Stop},
    journal::{Journal, Outcome, Visit, path},
    node,
    state::{Env, State},
};
use crate::{app::App, catalog::Flow, store::Run};

/// Steps of a run at most: an edge that leads back must not keep it going for ever.
const STEPS_MAX: u32 = 10_000;

/// One run in the hands of its driver.
pub(super) struct Interpreter {
    pub(super) app: Arc<App>,
    pub(super) run: Run,
    /// How the run began, for tokens; none where nobody began it.
    pub(super) grant: Option<DelegationGrant>,
    pub(super) journal: Journal,
    pub(super) steps: AtomicU32,
}

/// In which flow or body of a node the run is, and as whom it acts there.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) flow: Arc<Flow>,
    pub(super) actor: Actor,
    pub(super) env: Env,
    /// How many subflows it lies in.
    pub(super) level: i64,
    /// Whether it is the flow's own graph, not the body of a node.
    pub(super) is_outermost: bool,
    pub(super) iteration: Option<i64>,
}

/// A step that is being done.
pub(super) struct Step<'s> {
    pub(super) run: &'s Interpreter,
    pub(super) frame: &'s Frame,
    pub(super) visit: &'s Visit<'s>,
    pub(super) began_ms: i64,
}

impl Step<'_> {
    /// When it began: what it says is now.
    pub(super) fn now(&self) -> OffsetDateTime {
        clock::from_unix_ms(self.began_ms)
    }

    /// A value of its configuration with the placeholders filled in.
    ///
    /// # Errors
    /// EXECUTION_ERROR when it gets too long.
    pub(super) fn resolve(&self, state: &State, value: &Value) -> Result<Value, Fault> {
        state.resolve(&self.frame.env, self.now(), value)
    }

    /// Keeps that it begins, and what it is going to do.
    ///
    /// # Errors
    /// Those of the journal.
    pub(super) async fn begin(&self, plan: Option<&Value>) -> Result<(), Stop> {
        self.run
            .journal
            .begin(self.visit, plan, self.began_ms)
            .await
    }

    /// What it gives, also in the variable that its node names.
    pub(super) fn gives(&self, output: Value, kept: Value) -> Done {
        let name = self.visit.node.output_variable.clone();
        Done {
            set: name.map(|name| (name, kept)).into_iter().collect(),
            output,
            picked: None,
        }
    }
}

/// What a step did.
#[derive(Default)]
pub(super) struct Done {
    pub(super) output: Value,
    /// Variables that it sets.
    pub(super) set: Vec<(String, Value)>,
    pub(super) picked: Option<Picked>,
}

impl Interpreter {
    /// Goes through a graph from its starts until nothing leads on. `seed` is the path to it.
    pub(super) fn graph<'a>(
        &'a self,
        frame: &'a Frame,
        graph: &'a Graph,
        seed: &'a str,
        state: &'a mut State,
    ) -> BoxFuture<'a, Result<(), Stop>> {
        async move {
            let mut pending: Vec<(usize, String)> = Vec::new();
            for start in graph.starts.iter().rev() {
                pending.push((*start, path(seed, &graph.nodes[*start].id)));
            }
            // How many branches have come to a node that waits for all, and the paths they came on.
            let mut arrived: BTreeMap<usize, (usize, String)> = BTreeMap::new();
            loop {
                let (node, at) = match pending.pop() {
                    Some((node, at)) => {
                        let expected = graph.arriving(node);
                        let is_join = matches!(graph.nodes[node].config, NodeConfig::Join);
                        if is_join && expected > 1 {
                            let (count, way) = arrived.entry(node).or_default();
                            *count += 1;
                            *way = path(way, &at);
                            if *count < expected {
                                continue;
                            }
                            let way = std::mem::take(way);
                            arrived.remove(&node);
                            (node, way)
                        } else {
                            (node, at)
                        }
                    }
                    // Its other branches were never taken.
                    None => match arrived.pop_first() {
                        Some((node, (_, way))) => (node, way),
                        None => return Ok(()),
                    },
                };
                let outcome = self.step(frame, graph, node, &at, state).await?;
                if let Some(fallback) = outcome.fallback {
                    pending.push((fallback, path(&at, "fallback")));
                }
                for edge in outcome.next.iter().rev() {
                    let Some(edge_taken) = graph.edges.get(*edge) else {
                        continue;
                    };
                    pending.push((edge_taken.target, path(&at, &edge.to_string())));
                }
            }
        }
        .boxed()
    }

    /// One step, with its repetitions.
    async fn step(
        &self,
        frame: &Frame,
        graph: &Graph,
        number: usize,
        at: &str,
        state: &mut State,
    ) -> Result<Outcome, Stop> {
        if self.steps.fetch_add(1, Ordering::Relaxed) >= STEPS_MAX {
            let message = format!("The run has more than {STEPS_MAX} steps");
            return Err(Fault::execution(message).at(&graph.nodes[number].id).into());
        }
        let node = &graph.nodes[number];
        let mut retry = 0;
        loop {
            let visit = Visit {
                node,
                path: at,
                retry,
                level: frame.level,
                iteration: frame.iteration,
            };
            let kept = self.journal.outcome(at, retry);
            // A loop's body sets variables, so it is gone through again, by its kept steps.
            if let Some(outcome) = kept.clone().filter(|_| !node.config.is_composite()) {
                if outcome.again {
                    is_due(&outcome)?;
                    retry += 1;
                    continue;
                }
                return took(node, state, outcome);
            }
            let began_ms = self.journal.began_ms(at, retry);
            let began_ms = began_ms.unwrap_or_else(clock::unix_ms);
            let now = clock::from_unix_ms(began_ms);
            let done = self.limited(frame, &visit, began_ms, state).await;
            if let Some(outcome) = kept {
                if let Err(stop @ (Stop::Lost | Stop::Later(_) | Stop::Parked(_))) = done {
                    return Err(stop);
                }
                if outcome.again {
                    is_due(&outcome)?;
                    retry += 1;
                    continue;
                }
                return took(node, state, outcome);
            }
            let outcome = match done {
                Ok(done) => self.succeeded(frame, graph, number, done, state, now),
                Err(Stop::Failed(fault)) => Err(*fault),
                Err(other) => return Err(other),
            };
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(fault) => {
                    let fault = fault.at(&node.id);
                    let backoff = node.retry.as_ref().filter(|_| !fault.fatal);
                    if let Some(backoff) = backoff.filter(|backoff| retry < backoff.retries) {
                        let outcome = Outcome {
                            fault: Some(fault),
                            again: true,
                            due_ms: clock::unix_ms() + backoff.pause_ms(retry + 1),
                            ..Outcome::default()
                        };
                        self.journal.finish(&visit, &outcome, began_ms).await?;
                        is_due(&outcome)?;
                        retry += 1;
                        continue;
                    }
                    self.failed(frame, graph, number, fault, state, now)
                }
            };
            self.journal.finish(&visit, &outcome, began_ms).await?;
            return took(node, state, outcome);
        }
    }

    /// Runs a node, no longer than it may take.
    async fn limited(
        &self,
        frame: &Frame,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &mut State,
    ) -> Result<Done, Stop> {
        let step = Step {
            run: self,
            frame,
            visit,
            began_ms,
        };
        let work = node::run(&step, state);
        match visit
            .node
            .timeout_ms
            .filter(|_| !visit.node.config.is_composite())
        {
            Some(ms) => match timeout(Duration::from_millis(ms), work).await {
                Ok(done) => done,
                Err(_) => Err(Fault::timeout(ms).into()),
            },
            None => work.await,
        }
    }

    /// The outcome of a step that did its work: also which edges the run takes.
    fn succeeded(
        &self,
        frame: &Frame,
        graph: &Graph,
        number: usize,
        done: Done,
        state: &State,
        now: OffsetDateTime,
    ) -> Result<Outcome, Fault> {
        let outcome = Outcome {
            output: done.output,
            set: done.set.into_iter().collect(),
            ..Outcome::default()
        };
        let picked = done.picked.as_ref();
        let mut edges = graph.leaving(number);
        let next = if edges.any(|(_, edge)| edge.condition.is_some()) {
            // Conditions see what the step set; it is taken over for good only once it is kept.
            let mut after = state.clone();
            apply(&graph.nodes[number].id, &mut after, &outcome);
            branch::taken(
                &frame.flow,
                graph,
                number,
                picked,
                &after.scope(&frame.env, now),
            )
        } else {
            branch::taken(
                &frame.flow,
                graph,
                number,
                picked,
                &state.scope(&frame.env, now),
            )
        };
        Ok(Outcome {
            next: next.map_err(Fault::execution)?,
            ..outcome
        })
    }

    /// The outcome of a step that failed: where the run goes on, if it does.
    fn failed(
        &self,
        frame: &Frame,
        graph: &Graph,
        number: usize,
        fault: Fault,
        state: &State,
        now: OffsetDateTime,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.set.insert("$error".to_owned(), fault.variable());
        let faults = branch::faults(graph, number);
        let goes_on =
            graph.nodes[number].goes_on || frame.flow.spec.on_failure == OnFailure::Continue;
        if fault.fatal {
            outcome.raises = true;
        } else if !faults.is_empty() {
            outcome.next = faults;
        } else if let Some(node) = frame.flow.spec.fallback.filter(|_| frame.is_outermost)
            && node != number
        {
            outcome.fallback = Some(node);
        } else if goes_on {
            let scope = state.scope(&frame.env, now);
            // A condition that cannot be told leads nowhere.
            let next = branch::taken(&frame.flow, graph, number, Some(&Picked::Default), &scope);
            outcome.next = next.unwrap_or_default();
        } else {
            outcome.raises = true;
        }
        outcome.fault = Some(fault);
        outcome
    }
}

/// Parks the run until the pause before a step's next repetition is over.
fn is_due(outcome: &Outcome) -> Result<(), Stop> {
    match outcome.due_ms > clock::unix_ms() {
        true => Err(Stop::Parked(outcome.due_ms)),
        false => Ok(()),
    }
}

/// Takes over what a step set, and passes on its failure.
fn took(node: &Node, state: &mut State, outcome: Outcome) -> Result<Outcome, Stop> {
    apply(&node.id, state, &outcome);
    if matches!(node.config, NodeConfig::End { .. }) {
        state.say(&outcome.output);
    }
    match &outcome.fault {
        Some(fault) if outcome.raises => Err(fault.clone().into()),
        _ => Ok(outcome),
    }
}

fn apply(node_id: &str, state: &mut State, outcome: &Outcome) {
    if outcome.fault.is_none() {
        state.set_output(node_id, &outcome.output);
    }
    for (name, value) in &outcome.set {
        state.set(name, value.clone());
    }
}
