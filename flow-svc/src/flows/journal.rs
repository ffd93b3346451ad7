//! The journal of one run, as its driver reads and writes it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use mesh::{
    Error, clock,
    db::{Db, queue::Job},
};
use metadata::automation::flow::Node;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    fault::{Fault, Stop},
    kept,
};
use crate::store::{self, Step};

/// What came of a step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    /// What the step gave.
    #[serde(default)]
    pub(crate) output: Value,
    /// Variables that it set.
    #[serde(default)]
    pub(crate) set: Map<String, Value>,
    /// Edges that the run took from there.
    #[serde(default)]
    pub(crate) next: Vec<usize>,
    /// The node that it went on with, without an edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fallback: Option<usize>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Fault>,
    /// Whether the run, or the body it lies in, fails with it.
    #[serde(default)]
    pub(crate) raises: bool,
    /// Whether it is tried again.
    #[serde(default)]
    pub(crate) again: bool,
    /// Not before then, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) due_ms: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A step on its way.
pub(super) struct Visit<'v> {
    pub(super) node: &'v Node,
    /// The path on which the run came to it.
    pub(super) path: &'v str,
    pub(super) retry: i64,
    /// How many subflows it lies in.
    pub(super) level: i64,
    pub(super) iteration: Option<i64>,
}

impl Visit<'_> {
    /// The path to what lies inside the node: another one each time it is tried.
    pub(super) fn inside(&self, name: &str) -> String {
        match self.retry {
            0 => path(self.path, name),
            retry => path(self.path, &format!("{name}/{retry}")),
        }
    }
}

/// The journal. What the driver has to know of it is in memory: what was kept before it began.
pub(super) struct Journal {
    db: Db,
    /// What drives the run.
    job: Job,
    attempt: i64,
    /// Branches of a parallel step read it at the same time, each for a moment.
    kept: Mutex<HashMap<(String, i64), RecordedStep>>,
    seq: AtomicI64,
}

/// A step that is kept, read.
#[derive(Clone)]
struct RecordedStep {
    step: Step,
    plan: Option<Value>,
    outcome: Option<Outcome>,
}

impl RecordedStep {
    /// # Errors
    /// A fault that ends the run when what is kept cannot be read: done again without it, the step
    /// could do twice what it did, or something else.
    fn of(step: Step) -> Result<Self, Fault> {
        let (plan, result) = (step.plan.as_deref(), step.result.as_deref());
        let plan = plan
            .map(|text| kept::read("plan of a step", text))
            .transpose();
        let outcome = result
            .map(|text| kept::read("result of a step", text))
            .transpose();
        Ok(Self {
            plan: plan.map_err(|fault| fault.at(&step.node_id))?,
            outcome: outcome.map_err(|fault| fault.at(&step.node_id))?,
            step,
        })
    }
}

impl Journal {
    /// Reads what is kept of a run.
    ///
    /// # Errors
    /// Those of the database; a fault when what is kept of a step cannot be read.
    pub(super) async fn open(db: &Db, job: &Job, attempt: i64) -> Result<Self, Stop> {
        let steps = store::steps(db, &job.key).await;
        let steps = steps.map_err(|error| Stop::Later(error.into()))?;
        let seq = steps.iter().map(|step| step.seq).max().unwrap_or(0);
        let mut kept = HashMap::with_capacity(steps.len());
        for step in steps {
            let key = (step.visit.clone(), step.retry);
            kept.insert(key, RecordedStep::of(step)?);
        }
        Ok(Self {
            db: db.clone(),
            job: job.clone(),
            attempt,
            kept: Mutex::new(kept),
            seq: AtomicI64::new(seq),
        })
    }

    /// Looks at what is kept of a step.
    fn kept<T>(&self, path: &str, retry: i64, look: impl FnOnce(&RecordedStep) -> T) -> Option<T> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&(path.to_owned(), retry)).map(look)
    }

    /// What came of a step, if it has ended.
    pub(super) fn outcome(&self, path: &str, retry: i64) -> Option<Outcome> {
        self.kept(path, retry, |kept| kept.outcome.clone())?
    }

    /// When a step began, if it has.
    pub(super) fn began_ms(&self, path: &str, retry: i64) -> Option<i64> {
        self.kept(path, retry, |kept| kept.step.started_at_ms)
    }

    /// What a step was going to do when it was first tried: that is what it does, also after a
    /// crash, since its keys stand for it.
    pub(super) fn plan(&self, path: &str, retry: i64) -> Option<Value> {
        let plans =
            (0..=retry).filter_map(|retry| self.kept(path, retry, |kept| kept.plan.clone()));
        plans.flatten().next()
    }

    /// Keeps that a step begins, and what it is going to do.
    pub(super) async fn begin(
        &self,
        visit: &Visit<'_>,
        plan: Option<&Value>,
        at_ms: i64,
    ) -> Result<(), Stop> {
        if self.began_ms(visit.path, visit.retry).is_some() {
            return Ok(());
        }
        let step = Step {
            plan: plan.map(Value::to_string),
            ..self.step(visit, "running", at_ms)
        };
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let begun = RecordedStep {
                step: step.clone(),
                plan: plan.cloned(),
                outcome: None,
            };
            kept.insert((visit.path.to_owned(), visit.retry), begun);
        }
        let done = store::begin(&self.db, &self.job, step).await;
        self.confirmed(done)
    }

    /// Keeps what came of a step.
    pub(super) async fn finish(
        &self,
        visit: &Visit<'_>,
        outcome: &Outcome,
        at_ms: i64,
    ) -> Result<(), Stop> {
        let status = match outcome.fault {
            Some(_) => "failure",
            None => "success",
        };
        let begun = self.kept(visit.path, visit.retry, |kept| kept.step.clone());
        let step = Step {
            status: status.to_owned(),
            result: Some(
                serde_json::to_string(outcome).map_err(|e| Stop::Later(Error::internal(e)))?,
            ),
            completed_at_ms: Some(clock::unix_ms()),
            ..begun.unwrap_or_else(|| self.step(visit, status, at_ms))
        };
        let done = store::finish(&self.db, &self.job, step).await;
        self.confirmed(done)
    }

    fn step(&self, visit: &Visit<'_>, status: &str, at_ms: i64) -> Step {
        Step {
            visit: visit.path.to_owned(),
            retry: visit.retry,
            seq: self.seq.fetch_add(1, Ordering::Relaxed) + 1,
            level: visit.level,
            attempt: self.attempt,
            node_id: visit.node.id.clone(),
            node_type: visit.node.node_type.clone(),
            label: visit.node.label.clone(),
            iteration: visit.iteration,
            status: status.to_owned(),
            plan: None,
            result: None,
            started_at_ms: at_ms,
            completed_at_ms: None,
        }
    }

    fn confirmed(&self, done: Result<bool, mesh::db::DbError>) -> Result<(), Stop> {
        match done {
            Ok(true) => Ok(()),
            Ok(false) => Err(Stop::Lost),
            Err(error) => Err(Stop::Later(error.into())),
        }
    }

    /// What the keys of a step's writes begin with: the same for each driver and each attempt at
    /// the step.
    pub(super) fn key(&self, visit: &Visit<'_>) -> String {
        // Keys are at most 255 characters long.
        let node: String = visit.node.id.chars().take(100).collect();
        format!("flow:{}:{node}:{}", self.job.key, visit.path)
    }
}

/// The path that leads on from another: the same whenever the run goes the same way.
pub(super) fn path(from: &str, by: &str) -> String {
    let hash = Sha256::digest(format!("{from}/{by}"));
    hash.iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
